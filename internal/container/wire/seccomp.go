package wire

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/container/deps"
	"hoy/internal/runtime/seccomp"
)

// Seccomp gives the compiler of system call filters.
func Seccomp() deps.Seccomp { return filters{} }

type filters struct{}

func (filters) Default(capabilities []string) (*specs.LinuxSeccomp, error) {
	return seccomp.Default(capabilities)
}

func (filters) Parse(profile string, capabilities []string) (*specs.LinuxSeccomp, error) {
	return seccomp.Parse(profile, capabilities)
}

func (filters) Compile(s *specs.LinuxSeccomp) ([]byte, error) { return seccomp.Compile(s) }
