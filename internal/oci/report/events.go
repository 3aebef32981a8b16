package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup"
)

// Event is one line of events, in the form that callers of runc read.
type Event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

type (
	stats struct {
		CPU     cpuStats           `json:"cpu"`
		Memory  memoryStats        `json:"memory"`
		Pids    pidsStats          `json:"pids"`
		Blkio   blkioStats         `json:"blkio"`
		Hugetlb map[string]hugetlb `json:"hugetlb"`
		RDT     struct{}           `json:"intel_rdt"`
		Links   []struct{}         `json:"network_interfaces"`
	}
	cpuStats struct {
		Usage struct {
			Total  uint64   `json:"total,omitempty"`
			PerCPU []uint64 `json:"percpu,omitempty"`
			Kernel uint64   `json:"kernel"`
			User   uint64   `json:"user"`
		} `json:"usage"`
		Throttling struct {
			Periods          uint64 `json:"periods,omitempty"`
			ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
			ThrottledTime    uint64 `json:"throttledTime,omitempty"`
		} `json:"throttling"`
	}
	memoryEntry struct {
		Limit   uint64 `json:"limit"`
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
	memoryStats struct {
		Cache uint64            `json:"cache,omitempty"`
		Usage memoryEntry       `json:"usage"`
		Raw   map[string]uint64 `json:"raw,omitempty"`
	}
	pidsStats struct {
		Current uint64 `json:"current,omitempty"`
		Limit   uint64 `json:"limit,omitempty"`
	}
	blkioEntry struct {
		Major uint64 `json:"major,omitempty"`
		Minor uint64 `json:"minor,omitempty"`
		Op    string `json:"op,omitempty"`
		Value uint64 `json:"value,omitempty"`
	}
	blkioStats struct {
		ServiceBytes []blkioEntry `json:"ioServiceBytesRecursive,omitempty"`
		Serviced     []blkioEntry `json:"ioServicedRecursive,omitempty"`
		Queued       []blkioEntry `json:"ioQueueRecursive,omitempty"`
		ServiceTime  []blkioEntry `json:"ioServiceTimeRecursive,omitempty"`
		WaitTime     []blkioEntry `json:"ioWaitTimeRecursive,omitempty"`
		Merged       []blkioEntry `json:"ioMergedRecursive,omitempty"`
		Time         []blkioEntry `json:"ioTimeRecursive,omitempty"`
		Sectors      []blkioEntry `json:"sectorsRecursive,omitempty"`
	}
	hugetlb struct {
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
)

// Stats are the counters of a group.
func Stats(id string, p cgroup.Place) (Event, error) {
	s, err := p.Stats()
	if err != nil {
		return Event{}, err
	}
	var out stats
	u, t := &out.CPU.Usage, &out.CPU.Throttling
	u.Total, u.PerCPU, u.Kernel, u.User = s.CPU.Total, s.CPU.PerCPU, s.CPU.Kernel, s.CPU.User
	t.Periods, t.ThrottledPeriods, t.ThrottledTime = s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime
	m := s.Memory
	out.Memory = memoryStats{m.Detail["cache"] + m.Detail["file"], memoryEntry{m.Limit, m.Usage, m.MaxUsage, m.Failcnt}, m.Detail}
	out.Pids = pidsStats{s.Pids.Current, s.Pids.Limit}
	io := s.IO
	out.Blkio = blkioStats{entries(io.ServiceBytes), entries(io.Serviced), entries(io.Queued), entries(io.ServiceTime),
		entries(io.WaitTime), entries(io.Merged), entries(io.Time), entries(io.Sectors)}
	out.Hugetlb = map[string]hugetlb{}
	for page, h := range s.Hugetlb {
		out.Hugetlb[page] = hugetlb{h.Usage, h.MaxUsage, h.Failcnt}
	}
	return Event{"stats", id, out}, nil
}

func entries(list []cgroup.IOEntry) []blkioEntry {
	var out []blkioEntry
	for _, e := range list {
		out = append(out, blkioEntry{e.Major, e.Minor, e.Op, e.Value})
	}
	return out
}

// OOM calls f whenever a process of the group was killed for want of memory,
// until the group is gone.
func OOM(p cgroup.Place, f func()) error {
	paths := p.Paths()
	if dir, ok := paths["memory"]; ok {
		return oomV1(dir, f)
	}
	return oomV2(paths[""], p, f)
}

// oomV1 has the kernel count into an event descriptor.
func oomV1(dir string, f func()) error {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer func() { _ = unix.Close(fd) }()
	register := fmt.Appendf(nil, "%d %d", fd, control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), register, 0); err != nil { //nolint:forbidigo // a file of the kernel
		return err
	}
	var count [8]byte
	for {
		if _, err := unix.Read(fd, count[:]); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("read", err)
		}
		// The removal of the group wakes us as well.
		if _, err := os.Stat(dir); err != nil {
			return nil //nolint:nilerr // gone
		}
		f()
	}
}

// oomV2 reads the count whenever the kernel says that one of its file has changed.
func oomV2(dir string, p cgroup.Place, f func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("inotify_init", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range []string{"memory.events", "cgroup.events"} {
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, name), unix.IN_MODIFY); err != nil {
			return &os.PathError{Op: "watch", Path: filepath.Join(dir, name), Err: err}
		}
	}
	last, err := p.OOMKills()
	if err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		if _, err := unix.Read(fd, buf); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("read", err)
		}
		now, err := p.OOMKills()
		if err != nil {
			return nil //nolint:nilerr // gone
		}
		for ; last < now; last++ {
			f()
		}
		if left, err := p.Pids(); err != nil || len(left) == 0 {
			return nil //nolint:nilerr // the last process has ended
		}
	}
}
