// Package doctor looks at a host and says what would keep an engine from working
// there, and what to do. It changes nothing, and needs no daemon.
package doctor

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The outcomes of a check, from the best to the worst.
const (
	OK      = "ok"
	Warning = "warning"
	Problem = "problem"
)

// Result is one check's outcome.
type Result struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	// Do is what helps; empty where nothing needs to.
	Do string `json:"do,omitempty"`
}

// Host is what is looked at: its files, below Root, and its kernel.
type Host struct {
	// Root is "" but in tests.
	Root string
	// DataRoot is where the engine's data is or will be.
	DataRoot string
}

// Look makes all checks.
func (h Host) Look() []Result {
	var all []Result
	for _, group := range []func() []Result{
		h.kernel, h.features, h.cgroups, h.limits, h.firewall, h.disk, h.clock, h.others,
	} {
		all = append(all, group()...)
	}
	return all
}

// Worst is 0 where all is ok, 1 with a warning, 2 with a problem.
func Worst(all []Result) (worst int) {
	for _, r := range all {
		worst = max(worst, map[string]int{Warning: 1, Problem: 2}[r.Status])
	}
	return worst
}

func (h Host) read(path string) (string, bool) {
	b, err := os.ReadFile(h.Root + path)
	return strings.TrimSpace(string(b)), err == nil
}

func (h Host) number(path string) (int64, bool) {
	text, ok := h.read(path)
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil
}

// when gives status and advice where a condition is broken.
func when(check, found string, fine bool, status, do string) Result {
	if fine {
		return Result{Check: check, Status: OK, Found: found}
	}
	return Result{Check: check, Status: status, Found: found, Do: do}
}

// The oldest kernels with all that is used, and with what is used where it is there.
const (
	leastMajor, leastMinor    = 5, 3
	idmapMajor, idmapMinor    = 5, 12
	fullOverlay, fullOverlay2 = 5, 19
)

func (h Host) kernel() []Result {
	release, _ := h.read("/proc/sys/kernel/osrelease")
	return []Result{judgeKernel(release)}
}

func judgeKernel(release string) Result {
	var major, minor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	before := func(a, b int) bool { return cmp.Or(cmp.Compare(major, a), cmp.Compare(minor, b)) < 0 }
	r := Result{Check: "kernel", Status: OK, Found: cmp.Or(release, "unknown")}
	switch {
	case major == 0:
		r.Status, r.Do = Warning, "look at /proc: is it mounted?"
	case before(leastMajor, leastMinor):
		r.Status, r.Do = Problem, fmt.Sprintf("use Linux %d.%d or newer: containers are started with its system calls", leastMajor, leastMinor)
	case before(idmapMajor, idmapMinor):
		r.Status, r.Do = Warning, fmt.Sprintf("before %d.%d there are no id-mapped mounts: user namespaces copy the image", idmapMajor, idmapMinor)
	case before(fullOverlay, fullOverlay2):
		r.Status, r.Do = Warning, fmt.Sprintf("before %d.%d overlayfs takes no id-mapped mounts: user namespaces copy the image", fullOverlay, fullOverlay2)
	}
	return r
}

func (h Host) features() []Result {
	systems, _ := h.read("/proc/filesystems")
	overlay := strings.Contains(systems, "overlay")
	status, _ := h.read("/proc/self/status")
	filters, _ := h.read("/proc/sys/kernel/seccomp/actions_avail")
	users, known := h.number("/proc/sys/user/max_user_namespaces")
	is := func(b bool) string { return map[bool]string{true: "there", false: "not there"}[b] }
	seccomp := strings.Contains(status, "Seccomp:") && strings.Contains(filters, "errno")
	all := []Result{
		when("overlayfs", is(overlay), overlay, Warning, "modprobe overlay; without it image layers are copied for each container"),
		when("seccomp", is(seccomp), seccomp, Problem, "use a kernel with CONFIG_SECCOMP_FILTER, or run containers with --security-opt seccomp=unconfined"),
		when("user namespaces", fmt.Sprintf("at most %d", users), known && users > 0, Warning, "sysctl -w user.max_user_namespaces=65536; without them --userns=private does not work"),
	}
	for _, c := range []struct {
		name   string
		there  bool
		status string
	}{{"pidfd", hasPidfd(), Problem}, {"clone3", hasCall(unix.SYS_CLONE3), Problem}, {"id-mapped mounts", hasCall(unix.SYS_MOUNT_SETATTR), Warning}} {
		all = append(all, when(c.name, is(c.there), c.there, c.status, "use a newer kernel, or lift the filter that forbids the call"))
	}
	return all
}

func hasPidfd() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// hasCall says whether a system call exists: with no arguments it is refused as
// invalid, and does nothing.
func hasCall(number uintptr) bool {
	_, _, errno := unix.Syscall6(number, 0, 0, 0, 0, 0, 0)
	return errno != unix.ENOSYS && errno != unix.EPERM
}

// least are settings that many containers need room in.
var least = []struct {
	path, name string
	least      int64
	why        string
}{
	{"/proc/sys/kernel/pid_max", "kernel.pid_max", 65536, "processes of all containers together"},
	{"/proc/sys/fs/inotify/max_user_instances", "fs.inotify.max_user_instances", 512, "each program that watches files takes one; containers of root share them"},
	{"/proc/sys/fs/inotify/max_user_watches", "fs.inotify.max_user_watches", 65536, "each watched file takes one"},
	{"/proc/sys/fs/file-max", "fs.file-max", 100000, "open files of the whole machine"},
}

// leastFiles is how many files a daemon may have open for some hundreds of containers.
const leastFiles = 65536

func (h Host) limits() (all []Result) {
	for _, l := range least {
		n, ok := h.number(l.path)
		if !ok {
			continue
		}
		all = append(all, when(l.name, strconv.FormatInt(n, 10), n >= l.least, Warning,
			fmt.Sprintf("sysctl -w %s=%d: %s", l.name, l.least, l.why)))
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		all = append(all, when("open files", fmt.Sprintf("at most %d", files.Max), files.Max >= leastFiles, Warning,
			fmt.Sprintf("LimitNOFILE=%d in hoyd's unit, or ulimit -Hn", leastFiles)))
	}
	used, ok := h.number("/proc/sys/net/netfilter/nf_conntrack_count")
	room, ok2 := h.number("/proc/sys/net/netfilter/nf_conntrack_max")
	if ok && ok2 && room > 0 {
		all = append(all, when("connections", fmt.Sprintf("%d of %d tracked", used, room), used < room/5*4, Warning,
			fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d: beyond it packets are dropped", 2*room)))
	}
	return all
}
