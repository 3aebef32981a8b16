// Package config reads the specification of a bundle, checks it, and completes
// it with what every container has.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// max bounds config.json.
const maxSpec = 16 << 20

// Read reads the specification of the bundle at dir, which must be absolute.
func Read(dir string) (*specs.Spec, []byte, error) {
	name := filepath.Join(dir, "config.json")
	data, err := File(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, errors.New("JSON specification file config.json not found")
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := Decode(data)
	return s, data, err
}

// File reads a JSON file, of which too large a one is refused.
func File(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Bounded(f, name)
}

// Bounded reads r to its end.
func Bounded(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSpec+1))
	if err == nil && len(data) > maxSpec {
		err = fmt.Errorf("%s is larger than %d MiB", name, maxSpec>>20)
	}
	return data, err
}

// Decode reads a specification and checks it. Fields that are not known are
// ignored, as the specification demands.
func Decode(data []byte) (*specs.Spec, error) {
	s := new(specs.Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if err := check(s); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return s, nil
}

// check refuses what no container can be made from. What the runtime itself
// checks is left to it.
func check(s *specs.Spec) error {
	if err := checkVersion(s.Version); err != nil {
		return err
	}
	switch {
	case s.Root == nil:
		return errors.New("root must be specified")
	case s.Root.Path == "":
		return errors.New("root.path must not be empty")
	case s.Linux == nil:
		return errors.New("linux must be specified: this runtime makes Linux containers")
	case s.VM != nil:
		return errors.New("vm: this runtime makes no virtual machines")
	case s.Process == nil:
		return errors.New("process property must not be empty")
	}
	if err := CheckProcess(s.Process); err != nil {
		return err
	}
	if err := checkMounts(s.Mounts); err != nil {
		return err
	}
	if err := checkLinux(s.Linux); err != nil {
		return err
	}
	return checkHooks(s.Hooks)
}

// checkVersion takes every version 1 of the specification: within a major
// version, what is valid stays so.
func checkVersion(v string) error {
	if v == "" {
		return errors.New("ociVersion must not be empty")
	}
	number, _, _ := strings.Cut(v, "-")
	parts := strings.Split(number, ".")
	if len(parts) != 3 {
		return fmt.Errorf("ociVersion %q is not a version", v)
	}
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 16); err != nil {
			return fmt.Errorf("ociVersion %q is not a version", v)
		}
	}
	if parts[0] != "1" {
		return fmt.Errorf("ociVersion %q is not supported: this runtime knows %s", v, specs.Version)
	}
	return nil
}

// CheckProcess refuses a process that cannot be started.
func CheckProcess(p *specs.Process) error {
	if len(p.Args) == 0 {
		return errors.New("args must not be empty")
	}
	if p.Cwd == "" {
		return errors.New("Cwd property must not be empty") //nolint:staticcheck // the words that callers know
	}
	if !filepath.IsAbs(p.Cwd) {
		return errors.New("Cwd must be an absolute path") //nolint:staticcheck // the words that callers know
	}
	for _, e := range p.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("invalid environment variable %q", e)
		}
	}
	seen := map[string]bool{}
	for _, l := range p.Rlimits {
		if seen[l.Type] {
			return fmt.Errorf("duplicate rlimit %s", l.Type)
		}
		seen[l.Type] = true
	}
	if p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000) {
		return fmt.Errorf("oomScoreAdj %d is not between -1000 and 1000", *p.OOMScoreAdj)
	}
	return nil
}

// maxList bounds the lists of which each entry costs a dozen calls.
const maxList = 8192

func checkMounts(list []specs.Mount) error {
	if len(list) > maxList {
		return fmt.Errorf("%d mounts are more than %d", len(list), maxList)
	}
	for i := range list {
		m := &list[i]
		if m.Destination == "" {
			return fmt.Errorf("mount %d has no destination", i)
		}
		// An old habit of bundles; the specification says that it must be absolute.
		if !filepath.IsAbs(m.Destination) {
			m.Destination = "/" + m.Destination
		}
	}
	return nil
}

func checkLinux(l *specs.Linux) error {
	if len(l.Devices) > maxList || len(l.MaskedPaths) > maxList || len(l.ReadonlyPaths) > maxList {
		return fmt.Errorf("more than %d devices or paths", maxList)
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, ns := range l.Namespaces {
		if seen[ns.Type] {
			return fmt.Errorf("malformed spec file: duplicated ns %q", ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" && !filepath.IsAbs(ns.Path) {
			return fmt.Errorf("path %q of namespace %q is not absolute", ns.Path, ns.Type)
		}
	}
	if !seen[specs.UserNamespace] && len(l.UIDMappings)+len(l.GIDMappings) > 0 {
		return errors.New("user namespace mappings specified, but user namespace isn't enabled in the config")
	}
	return nil
}

func checkHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	//nolint:staticcheck // Prestart is deprecated, and in use.
	for name, list := range map[string][]specs.Hook{"prestart": h.Prestart, "createRuntime": h.CreateRuntime, "createContainer": h.CreateContainer,
		"startContainer": h.StartContainer, "poststart": h.Poststart, "poststop": h.Poststop} {
		for i, hook := range list {
			if !filepath.IsAbs(hook.Path) {
				return fmt.Errorf("path %q of %s hook #%d is not absolute", hook.Path, name, i)
			}
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				return fmt.Errorf("timeout %d of %s hook #%d is not greater than zero", *hook.Timeout, name, i)
			}
		}
	}
	return nil
}
