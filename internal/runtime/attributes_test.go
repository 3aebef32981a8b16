package runtime

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/become"
	"hoy/internal/runtime/compile"
)

// labelled is a start's program on a machine with these security modules.
func labelled(t *testing.T, lsm become.LSM, change func(*specs.Spec)) string {
	t.Helper()
	spec := docker("true")
	change(spec)
	all := become.Capabilities{Permitted: ^uint64(0), Bounding: ^uint64(0)}
	res, err := compile.Start(compile.Input{Spec: spec, Root: -1, Stdio: [3]int{-1, -1, -1}, CanRaise: true, Own: all, LSM: lsm, UserNS: -1, TimeNS: -1}, true)
	must(t, err)
	return res.Program.String()
}

// TestLabels reads the program that this machine's kernel could not run: the
// labels are written through the host's procfs, before privileges go, and every
// file system of the container's own carries the mount label.
func TestLabels(t *testing.T) {
	text := labelled(t, become.LSM{AppArmor: true, SELinux: true}, func(s *specs.Spec) {
		s.Process.ApparmorProfile, s.Process.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0:c1,c2"
		s.Linux.MountLabel = "system_u:object_r:container_file_t:s0:c1,c2"
	})
	at := 0
	for _, want := range []string{
		`fsconfig(fs:/dev, SET_STRING, "context", "system_u:object_r:container_file_t:s0:c1,c2"`,
		`openat(AT_FDCWD, "/proc", O_PATH|O_DIRECTORY) -> proc`,
		`openat(proc, "thread-self/attr/apparmor/exec", O_WRONLY) -> attr`, `[ENOENT: `,
		`openat(proc, "thread-self/attr/exec", O_WRONLY) -> attr`, `write(attr, "exec docker-default", 19)`,
		`openat(proc, "thread-self/attr/exec", O_WRONLY) -> attr`, `write(attr, "system_u:system_r:container_t:s0:c1,c2", 38)`,
		"PR_CAPBSET_DROP", "execve",
	} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("%s is missing, or not at its place, in\n%s", want, text[at:])
		}
		at += i + len(want)
	}
	if text := labelled(t, become.LSM{AppArmor: true}, func(s *specs.Spec) { s.Process.ApparmorProfile = "unconfined" }); strings.Contains(text, "/attr/") {
		t.Error("unconfined writes a label")
	}
}

func TestSchedulingAndPersonality(t *testing.T) {
	out := shell(t, busybox(t), "cat /proc/self/stat /proc/self/personality", func(l *Launch) {
		l.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 3}
		l.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE}
		l.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	})
	fields := strings.Fields(out)
	// Fields 19 and 41 of proc(5): the nice value and the policy; the last line is the personality.
	if len(fields) < 53 || fields[18] != "3" || fields[40] != "3" || fields[len(fields)-1] != "00000008" {
		t.Errorf("%q: want nice 3, policy 3 and personality 8", out)
	}
	for name, s := range map[string]*specs.Scheduler{
		"deadline": {Policy: specs.SchedDeadline, Runtime: 10e6, Deadline: 30e6, Period: 30e6},
		"fifo":     {Policy: specs.SchedFIFO, Priority: 5, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}},
	} {
		spec := docker("cat", "/proc/self/stat")
		spec.Process.Scheduler = s
		p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(t, busybox(t))})
		if err != nil {
			if !strings.Contains(err.Error(), "set scheduler") {
				t.Errorf("%s: %v", name, err)
			}
			t.Logf("%s: this machine says %v", name, err)
			continue
		}
		if code := wait(t, p); code != 0 {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}

func TestUnknownCapabilitiesAreLeftOut(t *testing.T) {
	spec := docker("true")
	for _, set := range []*[]string{&spec.Process.Capabilities.Bounding, &spec.Process.Capabilities.Effective} {
		*set = append(slices.Clone(*set), "CAP_OF_THE_FUTURE")
	}
	p, err := Start(&Launch{Spec: spec, Rootfs: overlayOn(t, busybox(t))})
	must(t, err)
	if wait(t, p) != 0 || !slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "CAP_OF_THE_FUTURE") }) {
		t.Errorf("warnings: %q", p.Warnings)
	}
}

func TestExecCPUAffinity(t *testing.T) {
	p := running(t, docker("sleep", "1000"), busybox(t))
	process := docker("sh", "-c", "grep Cpus_allowed_list /proc/self/status").Process
	process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0-0", Final: "0"}
	out, code := execOutput(t, &Exec{Target: p.Pid, Namespaces: allNamespaces, Process: process})
	if code != 0 || strings.Join(strings.Fields(out), " ") != "Cpus_allowed_list: 0" {
		t.Errorf("exit %d, %q", code, out)
	}
	for list, want := range map[string]uint64{"0": 1, "0-3,7": 0x8f, "1,2": 6, "63": 1 << 63} {
		if mask, err := become.CPUs(list); err != nil || mask[0] != want {
			t.Errorf("%q: %x, %v", list, mask, err)
		}
	}
	for _, list := range []string{"", "x", "3-1", "0,", ",0", "0-", "-1", "0x1", "99999", "0 1", "0-1-2"} {
		if mask, err := become.CPUs(list); err == nil {
			t.Errorf("%q is taken as %x", list, mask)
		}
	}
}
