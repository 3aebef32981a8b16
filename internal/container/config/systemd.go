package config

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// SystemdAnnotation asks for what a systemd as the first process needs: "true"
// where the command is one, "always", or "false", which is the default.
const SystemdAnnotation = "hoy.systemd"

// systemdTmpfs are what podman gives such a container; systemd would mount them
// itself, but has no right to.
var systemdTmpfs = map[string]string{
	"/run": "rw,exec,nosuid,nodev,mode=755", "/run/lock": "rw,nosuid,nodev,noexec,mode=1777",
	"/tmp": "rw,exec,nosuid,nodev,mode=1777", "/var/log/journal": "rw,nosuid,nodev,noexec,mode=755",
}

// systemdSignal is how systemd as the first process is told to shut down.
const systemdSignal = "SIGRTMIN+3"

// Systemd returns asked with what the annotation asks for, and changes c, the
// merged configuration, likewise. What was asked for by name stays.
func Systemd(c *container.Config, asked *container.HostConfig) (*container.HostConfig, error) {
	if asked == nil {
		return asked, nil
	}
	switch mode := asked.Annotations[SystemdAnnotation]; mode {
	case "", "false":
		return asked, nil
	case "true":
		if !isSystemd(Command(c)[0]) {
			return asked, nil
		}
	case "always":
	default:
		return nil, invalid("annotation %s: %q is not true, false or always", SystemdAnnotation, mode)
	}
	hc := *asked
	if c.StopSignal == "" {
		c.StopSignal = systemdSignal
	}
	c.Env = MergeEnv(c.Env, []string{"container=hoy"})
	if hc.CgroupnsMode == "" {
		hc.CgroupnsMode = container.CgroupnsModePrivate
	}
	if !slices.ContainsFunc(hc.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "writable-cgroups") }) {
		hc.SecurityOpt = append(slices.Clone(hc.SecurityOpt), "writable-cgroups=true")
	}
	hc.Tmpfs = maps.Clone(hc.Tmpfs)
	if hc.Tmpfs == nil {
		hc.Tmpfs = map[string]string{}
	}
	taken := destinations(c, asked)
	for dst, options := range systemdTmpfs {
		if !taken[dst] {
			hc.Tmpfs[dst] = options
		}
	}
	return &hc, nil
}

// isSystemd knows systemd by the names that it has in images.
func isSystemd(command string) bool {
	base := path.Base(command)
	return base == "systemd" || base == "init" && slices.Contains([]string{"/sbin", "/usr/sbin", "/usr/local/sbin"}, path.Dir(path.Clean(command)))
}

// destinations are where something is asked to be mounted.
func destinations(c *container.Config, hc *container.HostConfig) map[string]bool {
	taken := map[string]bool{}
	for dst := range hc.Tmpfs {
		taken[path.Clean(dst)] = true
	}
	for dst := range c.Volumes {
		taken[path.Clean(dst)] = true
	}
	for _, m := range hc.Mounts {
		taken[path.Clean(m.Target)] = true
	}
	for _, bind := range hc.Binds {
		parts := strings.Split(bind, ":")
		taken[path.Clean(parts[min(1, len(parts)-1)])] = true
	}
	return taken
}
