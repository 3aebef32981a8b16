// Package seccomp compiles system call filters from the OCI form to BPF, in
// pure Go. A filter first tells the calling convention, then finds the call by
// a binary tree over its number, so that a call costs a dozen instructions
// however long the profile is.
package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"

	"hoy/internal/runtime/seccomp/table"
)

// maxCached bounds the cache; an engine rarely has more than a handful of profiles.
const maxCached = 64

var cache = struct {
	sync.Mutex
	programs map[[sha256.Size]byte][]byte
}{programs: map[[sha256.Size]byte][]byte{}}

// Compile returns the filter as an array of struct sock_filter in the machine's
// byte order, for the machine's own architecture and those that s names. It is
// kept by content, and must not be changed. A nil s has no filter.
func Compile(s *specs.LinuxSeccomp) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	key := sha256.Sum256(text)
	cache.Lock()
	program, ok := cache.programs[key]
	cache.Unlock()
	if ok {
		return program, nil
	}
	insns, err := assemble(s)
	if err != nil {
		return nil, err
	}
	program = encode(insns)
	cache.Lock()
	if len(cache.programs) >= maxCached {
		clear(cache.programs)
	}
	cache.programs[key] = program
	cache.Unlock()
	return program, nil
}

// Default is Docker's default profile for a container with these capabilities
// ("CAP_CHOWN" and so on) on the running kernel.
func Default(capabilities []string) (*specs.LinuxSeccomp, error) {
	return profiles.GetDefaultProfile(holder(capabilities))
}

// Parse reads a profile in Docker's JSON form, for a container with these
// capabilities. A profile that says nothing gives nil.
func Parse(profile string, capabilities []string) (*specs.LinuxSeccomp, error) {
	s, err := profiles.LoadProfile(profile, holder(capabilities))
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	return s, nil
}

func holder(capabilities []string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
}

// Compiler has the package's functions as methods.
type Compiler struct{}

// Default is the function Default.
func (Compiler) Default(capabilities []string) (*specs.LinuxSeccomp, error) {
	return Default(capabilities)
}

// Parse is the function Parse.
func (Compiler) Parse(profile string, capabilities []string) (*specs.LinuxSeccomp, error) {
	return Parse(profile, capabilities)
}

// Compile is the function Compile.
func (Compiler) Compile(s *specs.LinuxSeccomp) ([]byte, error) { return Compile(s) }

// maxInsns is BPF_MAXINSNS of the kernel.
const maxInsns = 4096

func encode(insns []bpf.RawInstruction) []byte {
	out := make([]byte, 0, len(insns)*8)
	for _, i := range insns {
		out = binary.NativeEndian.AppendUint16(out, i.Op)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}

// native is the machine's own architecture.
var native = map[string]specs.Arch{
	"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64, "386": specs.ArchX86, "arm": specs.ArchARM, "riscv64": specs.ArchRISCV64,
	"loong64": specs.ArchLOONGARCH64, "s390x": specs.ArchS390X, "ppc64": specs.ArchPPC64, "ppc64le": specs.ArchPPC64LE,
	"mips": specs.ArchMIPS, "mipsle": specs.ArchMIPSEL, "mips64": specs.ArchMIPS64, "mips64le": specs.ArchMIPSEL64,
}

// targets are the architectures to compile for, the machine's own first.
func targets(s *specs.LinuxSeccomp) ([]table.Arch, error) {
	own, ok := table.For(native[runtime.GOARCH])
	if !ok {
		return nil, fmt.Errorf("seccomp: no system call numbers for %s", runtime.GOARCH)
	}
	list := []table.Arch{own}
	for _, name := range s.Architectures {
		a, ok := table.For(name)
		switch {
		case ok:
		case table.Named(name):
			return nil, invalid("the system call numbers of architecture %s are not known here", name)
		default:
			return nil, invalid("unknown architecture %q", name)
		}
		if !slices.ContainsFunc(list, func(b table.Arch) bool { return a.Name == b.Name }) {
			list = append(list, a)
		}
	}
	return list, nil
}
