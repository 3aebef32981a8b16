package verbs

import (
	"strings"
	"testing"

	"hoy/internal/runtime/landlock"
	"hoy/test/e2e/engine"
)

// TestLandlock looks from inside at what rules close and leave open.
func TestLandlock(t *testing.T) {
	if landlock.Version() < 4 {
		t.Skipf("needs a kernel with version 4 of Landlock, this one has %d", landlock.Version())
	}
	e := start(t)
	volume := engine.Unique("v")
	e.Must("volume", "create", volume)
	e.Must("run", "--rm", "-v", volume+":/v", "busybox", "sh", "-c", "mkdir /v/a /v/b; echo one >/v/a/f; cp /bin/busybox /v/b/run")
	const files = "--security-opt landlock=exec:/bin,write:/v/a,read:/v/b,read:/etc/hostname"
	for _, c := range []struct{ name, flags, script, want string }{
		{"no rules", "", "cat /v/a/f; echo x >/v/b/g; echo $?; rm /v/b/g", "one\n0"},
		{"a directory to write", files, "cat /v/a/f; echo x >/v/a/g; mv /v/a/g /v/a/h; mkdir /v/a/d; rm -r /v/a/h /v/a/d; echo $?", "one\n0"},
		{"a directory to read", files, "ls /v/b; touch /v/b/g 2>&1; /v/b/run true 2>&1", "run\ntouch: /v/b/g: Permission denied\nsh: /v/b/run: Permission denied"},
		{"all else", files, "ls / 2>&1; cat /etc/passwd 2>&1; echo x 2>/dev/null >/tmp/x || echo refused", "ls: can't open '/': Permission denied\ncat: can't open '/etc/passwd': Permission denied\nrefused"},
		{"a file", files + " -h box", "cat /etc/hostname", "box"},
		{"devices and facts", files, "echo x >/dev/null; grep -c MemTotal /proc/meminfo", "1"},
		{"a user", files + " -u 1000", "cat /v/a/f; touch /v/a/g 2>&1", "one\ntouch: /v/a/g: Permission denied"},
		{"with the filter off", files + " --security-opt seccomp=unconfined --cap-add ALL", "cat /etc/passwd 2>&1", "cat: can't open '/etc/passwd': Permission denied"},
		{"no new privileges", files + " --security-opt no-new-privileges", "cat /etc/passwd 2>&1", "cat: can't open '/etc/passwd': Permission denied"},
		{"privileged", files + " --privileged", "cat /etc/passwd 2>&1; mount -t tmpfs t /v 2>&1", "cat: can't open '/etc/passwd': Permission denied\nmount: permission denied (are you root?)"},
		{"init", files + " --init", "cat /v/a/f; cat /etc/passwd 2>&1", "one\ncat: can't open '/etc/passwd': Permission denied"},
		{"users of its own", files + " --userns private", "cat /v/a/f; cat /etc/passwd 2>&1", "one\ncat: can't open '/etc/passwd': Permission denied"},
		{"ports alone", "--security-opt landlock=bind:none,connect:none", "cat /v/a/f; nc -l -p 99 2>&1; nc 127.0.0.1 99 2>&1", "one\nnc: bind: Permission denied\nnc: can't connect to remote host (127.0.0.1): Permission denied"},
		{"a port", "--security-opt landlock=bind:99,connect:99", "(echo hello | nc -l -p 99 >/dev/null &); sleep 0.3; nc 127.0.0.1 99 </dev/null; nc 127.0.0.1 98 2>&1", "hello\nnc: can't connect to remote host (127.0.0.1): Permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run", "--rm", "-v", volume + ":/v"}, strings.Fields(c.flags)...)
			r := e.Hoy(append(args, "busybox", "sh", "-c", c.script)...)
			if got := strings.TrimSpace(r.Out + r.Err); got != c.want {
				t.Errorf("%s\ngot  %q\nwant %q", strings.Join(args, " "), got, c.want)
			}
		})
	}
	t.Run("exec", func(t *testing.T) {
		name := engine.Unique("ll")
		e.Must(append(append([]string{"run", "-d", "--name", name}, strings.Fields(files+" -v "+volume+":/v")...), "busybox", "sleep", "1000")...)
		for _, flags := range []string{"", "--privileged", "-t", "-u 1000"} {
			args := append([]string{"exec"}, strings.Fields(flags)...)
			r := e.Hoy(append(args, name, "sh", "-c", "cat /v/a/f; cat /etc/passwd 2>&1")...)
			if got := strings.ReplaceAll(strings.TrimSpace(r.Out+r.Err), "\r", ""); got != "one\ncat: can't open '/etc/passwd': Permission denied" {
				t.Errorf("exec %s: %q", flags, got)
			}
		}
		e.Must("rm", "-f", name)
	})
	for flags, want := range map[string]string{
		"--security-opt landlock=read":              "by an absolute path",
		"--security-opt landlock=run:/x":            "is not read:PATH",
		"--security-opt landlock=bind:x":            "by a port or",
		"--security-opt landlock=exec:/,read:/gone": "open to landlock /gone: no such file or directory",
	} {
		e.Hoy(append(append([]string{"run", "--rm"}, strings.Fields(flags)...), "busybox", "true")...).Refused(t, 125, want)
	}
	if r := e.Hoy("run", "--rm", "--security-opt", "landlock=read:/", "busybox", "true"); r.Code != 126 || !strings.Contains(r.Err, "permission denied") {
		t.Errorf("a command that may not be executed: exit %d, %q", r.Code, r.Err)
	}
	e.Must("volume", "rm", volume)
}
