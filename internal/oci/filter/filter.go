// Package filter compiles the system call filter of a specification.
package filter

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime"
	"hoy/internal/runtime/seccomp"
)

// Compile compiles the specification's system call filter; bundle and id are for
// the program that it asks about calls, where there is one.
func Compile(spec *specs.Spec, id, bundle string) ([]byte, *runtime.Filter, error) {
	s := spec.Linux.Seccomp
	if s == nil {
		return nil, nil, nil
	}
	program, err := seccomp.Compile(s)
	if err != nil {
		return nil, nil, fmt.Errorf("seccomp: %w", err)
	}
	f := &runtime.Filter{Metadata: s.ListenerMetadata, State: specs.State{ID: id, Bundle: bundle, Annotations: spec.Annotations}}
	if f.Flags, err = seccomp.Flags(s); err != nil {
		return nil, nil, err
	}
	listens, err := seccomp.Listens(s)
	if err != nil {
		return nil, nil, err
	}
	if listens {
		f.Listener = s.ListenerPath
	}
	return program, f, nil
}
