package attacks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHostileImages starts containers of images whose files are made to lead
// the engine astray. Each either runs confined or is refused in words.
func TestHostileImages(t *testing.T) {
	e := start(t)
	host := victim(t)
	secret := host + "/secret"
	climb := "../../../../../../../../../.."
	for _, c := range []struct {
		name    string
		entries []entry
		changes []string
		refused string // what the error says; empty where the container runs
	}{
		{"dev is a link to the host", []entry{link("dev", host)}, nil, ""},
		{"dev climbs", []entry{link("dev", climb+host)}, nil, ""},
		{"proc is a link", []entry{link("proc", "/etc")}, nil, "/proc"},
		{"proc is a link to the host", []entry{link("proc", climb+host)}, nil, "/proc"},
		{"sys is a link", []entry{link("sys", host)}, nil, "/sys"},
		{"sys climbs into proc", []entry{link("sys", "proc/1")}, nil, "/sys"},
		{"null is a link", []entry{link("dev/null", secret)}, nil, ""},
		{"console is a link", []entry{link("dev/console", secret)}, nil, ""},
		{"pts is a link", []entry{link("dev/pts", host), link("dev/shm", climb+host), link("dev/mqueue", host)}, nil, ""},
		{"hosts are links", []entry{link("etc/hosts", secret), link("etc/hostname", climb+secret), link("etc/resolv.conf", host+"/new")}, nil, ""},
		{"etc is a link", []entry{link("etc", climb+host)}, nil, ""},
		{"hosts is a loop", []entry{link("etc/hosts", "resolv.conf"), link("etc/resolv.conf", "hosts")}, nil, "too many levels"},
		{"hosts is a magic link", []entry{link("etc/hosts", "/proc/self/exe")}, nil, "/etc/hosts"},
		{"hosts is in proc", []entry{link("etc/hosts", "/proc/sys/kernel/hostname")}, nil, "/etc/hosts"},
		{"hosts is a pipe", []entry{fifo("etc/hosts"), fifo("etc/hostname"), char("etc/resolv.conf", 10, 130)}, nil, ""},
		{"passwd is a pipe", []entry{fifo("etc/passwd")}, nil, "not a regular file"},
		{"passwd is a watchdog", []entry{char("etc/passwd", 10, 130)}, nil, "not a regular file"},
		{"group is a terminal", []entry{char("etc/group", 5, 0)}, nil, "not a regular file"},
		{"passwd is of the host", []entry{link("etc/passwd", climb+secret)}, nil, ""},
		{"passwd is a loop", []entry{link("etc/passwd", "passwd")}, nil, "too many levels"},
		{"passwd is a directory", []entry{{content: "", Header: dir("etc/passwd/")}}, nil, "not a regular file"},
		{"passwd is huge", []entry{reg("etc/passwd", strings.Repeat("x", 8<<20))}, nil, ""},
		{"passwd is malformed", []entry{reg("etc/passwd", "root\n:::\nroot:x:-1:99999999999999:\x00\n"+strings.Repeat(":", 70000)+"\n"), reg("etc/group", "root:x\n::::::\n")}, nil, ""},
		{"workdir climbs", []entry{link("wd", climb+host+"/made")}, []string{"WORKDIR /wd"}, ""},
		{"workdir is a magic link", []entry{link("wd", "/proc/self/fd/7")}, []string{"WORKDIR /wd"}, "cwd"},
		{"workdir is a descriptor", nil, []string{"WORKDIR /proc/self/fd/8"}, "cwd"},
		{"workdir is a loop", []entry{link("wd", "wd")}, []string{"WORKDIR /wd/x"}, "too many levels"},
		{"volume at a link", []entry{link("data", climb+host)}, []string{"VOLUME /data"}, ""},
		{"volume at the root", []entry{link("data", "/")}, []string{"VOLUME /data"}, ""},
		{"volume in proc", []entry{link("data", "/proc/self")}, []string{"VOLUME /data"}, "/data"},
		{"sbin is a link", []entry{link("sbin", climb+host)}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "evil-" + strings.ReplaceAll(c.name, " ", "-")
			image(t, e, name, c.changes, c.entries...)
			for _, flags := range [][]string{{}, {"-t"}, {"--init"}, {"--read-only"}} {
				args := append([]string{"run", "--rm"}, flags...)
				r := e.Hoy(append(args, name, "/bin/sh", "-c", "echo x >/dev/null; echo y >>/etc/hosts; cat "+secret+"; ls /..; cat "+climb+secret)...)
				if strings.Contains(r.Out, "of the host") {
					t.Errorf("%v: the host's file was read: %q", flags, r.Out)
				}
				if c.refused == "" && r.Code == 125 || c.refused != "" && (r.Code == 0 || !strings.Contains(r.Err, c.refused)) {
					t.Errorf("%v: exit %d, %q, want an error with %q", flags, r.Code, r.Err, c.refused)
				}
			}
			e.Must("rmi", "-f", name)
		})
	}
	alive(t, e)
}

