package report

import (
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"hoy/internal/oci/config"
	"hoy/internal/runtime"
	"hoy/internal/runtime/mountop"
	"hoy/internal/runtime/namespace"
	"hoy/internal/runtime/seccomp"
	"hoy/internal/version"
)

// Features are what the runtime can do. Where it can be asked it is: what is
// told here is what a start would take.
func Features() *features.Features {
	yes := true
	var namespaces, caps []string
	for name := range namespace.Flags {
		namespaces = append(namespaces, string(name))
	}
	slices.Sort(namespaces)
	for _, c := range capability.ListKnown() {
		caps = append(caps, "CAP_"+strings.ToUpper(c.String()))
	}
	return &features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
		Hooks:        []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: mountop.Names(),
		Linux: &features.Linux{
			Namespaces: namespaces, Capabilities: caps,
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: new(bool), Rdma: &yes},
			Seccomp:         filters(),
			Apparmor:        &features.Apparmor{Enabled: takes(func(s *specs.Spec) { s.Process.ApparmorProfile = "profile" })},
			Selinux:         &features.Selinux{Enabled: takes(func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c:s0" })},
			IntelRdt:        &features.IntelRdt{Enabled: takes(func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "x"} })},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: takes(mapped)}},
			NetDevices:      &features.NetDevices{Enabled: new(bool)},
		},
		Annotations: map[string]string{"org.hoy.version": version.Version, "org.hoy.commit": version.Commit},
	}
}

func mapped(s *specs.Spec) {
	maps := []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mapped", Source: "/", Type: "bind", Options: []string{"bind"}, UIDMappings: maps, GIDMappings: maps})
}

// takes says whether a specification with change in it can be compiled.
func takes(change func(*specs.Spec)) *bool {
	s := config.Example()
	change(s)
	_, err := runtime.Plan(&runtime.Launch{Spec: s})
	ok := err == nil
	return &ok
}

func filters() *features.Seccomp {
	yes := true
	f := &features.Seccomp{Enabled: &yes}
	compiles := func(s specs.LinuxSeccomp) bool {
		_, err := seccomp.Compile(&s)
		return err == nil
	}
	for _, a := range []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActLog, specs.ActNotify, specs.ActTrace, specs.ActTrap} {
		if compiles(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getpid"}, Action: a}}}) {
			f.Actions = append(f.Actions, string(a))
		}
	}
	for _, o := range []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual,
		specs.OpLessThan, specs.OpMaskedEqual, specs.OpNotEqual} {
		call := specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: o}}}
		if compiles(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{call}}) {
			f.Operators = append(f.Operators, string(o))
		}
	}
	for _, a := range []specs.Arch{specs.ArchAARCH64, specs.ArchARM, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL,
		specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchRISCV64, specs.ArchS390,
		specs.ArchS390X, specs.ArchX32, specs.ArchX86, specs.ArchX86_64, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchLOONGARCH64} {
		if compiles(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{a}}) {
			f.Archs = append(f.Archs, string(a))
		}
	}
	for _, flag := range []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv, "SECCOMP_FILTER_FLAG_TSYNC"} {
		f.KnownFlags = append(f.KnownFlags, string(flag))
		if compiles(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{flag}}) {
			f.SupportedFlags = append(f.SupportedFlags, string(flag))
		}
	}
	return f
}
