package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Complete fills in what depends on the bundle and on this machine: bundle is
// absolute. The root file system's path becomes absolute, without links.
func Complete(s *specs.Spec, bundle string) error {
	root := s.Root.Path
	if !filepath.IsAbs(root) {
		root = filepath.Join(bundle, root)
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("invalid rootfs: %w", err)
	}
	if st, err := os.Stat(resolved); err != nil || !st.IsDir() {
		return errors.Join(fmt.Errorf("invalid rootfs: %s is not a directory", resolved), err)
	}
	if resolved == "/" {
		return errors.New("invalid rootfs: a container cannot have the host's root")
	}
	s.Root.Path = resolved
	for i := range s.Mounts {
		m := &s.Mounts[i]
		bound := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if bound && !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(bundle, m.Source)
		}
	}
	completeDevices(s.Linux)
	return nil
}

// completeDevices allows what every container has, last of all, as the
// specification's default devices must work.
func completeDevices(l *specs.Linux) {
	if l.Resources == nil {
		l.Resources = new(specs.LinuxResources)
	}
	type pair struct {
		typ          string
		major, minor int64
		access       string
	}
	rules := l.Resources.Devices[:len(l.Resources.Devices):len(l.Resources.Devices)]
	if len(rules) == 0 {
		rules = append(rules, specs.LinuxDeviceCgroup{Access: "rwm"})
	}
	for _, d := range []pair{
		{"c", -1, -1, "m"}, {"b", -1, -1, "m"},
		{"c", 1, 3, "rwm"}, {"c", 1, 5, "rwm"}, {"c", 1, 7, "rwm"}, {"c", 1, 8, "rwm"}, {"c", 1, 9, "rwm"},
		{"c", 5, 0, "rwm"}, {"c", 5, 2, "rwm"}, {"c", 136, -1, "rwm"},
	} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: d.typ, Major: &d.major, Minor: &d.minor, Access: d.access})
	}
	l.Resources.Devices = rules
}

// PassedFDs is how many descriptors from 3 up go to the command: those of socket
// activation, which the environment tells it of, and extra more.
func PassedFDs(p *specs.Process, listenFDs string, extra int) (int, error) {
	n := 0
	if listenFDs != "" {
		var err error
		if n, err = strconv.Atoi(listenFDs); err != nil || n < 0 {
			return 0, fmt.Errorf("LISTEN_FDS=%s is not a number of descriptors", listenFDs)
		}
		p.Env = append(p.Env, "LISTEN_FDS="+listenFDs, "LISTEN_PID=1")
	}
	if extra < 0 || extra+n > 1<<16 {
		return 0, fmt.Errorf("%d is not a number of descriptors to preserve", extra)
	}
	n += extra
	for fd := 3; fd < 3+n; fd++ {
		if _, err := os.Lstat("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
			return 0, fmt.Errorf("file descriptor %d of %d to preserve: not available", fd, n)
		}
	}
	return n, nil
}

// OwnNamespaces are the namespaces that the container does not share with the host.
func OwnNamespaces(l *specs.Linux) []specs.LinuxNamespaceType {
	var list []specs.LinuxNamespaceType
	for _, ns := range l.Namespaces {
		list = append(list, ns.Type)
	}
	return list
}
