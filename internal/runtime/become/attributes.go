package become

import (
	"fmt"
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/program"
)

// schedAttr is struct sched_attr of linux/sched/types.h.
type schedAttr struct {
	size, policy              uint32
	flags                     uint64
	nice                      int32
	priority                  uint32
	runtime, deadline, period uint64
	clampMin, clampMax        uint32 //nolint:unused // the kernel reads both
}

var policies = map[specs.LinuxSchedulerPolicy]uint32{
	specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedISO: 4, specs.SchedIdle: 5, specs.SchedDeadline: 6,
}

var schedFlags = map[specs.LinuxSchedulerFlag]uint64{
	specs.SchedFlagResetOnFork: 0x1, specs.SchedFlagReclaim: 0x2, specs.SchedFlagDLOverrun: 0x4, specs.SchedFlagKeepPolicy: 0x8,
	specs.SchedFlagKeepParams: 0x10, specs.SchedFlagUtilClampMin: 0x20, specs.SchedFlagUtilClampMax: 0x40,
}

var ioClasses = map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}

// attributes sets what concerns the machine's time and needs privileges for it.
func (b *Becoming) attributes() error {
	if err := b.scheduler(); err != nil {
		return err
	}
	if p := b.Process.IOPriority; p != nil {
		class, ok := ioClasses[p.Class]
		if !ok || p.Priority < 0 || p.Priority > 7 {
			return fmt.Errorf("unknown I/O priority %s %d", p.Class, p.Priority)
		}
		b.Step("set I/O priority to", fmt.Sprintf("%s %d", p.Class, p.Priority))
		const whoProcess, classShift = 1, 13 // linux/ioprio.h
		b.Call(unix.SYS_IOPRIO_SET, program.Num(whoProcess), program.Num(0), program.Flag(uint(class<<classShift|p.Priority), fmt.Sprintf("%s|%d", p.Class, p.Priority)))
	}
	if p := b.Personality; p != nil {
		domain := map[specs.LinuxPersonalityDomain]uint{specs.PerLinux: 0, specs.PerLinux32: 8}
		n, ok := domain[p.Domain]
		switch {
		case !ok:
			return fmt.Errorf("unknown personality %q", p.Domain)
		case len(p.Flags) > 0:
			return fmt.Errorf("unknown personality flag %q", p.Flags[0])
		}
		b.Step("set personality", string(p.Domain))
		b.Call(unix.SYS_PERSONALITY, program.Flag(n, string(p.Domain)))
	}
	return nil
}

func (b *Becoming) scheduler() error {
	s := b.Process.Scheduler
	if s == nil {
		return nil
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return fmt.Errorf("unknown scheduling policy %q", s.Policy)
	}
	if s.Priority < 0 {
		return fmt.Errorf("scheduling priority %d is negative", s.Priority)
	}
	a := &schedAttr{policy: policy, nice: s.Nice, priority: uint32(s.Priority), runtime: s.Runtime, deadline: s.Deadline, period: s.Period}
	a.size = 48 // SCHED_ATTR_SIZE_VER0: without the clamps
	for _, f := range s.Flags {
		bit, ok := schedFlags[f]
		if !ok {
			return fmt.Errorf("unknown scheduling flag %q", f)
		}
		a.flags |= bit
		if bit >= 0x20 {
			// The specification has no value for the clamps: all of the range.
			a.size, a.clampMax = 56, 1024
		}
	}
	b.Step("set scheduler", string(s.Policy))
	text := fmt.Sprintf("{%s, flags %#x, nice %d, priority %d, %d/%d/%d}", s.Policy, a.flags, a.nice, a.priority, a.runtime, a.deadline, a.period)
	b.Call(unix.SYS_SCHED_SETATTR, program.Num(0), program.Mem(a, text), program.Num(0))
	return nil
}

// Affinity binds a further process to CPUs, before and after what join adds.
func Affinity(p *program.Program, process *specs.Process, join func()) error {
	cpus := process.ExecCPUAffinity
	if cpus == nil {
		cpus = new(specs.CPUAffinity)
	}
	for i, list := range []string{cpus.Initial, cpus.Final} {
		if i == 1 {
			join()
		}
		if list == "" {
			continue
		}
		mask, err := CPUs(list)
		if err != nil {
			return err
		}
		p.Step("set CPU affinity to", list)
		p.Call(unix.SYS_SCHED_SETAFFINITY, program.Num(0), program.Num(len(mask)*8), program.Mem(&mask[0], list))
	}
	return nil
}

// maxCPU bounds a list of CPUs; the kernel's own limit is 8192.
const maxCPU = 8192

// CPUs reads a list such as "0-3,7" into a mask for sched_setaffinity.
func CPUs(list string) ([]uint64, error) {
	mask := make([]uint64, maxCPU/64)
	rest, used := list, 0
	for rest != "" {
		var first, last uint
		var part string
		part, rest = cut(rest)
		n, _ := fmt.Sscanf(part+" ", "%d-%d ", &first, &last)
		if n < 2 {
			if n, _ = fmt.Sscanf(part+" ", "%d ", &first); n == 1 {
				last = first
			}
		}
		if n == 0 || first > last || last >= maxCPU || fmt.Sprint(first) != part && fmt.Sprintf("%d-%d", first, last) != part {
			return nil, fmt.Errorf("%q is not a list of CPUs", list)
		}
		for cpu := first; cpu <= last; cpu++ {
			mask[cpu/64] |= 1 << (cpu % 64)
		}
		used = max(used, int(last/64)+1)
	}
	if used == 0 {
		return nil, fmt.Errorf("%q is not a list of CPUs", list)
	}
	return mask[:used], nil
}

func cut(list string) (part, rest string) {
	for i, c := range list {
		if c == ',' {
			if i+1 == len(list) {
				return list, "" // not a list, with its comma
			}
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// confine has the process's labels changed by its execve. proc is the host's
// procfs: the container's could be anything.
func (b *Becoming) confine() error {
	profile, label := b.Process.ApparmorProfile, b.Process.SelinuxLabel
	if profile == "unconfined" {
		profile = ""
	}
	switch {
	case profile != "" && !b.LSM.AppArmor:
		return fmt.Errorf("AppArmor is not enabled on this machine, and the process is to have the profile %q", profile)
	case label != "" && !b.LSM.SELinux:
		return fmt.Errorf("SELinux is not enabled on this machine, and the process is to have the label %q", label)
	case len(profile)+len(label) > math.MaxInt16:
		return fmt.Errorf("a label of %d bytes", len(profile)+len(label))
	}
	if profile != "" {
		b.Step("apply AppArmor profile", profile)
		done := b.Label()
		fd := b.FD("attr")
		wr := program.Flag(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY")
		// The own directory since Linux 5.8; before it the one that modules share.
		b.Call(unix.SYS_OPENAT, program.R(b.Proc), program.Str("thread-self/attr/apparmor/exec"), wr).Into(fd).OK(done).Tolerate(unix.ENOENT)
		b.Call(unix.SYS_OPENAT, program.R(b.Proc), program.Str("thread-self/attr/exec"), wr).Into(fd)
		b.Here(done)
		text := "exec " + profile
		b.Call(unix.SYS_WRITE, program.R(fd), program.Str(text), program.Num(len(text)))
	}
	if label != "" {
		b.Step("set SELinux label", label)
		fd := b.FD("attr")
		b.Call(unix.SYS_OPENAT, program.R(b.Proc), program.Str("thread-self/attr/exec"), program.Flag(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY")).Into(fd)
		b.Call(unix.SYS_WRITE, program.R(fd), program.Str(label), program.Num(len(label)))
	}
	return nil
}
