package runtimes

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hoy/test/e2e/engine"
)

var cases = []struct {
	name string
	do   func(s *scene)
}{
	{"run", testRun}, {"failures", testFailures}, {"inside", testInside}, {"terminal", testTerminal}, {"exec", testExec},
	{"signals", testSignals}, {"limits", testLimits}, {"files", testFiles}, {"network", testNetwork},
	{"restarts", testRestarts}, {"namespaces", testNamespaces}, {"daemon killed", testDaemonKilled},
}

func testRun(s *scene) {
	r := s.run("--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 42")
	s.want("output", r.Out, "out\n")
	s.want("error output", r.Err, "err\n")
	s.want("exit code", strconv.Itoa(r.Code), "42")
	s.want("signal's exit code", strconv.Itoa(s.run("--rm", "busybox", "sh", "-c", "sleep 1000 & kill -9 $!; wait $!").Code), "137")
	in := engine.Run(s.t, "typed\n", append([]string{engine.Bin(s.t, "hoy"), "-H", s.Host, "run", "-i", "--rm", "--runtime", s.runtime}, "busybox", "cat")...)
	s.want("standard input", in.Out, "typed\n")
	name := engine.Unique("c")
	s.Must("create", "--runtime", s.runtime, "--name", name, "busybox", "sh", "-c", "echo once")
	s.want("runtime in inspect", s.Must("inspect", "-f", "{{.HostConfig.Runtime}}", name), s.runtime)
	s.want("start -a", s.Must("start", "-a", name), "once")
	s.want("start -a again", s.Must("start", "-a", name), "once")
	s.want("logs", s.Must("logs", name), "once\nonce")
	s.want("ps", s.Must("ps", "-a", "--filter", "name="+name, "--format", "{{.State}}"), "exited")
}

func testFailures(s *scene) {
	for _, c := range []struct{ what, command, code, err string }{
		{"no such command", "nosuch", "127", "executable file not found in $PATH"},
		{"no such path", "/no/such", "127", "no such file or directory"},
		{"a directory", "/etc", "126", "ermission denied"},
		{"not executable", "/etc/passwd", "126", "ermission denied"},
	} {
		r := s.run("--rm", "busybox", c.command)
		s.want(c.what, strconv.Itoa(r.Code), c.code)
		if !strings.Contains(r.Err, c.err) {
			s.t.Errorf("%s: %q, want %q", c.what, r.Err, c.err)
		}
	}
	s.run("--rm", "--user", "nobodyknows", "busybox", "true").Refused(s.t, 125, "unable to find user nobodyknows")
	s.run("--rm", "-v", "/etc/hostname:/etc/passwd/x", "busybox", "true").Refused(s.t, 125, "")
	s.want("refused runs that stay", s.Must("ps", "-aq", "--filter", "status=created"), "")
}

