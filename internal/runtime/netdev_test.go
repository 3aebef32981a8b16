package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

func TestNetDevices(t *testing.T) {
	dir := busybox(t)
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip, of iproute2")
	}
	one, two := fmt.Sprintf("hoyd%da", os.Getpid()%100000), fmt.Sprintf("hoyd%db", os.Getpid()%100000)
	ip(t, "link", "add", one, "type", "veth", "peer", "name", two)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", one).Run() }) // where the container never had it
	ip(t, "addr", "add", "203.0.113.7/24", "brd", "+", "dev", one)
	ip(t, "addr", "add", "2001:db8::7/64", "nodad", "dev", one)
	ip(t, "link", "set", one, "up")
	out := shell(t, dir, "busybox ip addr", func(l *Launch) {
		l.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{one: {Name: "eth7"}, two: {}}
	})
	for _, want := range []string{": eth7@" + two + ": <BROADCAST,MULTICAST,UP,", "inet 203.0.113.7/24 brd 203.0.113.255 scope global eth7", "inet6 2001:db8::7/64 scope global", ": " + two + "@eth7: <BROADCAST,MULTICAST,UP,"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if err := exec.Command("ip", "link", "show", one).Run(); err == nil {
		t.Errorf("%s is on the host still", one)
	}
	l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
	l.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"hoynosuch": {}}
	if _, err := Start(l); err == nil || err.Error() != "move network devices: network device hoynosuch: there is no such device" {
		t.Error(err)
	}
	for want, change := range map[string]func(*specs.Linux){
		"is no name": func(l *specs.Linux) {
			l.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "../x"}}
		},
		"would both be": func(l *specs.Linux) {
			l.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "x"}, "eth1": {Name: "x"}}
		},
		"need a network namespace": func(l *specs.Linux) {
			l.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
			l.Namespaces = l.Namespaces[2:]
		},
	} {
		spec := docker("true")
		change(spec.Linux)
		if _, err := Plan(&Launch{Spec: spec}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestMemoryPolicy(t *testing.T) {
	dir := busybox(t)
	if _, _, e := unix.Syscall(unix.SYS_SET_MEMPOLICY, 0, 0, 0); e == unix.ENOSYS {
		t.Skip("needs a kernel with NUMA")
	}
	policy := func(mode specs.MemoryPolicyModeType, nodes string, flags ...specs.MemoryPolicyFlagType) func(*Launch) {
		return func(l *Launch) {
			l.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: mode, Nodes: nodes, Flags: flags}
		}
	}
	for want, change := range map[string]func(*Launch){
		"bind:0":                policy(specs.MpolBind, "0"),
		"interleave=static:0":   policy(specs.MpolInterleave, "0", specs.MpolFStaticNodes),
		"prefer=relative:0":     policy(specs.MpolPreferred, "0", specs.MpolFRelativeNodes),
		"default":               policy(specs.MpolDefault, ""),
		"local":                 policy(specs.MpolLocal, ""),
		"prefer (many)=static:": policy(specs.MpolPreferredMany, "0-0", specs.MpolFStaticNodes),
	} {
		if out := shell(t, dir, "cat /proc/self/numa_maps", change); !strings.Contains(out, " "+want) {
			t.Errorf("want %s:\n%s", want, out)
		}
	}
	for want, change := range map[string]func(*Launch){
		"unknown mode":     policy("MPOL_X", ""),
		"unknown flag":     policy(specs.MpolBind, "0", "MPOL_F_X"),
		"is not a number":  policy(specs.MpolBind, "a"),
		"is no range":      policy(specs.MpolBind, "3-1"),
		"invalid argument": policy(specs.MpolBind, "1023"),
	} {
		l := &Launch{Spec: docker("true"), Rootfs: overlayOn(t, dir)}
		change(l)
		if _, err := Start(l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
