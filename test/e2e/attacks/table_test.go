package attacks

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/test/e2e/engine"
)

var update = flag.Bool("update", false, "write the table in docs/security.md anew")

// allowed are the probes that Docker's default lets through, by the
// documentation of its capabilities, its profile and its masked paths;
// everything else that the probe tries must be refused.
var allowed = map[string]bool{
	"chroot": true, "name_to_handle_at": true, "ptrace-attach": true, "process_vm_readv": true, "process_vm_writev": true,
	"signal-elsewhere": true, "personality-get": true, "memfd_create": true, "setuid": true, "mknod": true, "clock_adjtime": true,
	"socket-raw": true, "socket-packet": true, "socket-netlink": true, "socket-audit": true, "socket-unix": true, "socket-xdp": true, "setsockopt-mark": true,
}

// verdict tells a refusal from a call that came through, whatever became of it.
func verdict(name, word string) string {
	switch word {
	case "ok":
		return "allowed"
	case "EPERM", "EACCES", "EROFS", "ENOSYS", "empty":
		return "refused"
	default:
		// The call came through, and its useless arguments were what failed.
		if allowed[name] {
			return "allowed"
		}
		return word
	}
}

// probed runs the probe and returns its verdicts by name.
func probed(t *testing.T, out string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for line := range strings.Lines(out) {
		if name, word, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m[name] = verdict(name, word)
		}
	}
	if len(m) < 90 {
		t.Fatalf("too little was tried:\n%s", out)
	}
	return m
}

func want(name string) string {
	if allowed[name] {
		return "allowed"
	}
	return "refused"
}

// TestWhatAContainerMay tries everything of the table in docs/security.md, by
// run and by exec.
func TestWhatAContainerMay(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "box", "busybox", "sleep", "1000")
	run := probed(t, e.Must("run", "--rm", "busybox", "/bin/probe", "calls"))
	for how, got := range map[string]map[string]string{"run": run, "exec": probed(t, e.Must("exec", "box", "/bin/probe", "calls"))} {
		for name, v := range got {
			if v != want(name) {
				t.Errorf("%s: %s is %s, want %s", how, name, v, want(name))
			}
		}
	}
	table(t, run)
}

const (
	tableBegin = "<!-- the table is checked by TestWhatAContainerMay in test/e2e/attacks, and written by it with -update -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// table compares the documentation's table with what was found. Rows of probes
// that this machine has no file for stay as they are.
func table(t *testing.T, found map[string]string) {
	t.Helper()
	file := "../../../docs/security.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no table", file)
	}
	rows := map[string]string{}
	for line := range strings.Lines(old) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[1], "`") {
			rows[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[3])
		}
	}
	if *update {
		maps.Copy(rows, found)
		var text strings.Builder
		text.WriteString("| tried | by Docker's default | in hoy |\n|---|---|---|\n")
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			fmt.Fprintf(&text, "| `%s` | %s | %s |\n", name, want(name), rows[name])
		}
		if err := os.WriteFile(file, []byte(before+tableBegin+text.String()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name, v := range found {
		if rows[name] != v {
			t.Errorf("%s says that %s is %q; it is %s", file, name, rows[name], v)
		}
	}
}

// dockerCaps, dockerMasked and dockerReadonly are Docker's defaults.
var (
	dockerCaps = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
	dockerMasked = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	dockerReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// TestRuncSaysTheSame runs the probe under runc with Docker's default profile:
// the expected column, found by another program.
func TestRuncSaysTheSame(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("runc is not installed; it comes with the package docker.io")
	}
	dir := t.TempDir()
	untar := engine.Run(t, string(engine.BusyboxTar(t)), "tar", "-x", "-C", dir, "--one-top-level=rootfs")
	untar.Must(t)
	bin, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/probe"), bin, 0o755); err != nil {
		t.Fatal(err)
	}
	engine.Run(t, "", runc, "spec", "-b", dir).Must(t)
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	docker(t, &s)
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := engine.Run(t, "", runc, "--root", filepath.Join(dir, "state"), "run", "-b", dir, "--no-pivot="+fmt.Sprint(onInitramfs()), engine.Unique("hoy-probe-"))
	if r.Code != 0 && strings.Contains(r.Err, "cgroup") {
		t.Skipf("runc does not run here: %s", r.Err)
	}
	for name, v := range probed(t, r.Must(t)) {
		if runcDiffers[name] == "" && v != want(name) {
			t.Errorf("under runc %s is %s, the table says %s", name, v, want(name))
		}
	}
}

// runcDiffers are the probes that another version of runc or of the profile
// answers otherwise, with the reason.
var runcDiffers = map[string]string{
	"device-tun": "runc before 1.2 lets every container open /dev/net/tun",
}

// docker makes s what Docker gives a container.
func docker(t *testing.T, s *specs.Spec) {
	t.Helper()
	s.Process.Terminal, s.Process.Args = false, []string{"/bin/probe", "calls"}
	s.Process.NoNewPrivileges = false
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: dockerCaps, Effective: dockerCaps, Permitted: dockerCaps}
	s.Root.Readonly = false
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = dockerMasked, dockerReadonly
	var err error
	if s.Linux.Seccomp, err = profiles.GetDefaultProfile(s); err != nil {
		t.Fatal(err)
	}
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"}}
}

// onInitramfs says whether the host's root cannot be pivoted away from.
func onInitramfs() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/", &fs) == nil && (fs.Type == unix.RAMFS_MAGIC || fs.Type == unix.TMPFS_MAGIC)
}