// TestHostileFlags is what a client may ask for, with paths that climb.
func TestHostileFlags(t *testing.T) {
	e := start(t)
	host := victim(t)
	e.Must("run", "--rm", "-v", "shared:/v", "busybox", "sh", "-c", "ln -s "+host+" /v/out; ln -s ../../../../.. /v/up; ln -s /proc/self/root /v/magic; mkdir /v/ok")
	for _, c := range []struct {
		flags, refused string
	}{
		{"--mount type=volume,src=shared,dst=/d,volume-subpath=out", "shared"},
		{"--mount type=volume,src=shared,dst=/d,volume-subpath=up", "shared"},
		{"--mount type=volume,src=shared,dst=/d,volume-subpath=magic", "shared"},
		{"--mount type=volume,src=shared,dst=/d,volume-subpath=../x", "subpath must be a relative path within the volume"},
		{"--mount type=volume,src=shared,dst=/d,volume-subpath=/etc", "subpath must be a relative path within the volume"},
		{"-v shared:/proc/self", "/proc/self"},
		{"-v shared:/proc/1/attr", "/proc/1/attr"},
		{"-v shared:/proc/sys", "/proc/sys"},
		{"-v shared:/", "/"},
		{"-v shared:/x/..", "/"},
		{"--sysctl net.ipv4.../../../kernel/core_pattern=x", "sysctl"},
		{"--sysctl net/../kernel/core_pattern=x", "sysctl"},
		{"--sysctl net.ipv4/../../kernel.core_pattern=x", "sysctl"},
		{"--sysctl kernel.core_pattern=x", "sysctl"},
		{"--network host --sysctl net.ipv4.ip_forward=0", "sysctl"},
		{"--device /dev/null:/../../etc/hoy-climbed", ""}, // in the container, as any path is
		{"--cgroup-parent ../../../..", ""},
		{"--name ../../x", "Invalid container name"},
		{"--hostname a/../b", "hostname"},
		{"--user ../../etc", "unable to find user"},
		{"--pid container:../../1", "No such container"},
		{"--network container:/proc/1", "No such container"},
		{"--cidfile /proc/self/nowhere/x", "container ID file"},
		{"-e A=b --env-file /proc/self/mem", ""},
	} {
		t.Run(c.flags, func(t *testing.T) {
			args := append([]string{"run", "--rm"}, strings.Fields(c.flags)...)
			r := e.Hoy(append(args, "busybox", "cat", "/d/secret")...)
			if r.Code == 0 || r.Code == 1 && c.refused != "" || !strings.Contains(r.Err, c.refused) {
				t.Errorf("exit %d, %q %q, want an error with %q", r.Code, r.Out, r.Err, c.refused)
			}
			if strings.Contains(r.Out, "of the host") {
				t.Error("the host's file was read")
			}
		})
	}
	if b, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); strings.TrimSpace(string(b)) == "x" {
		t.Error("a container changed the core pattern")
	}
	if _, err := os.Lstat("/etc/hoy-climbed"); err == nil {
		t.Error("a device was made on the host")
	}
	// These mount over /proc and /sys wholly, as their user asks for: nothing of the host's is below.
	for _, dest := range []string{"/proc", "/sys", "/dev"} {
		e.Hoy("run", "--rm", "-v", "shared:"+dest, "busybox", "ls", dest)
	}
	alive(t, e)
}

// TestMaskedPathsStay looks for ways around the masks, from run and from exec.
func TestMaskedPathsStay(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "box", "busybox", "sleep", "1000")
	for _, path := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/1/root/proc/kcore", "/dev/../proc/kcore", "/proc/self/root/proc/kcore"} {
		if r := e.Hoy("exec", "box", "sh", "-c", "head -c 1 "+path+" 2>/dev/null | wc -c"); strings.TrimSpace(r.Out) != "0" {
			t.Errorf("%s gives %q", path, r.Out)
		}
	}
}

// TestSetuidGivesNothingUnderNoNewPrivileges runs a setuid program as a user.
func TestSetuidGivesNothingUnderNoNewPrivileges(t *testing.T) {
	e := start(t)
	bin, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	suid := reg("bin/suid", string(bin))
	suid.Mode = 0o4755
	image(t, e, "suid", nil, suid)
	if got := e.Must("run", "--rm", "-u", "1000", "suid", "/bin/suid", "ids"); got != "1000 0 0" {
		t.Errorf("a setuid program runs as %q", got)
	}
	if got := e.Must("run", "--rm", "-u", "1000", "--security-opt", "no-new-privileges", "suid", "/bin/suid", "ids"); got != "1000 1000 1000" {
		t.Errorf("with no-new-privileges a setuid program runs as %q", got)
	}
}

// TestExportOfHostileNames has names that could lead whoever unpacks astray.
func TestExportOfHostileNames(t *testing.T) {
	e := start(t)
	host := victim(t)
	e.Must("run", "--name", "names", "busybox", "sh", "-c", `cd /tmp; mkdir -p a/b; touch -- '-rf' '..x' "$(printf 'new\nline')" "$(printf 'esc\033[2J')"; ln -s `+host+` out; mkfifo p 2>/dev/null || true; mknod n c 1 3; ln -s .. a/b/up`)
	out := filepath.Join(t.TempDir(), "x.tar")
	e.Must("export", "-o", out, "names")
	into := t.TempDir()
	for _, what := range []string{"/tmp", "/tmp/out", "/tmp/n", "/tmp/a/b/up/"} {
		e.Hoy("cp", "names:"+what, into)
	}
	e.Must("import", out, "again")
	alive(t, e)
}