// testInside looks from inside at what the specification promises.
func testInside(s *scene) {
	for _, c := range []struct{ what, flags, script, want string }{
		{"process ids", "", "echo $$", "1"},
		{"capabilities", "", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"},
		{"added capability", "--cap-drop ALL --cap-add NET_ADMIN", "grep CapEff /proc/self/status", "CapEff:\t0000000000001000"},
		{"user", "-u www", "id -u; id -g; echo $HOME", "33\n33\n/var"},
		{"groups", "-u 33 --group-add extra", "id -G", "33 1000"},
		{"filter", "", "grep '^Seccomp:' /proc/self/status; unshare -U true 2>&1 | grep -c 'not permitted'", "Seccomp:\t2\n1"},
		{"no filter", "--security-opt seccomp=unconfined", "grep '^Seccomp:' /proc/self/status", "Seccomp:\t0"},
		{"no new privileges", "--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
		{"read-only", "--read-only --tmpfs /tmp", "touch /x 2>&1; touch /tmp/x && echo ok", "touch: /x: Read-only file system\nok"},
		{"masked", "", "cat /proc/timer_list /proc/keys 2>/dev/null | wc -c", "0"},
		{"shared memory", "--shm-size 2m", "stat -f -c '%b %s' /dev/shm", "512 4096"},
		{"limit of files", "--ulimit nofile=123:456", "ulimit -n; ulimit -Hn", "123\n456"},
		{"sysctl", "--sysctl kernel.msgmax=9000", "cat /proc/sys/kernel/msgmax", "9000"},
		{"hostname", "-h box", "hostname", "box"},
		{"domain name", "-h box --domainname example.test", "cat /proc/sys/kernel/domainname", "example.test"},
		{"working directory", "-w /some/where", "pwd", "/some/where"},
		{"init", "--init", "cat /proc/1/comm", "docker-init"},
		{"no device of one's own", "", "mknod /tmp/sda b 8 0 && cat /tmp/sda 2>&1 | grep -c 'not permitted'", "1"},
		{"privileged", "--privileged", "mount -t tmpfs t /tmp && echo mounted", "mounted"},
		{"score", "--oom-score-adj 77", "cat /proc/self/oom_score_adj", "77"},
		{"no descriptor of ours", "", "ls /proc/self/fd | wc -l", "4"},
	} {
		args := append([]string{"--rm"}, strings.Fields(c.flags)...)
		r := s.run(append(args, "busybox", "sh", "-c", c.script)...)
		s.want(c.what, strings.TrimSuffix(r.Out, "\n")+r.Err, c.want)
	}
}

func (s *scene) terminal(args ...string) *engine.Terminal {
	return engine.OpenTerminal(s.t, append([]string{engine.Bin(s.t, "hoy"), "-H", s.Host}, args...)...)
}

func testTerminal(s *scene) {
	name := engine.Unique("c")
	term := s.terminal("run", "-it", "--name", name, "--runtime", s.runtime, "busybox", "sh")
	term.Type("stty size\r")
	term.Expect("40 120", 10*time.Second)
	term.Resize(30, 90)
	engine.Eventually(s.t, "the new size is inside", func() bool { return s.Must("exec", name, "stty", "-F", "/proc/1/fd/0", "size") == "30 90" })
	term.Type("tty; exit 5\r")
	term.Expect("/dev/pts/0", 10*time.Second)
	s.want("exit code", strconv.Itoa(term.Wait(10*time.Second)), "5")
	s.Must("rm", name)

	name = s.up("-it", "busybox", "sh")
	attached := s.terminal("attach", name)
	attached.Type("echo $((40+2))\r")
	attached.Expect("42", 10*time.Second)
	attached.Type("\x10\x11")
	s.want("detached", strconv.Itoa(attached.Wait(10*time.Second)), "0")
	inside := s.terminal("exec", "-it", name, "sh")
	inside.Type("tty; stty size\r")
	inside.Expect("/dev/pts/1", 10*time.Second)
	inside.Expect("40 120", 10*time.Second)
	inside.Type("exit 6\r")
	s.want("exit code of exec", strconv.Itoa(inside.Wait(10*time.Second)), "6")
}

func testExec(s *scene) {
	name := s.up("-e", "A=1", "busybox", "sleep", "1000")
	s.want("output", s.Must("exec", name, "echo", "in"), "in")
	s.want("exit code", strconv.Itoa(s.Hoy("exec", name, "sh", "-c", "exit 9").Code), "9")
	s.want("user, environment, directory", s.Must("exec", "-u", "www", "-e", "B=2", "-w", "/tmp", name, "sh", "-c", "id -u; echo $A$B; pwd; echo $HOME"), "33\n12\n/tmp\n/var")
	s.want("no such command", strconv.Itoa(s.Hoy("exec", name, "nosuch").Code), "127")
	s.want("not executable", strconv.Itoa(s.Hoy("exec", name, "/etc/passwd").Code), "126")
	s.want("filter", s.Must("exec", name, "grep", "^Seccomp:", "/proc/self/status"), "Seccomp:\t2")
	s.want("capabilities", s.Must("exec", name, "grep", "CapEff", "/proc/self/status"), "CapEff:\t00000000a80425fb")
	s.want("cgroup", s.Must("exec", name, "sh", "-c", "cat /proc/self/cgroup | grep pids"), s.Must("exec", name, "sh", "-c", "cat /proc/1/cgroup | grep pids"))
	in := engine.Run(s.t, "typed\n", engine.Bin(s.t, "hoy"), "-H", s.Host, "exec", "-i", name, "cat")
	s.want("standard input", in.Out, "typed\n")
	s.Must("exec", "-d", name, "sleep", "1000")
	// runc answers a moment before its process has become the command.
	engine.Eventually(s.t, "top shows both", func() bool { return strings.Count(s.Must("top", name), "sleep") == 2 })
	s.want("files that exec leaves", strings.Join(glob(s.Dir+"/run/oci/*/exec-*"), " "), "")
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}

func testSignals(s *scene) {
	name := s.up("busybox", "sh", "-c", "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
	engine.Eventually(s.t, "the trap is set", func() bool { return s.Must("logs", name) == "ready" })
	s.Must("stop", name)
	s.want("exit code after stop", s.Must("wait", name), "3")
	s.want("logs", s.Must("logs", name), "ready\ngot it")
	s.Must("restart", name)
	s.want("restarted", s.Must("inspect", "-f", "{{.State.Status}}", name), "running")
	s.Must("kill", name)
	s.want("exit code after kill", s.Must("wait", name), "137")

	name = s.up("busybox", "sh", "-c", "while :; do echo x; usleep 20000; done")
	s.Must("pause", name)
	paused := s.Must("logs", name)
	time.Sleep(100 * time.Millisecond) //nolint:forbidigo // it must not do anything meanwhile
	s.want("what a paused container does", s.Must("logs", name), paused)
	s.Hoy("exec", name, "true").Refused(s.t, 1, "is paused")
	s.Must("unpause", name)
	engine.Eventually(s.t, "it goes on", func() bool { return s.Must("logs", name) != paused })
	s.Must("pause", name)
	s.Must("rm", "-f", name)

	// Removed by itself, and quickly even where it does not listen.
	name = s.up("--rm", "busybox", "sleep", "1000")
	s.Must("stop", "-t", "0", name)
	engine.Eventually(s.t, "it is removed", func() bool { return s.Must("ps", "-aq", "--filter", "name="+name) == "" })
}

func (s *scene) group(controller, name, file string) string {
	s.t.Helper()
	text, err := os.ReadFile("/sys/fs/cgroup/" + controller + "/" + s.Name + "/" + s.Must("inspect", "-f", "{{.Id}}", name) + "/" + file)
	if err != nil {
		s.t.Skipf("%v: this check knows the layout of cgroup v1 only", err)
	}
	return strings.TrimSpace(string(text))
}

func testLimits(s *scene) {
	r := s.run("--name", "oom-"+s.runtime, "--memory", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1")
	s.want("exit code without memory", strconv.Itoa(r.Code), "137")
	s.want("out of memory", s.Must("inspect", "-f", "{{.State.OOMKilled}}", "oom-"+s.runtime), "true")
	parent := "/" + engine.Unique(s.Name+"-")
	s.must("--rm", "--cgroup-parent", parent, "busybox", "true")
	engine.Eventually(s.t, "no parent of a cgroup is left", func() bool {
		return len(glob("/sys/fs/cgroup/*"+parent))+len(glob("/sys/fs/cgroup"+parent)) == 0
	})
	name := s.up("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "busybox", "sleep", "1000")
	stats := s.Must("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", name)
	if !strings.HasPrefix(stats, "1 ") || !strings.HasSuffix(stats, "/ 64MiB") {
		s.t.Errorf("stats: %q", stats)
	}
	s.want("memory", s.group("memory", name, "memory.limit_in_bytes"), "67108864")
	s.want("cpu", s.group("cpu", name, "cpu.cfs_quota_us"), "50000")
	s.want("pids", s.group("pids", name, "pids.max"), "50")
	s.Must("update", "--memory", "96m", "--memory-swap", "96m", name)
	s.want("memory, updated", s.group("memory", name, "memory.limit_in_bytes"), "100663296")
}

func testFiles(s *scene) {
	dir := s.t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("host"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	volume := engine.Unique("v")
	s.Must("volume", "create", volume)
	s.must("--rm", "-v", volume+":/d", "busybox", "sh", "-c", "mkdir /d/sub; echo kept > /d/sub/f")
	s.want("volume", s.must("--rm", "-v", volume+":/d:ro", "busybox", "sh", "-c", "cat /d/sub/f; touch /d/x 2>&1; true"), "kept\ntouch: /d/x: Read-only file system")
	s.want("part of a volume", s.must("--rm", "--mount", "type=volume,source="+volume+",target=/d,volume-subpath=sub", "busybox", "cat", "/d/f"), "kept")
	s.want("bind", s.must("--rm", "-v", dir+":/h", "busybox", "cat", "/h/f"), "host")
	name := s.up("busybox", "sleep", "1000")
	s.Must("cp", dir+"/f", name+":/tmp/in")
	s.want("cp in", s.Must("exec", name, "cat", "/tmp/in"), "host")
	s.Must("exec", name, "sh", "-c", "echo out > /tmp/out")
	s.Must("cp", name+":/tmp/out", dir+"/out")
	text, err := os.ReadFile(dir + "/out")
	s.want("cp out", string(text), "out\n")
	if err != nil {
		s.t.Error(err)
	}
	if diff := s.Must("diff", name); !strings.Contains(diff, "A /tmp/in") || strings.Contains(diff, "docker-init") {
		s.t.Errorf("diff: %q", diff)
	}
	s.Must("rm", "-f", name)
	s.Must("volume", "rm", volume)
}

func testNetwork(s *scene) {
	name := s.up("-p", "127.0.0.1::80", "busybox", "sh", "-c", "mkdir /w; echo hello > /w/index.html; exec httpd -f -h /w")
	address := s.Must("port", name, "80")
	engine.Eventually(s.t, "the server answers", func() bool { return engine.Get("http://"+address+"/") == "hello\n" })
	ip := s.Must("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name)
	s.want("from another container", s.must("--rm", "busybox", "wget", "-qO-", "http://"+ip+"/"), "hello")
	s.want("in the same namespace", s.must("--rm", "--network", "container:"+name, "busybox", "wget", "-qO-", "http://127.0.0.1/"), "hello")
	s.want("no network", s.must("--rm", "--network", "none", "busybox", "sh", "-c", "ip -o link | wc -l"), "1")
}

func testRestarts(s *scene) {
	name := s.up("--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 4")
	engine.Eventually(s.t, "it has given up", func() bool {
		return s.Must("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name) == "exited 2"
	})
	s.want("logs", s.Must("logs", name), "try\ntry\ntry")
	s.want("exit code", s.Must("inspect", "-f", "{{.State.ExitCode}}", name), "4")
}

func testNamespaces(s *scene) {
	name := s.up("--ipc", "shareable", "busybox", "sleep", "1000")
	own := func(kind string) string { return s.Must("exec", name, "readlink", "/proc/self/ns/"+kind) }
	testUserNamespace(s)
	for kind, flag := range map[string]string{"net": "--network", "pid": "--pid", "ipc": "--ipc"} {
		s.want(flag+" of another", s.must("--rm", flag, "container:"+name, "busybox", "readlink", "/proc/self/ns/"+kind), own(kind))
		host, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			s.t.Fatal(err)
		}
		s.want(flag+" of the host", s.must("--rm", flag, "host", "busybox", "readlink", "/proc/self/ns/"+kind), host)
	}
	// An orphan whose process ids are the host's comes to the monitor and must not stay dead.
	orphans := s.up("--pid", "host", "busybox", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.1 &); done; sleep 1000")
	pid := monitorPid(s.t, s.Engine)
	engine.Eventually(s.t, "the orphans have ended", func() bool { return strings.Count(s.Must("top", orphans), "sleep 0.1") == 0 })
	engine.Eventually(s.t, "the orphans are reaped", func() bool { return len(zombies(pid)) == 0 })
	s.Must("rm", "-f", orphans)
}

func testUserNamespace(s *scene) {
	// A runtime's init is not the host's root, and has to reach the bundle.
	if err := os.Chmod(s.Dir, 0o711); err != nil { //nolint:gosec // to go through, not to look
		s.t.Fatal(err)
	}
	volume := engine.Unique("v")
	r := s.run("--rm", "--userns", "private", "-v", volume+":/v", "busybox", "sh", "-c",
		"id -u; head -c 21 /proc/self/uid_map | grep -c ' 0  *[1-9]'; touch /v/f /etc/x && stat -c %u /v/f /etc/x /bin/busybox")
	s.want("in a user namespace", r.Out+r.Err, "0\n1\n0\n0\n0\n")
	s.Must("volume", "rm", volume)
}

func testDaemonKilled(s *scene) {
	ends := s.up("busybox", "sh", "-c", "sleep 1; echo last words; exit 11")
	stays := s.up("-i", "busybox", "cat")
	pid := s.Must("inspect", "-f", "{{.State.Pid}}", stays)
	s.Kill()
	time.Sleep(1200 * time.Millisecond) //nolint:forbidigo // the container ends while no daemon looks
	s.Up()
	s.want("exit code", s.Must("wait", ends), "11")
	s.want("log", s.Must("logs", ends), "last words")
	s.want("pid", s.Must("inspect", "-f", "{{.State.Pid}}", stays), pid)
	s.want("exec", s.Must("exec", stays, "echo", "alive"), "alive")
	s.Must("stop", "-t", "0", stays)
	s.Must("start", ends)
	s.want("exit code again", s.Must("wait", ends), "11")
}
