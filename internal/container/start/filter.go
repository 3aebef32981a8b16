package start

import (
	"context"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/config"
	"hoy/internal/container/core"
	"hoy/internal/container/record"
	"hoy/internal/runtime/armor"
)

// Filter is the compiled system call filter of a container's processes; empty is none.
func (s *Starter) Filter(r *record.Record, sec config.Security) ([]byte, error) {
	profile, filtered := s.profile(r, sec)
	if !filtered {
		return nil, nil
	}
	caps, err := capabilities(r)
	if err != nil {
		return nil, err
	}
	key := profile + "\x00" + strings.Join(caps, ",")
	if f, ok := s.filters.Load(key); ok {
		return f.([]byte), nil
	}
	sc, err := s.parse(profile, caps)
	if err != nil {
		return nil, err
	}
	f, err := s.Seccomp.Compile(sc)
	if err != nil {
		return nil, core.Invalid("seccomp profile: %v", err)
	}
	// Profiles come from clients: their number must not be theirs to choose.
	if s.filterCount.Add(1) > maxFilters {
		s.filters.Clear()
		s.filterCount.Store(1)
	}
	s.filters.Store(key, f)
	return f, nil
}

// profile is the text of a container's profile, empty for the default one, and
// whether it has any.
func (s *Starter) profile(r *record.Record, sec config.Security) (text string, filtered bool) {
	text = sec.Seccomp
	if text == "" {
		text = s.SeccompProfile
	}
	if text == "unconfined" || r.HostConfig.Privileged && sec.Seccomp == "" {
		return "", false
	}
	if text == "builtin" {
		text = ""
	}
	return text, true
}

func capabilities(r *record.Record) ([]string, error) {
	return config.Capabilities(r.HostConfig.CapAdd, r.HostConfig.CapDrop, r.HostConfig.Privileged)
}

func (s *Starter) parse(profile string, caps []string) (sc *specs.LinuxSeccomp, err error) {
	if profile == "" {
		sc, err = s.Seccomp.Default(caps)
	} else {
		sc, err = s.Seccomp.Parse(profile, caps)
	}
	if err != nil {
		return nil, core.Invalid("seccomp profile: %v", err)
	}
	return sc, nil
}

// rules are a container's filter in the form of the specification, for
// runtimes that compile it themselves; nil is none.
func (s *Starter) rules(r *record.Record, sec config.Security) (*specs.LinuxSeccomp, error) {
	profile, filtered := s.profile(r, sec)
	if !filtered {
		return nil, nil
	}
	caps, err := capabilities(r)
	if err != nil {
		return nil, err
	}
	return s.parse(profile, caps)
}

// Confine fills in the AppArmor profile of a container that names none, and
// makes sure that the kernel has the engine's own.
func Confine(ctx context.Context, sec *config.Security, privileged bool) error {
	sec.DefaultAppArmor(privileged, armor.HasDefault())
	if sec.AppArmor == armor.Default {
		return armor.Ensure(ctx)
	}
	return nil
}
