// Package config checks what a client asks of a container, merges it with what
// the image brings, and fills in defaults. It is pure: it asks nobody and
// changes nothing but its own copies. Refusals are errdefs.ErrInvalidArgument
// in Docker's words.
package config

import (
	"maps"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Merge returns a copy of asked, completed from the image's configuration; what
// was asked for wins.
func Merge(asked *container.Config, img dockerspec.DockerOCIImageConfig) (*container.Config, error) {
	c := *asked
	if c.User == "" {
		c.User = img.User
	}
	c.ExposedPorts = maps.Clone(c.ExposedPorts)
	for spec := range img.ExposedPorts {
		p, err := network.ParsePort(spec)
		if err != nil {
			return nil, invalid("image exposes %q: %v", spec, err)
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
	c.Env = MergeEnv(c.Env, img.Env)
	c.Labels = overlay(img.Labels, c.Labels)
	c.Volumes = overlay(img.Volumes, c.Volumes)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = img.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = img.Entrypoint
		}
	}
	// A single empty word is how clients take the image's entry point away.
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if len(c.Shell) == 0 {
		c.Shell = img.Shell
	}
	if len(c.OnBuild) == 0 {
		c.OnBuild = img.OnBuild
	}
	c.Healthcheck = mergeHealth(c.Healthcheck, img.Healthcheck)
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return nil, invalid("no command specified")
	}
	return &c, nil
}

func overlay[V any](base, top map[string]V) map[string]V {
	if len(base) == 0 && len(top) == 0 {
		return top
	}
	out := make(map[string]V, len(base)+len(top))
	maps.Copy(out, base)
	maps.Copy(out, top)
	return out
}

// MergeEnv appends to asked each of more whose name it does not have.
func MergeEnv(asked, more []string) []string {
	out := slices.Clone(asked)
	for _, kv := range more {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(asked, func(have string) bool {
			n, _, _ := strings.Cut(have, "=")
			return n == name
		}) {
			out = append(out, kv)
		}
	}
	return out
}

func mergeHealth(asked, img *container.HealthConfig) *container.HealthConfig {
	if asked == nil || img == nil {
		if asked == nil {
			return img
		}
		return asked
	}
	h := *asked
	if len(h.Test) == 0 {
		h.Test = img.Test
	}
	if h.Interval == 0 {
		h.Interval = img.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = img.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = img.StartPeriod
	}
	if h.StartInterval == 0 {
		h.StartInterval = img.StartInterval
	}
	if h.Retries == 0 {
		h.Retries = img.Retries
	}
	return &h
}

// Command is the argument vector that runs: entry point, then command.
func Command(c *container.Config) []string { return slices.Concat(c.Entrypoint, c.Cmd) }
