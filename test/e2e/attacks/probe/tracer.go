package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tracer looks into the memory of every process that comes into the container
// while it is still the engine's own code, as CAP_SYS_PTRACE permits, and prints
// what is not of this container. args are the secrets to look for.
func tracer(secrets []string) {
	own := privileges("/proc/self/status")
	seen, early := 0, 0
	fmt.Println("ready")
	watch(func(pid int) {
		if pid == seen {
			return
		}
		// Stopped, it can be looked at in peace.
		_ = unix.Kill(pid, unix.SIGSTOP)
		defer func() { _ = unix.Kill(pid, unix.SIGCONT) }()
		dir := fmt.Sprintf("/proc/%d/", pid)
		seen = pid
		fmt.Println("seen", pid)
		exe, err := os.Readlink(dir + "exe")
		if err != nil || !strings.Contains(exe, "memfd") {
			return
		}
		memory := everything(dir)
		if len(memory) == 0 {
			return
		}
		early++
		fmt.Println("early", pid, len(memory))
		for _, s := range secrets {
			if bytes.Contains(memory, []byte(s)) {
				leak("memory", pid, s)
			}
		}
		if got := privileges(dir + "status"); got != own && got != "" {
			leak("privileges", pid, got+" and not "+own)
		}
		for _, name := range []string{"environ", "cmdline"} {
			if b, err := os.ReadFile(dir + name); err == nil && (bytes.Contains(b, []byte("GOTRACEBACK")) || bytes.Contains(b, []byte("monitor"))) {
				leak(name, pid, string(b))
			}
		}
		fds, _ := filepath.Glob(dir + "fd/*")
		for _, fd := range fds {
			to, err := os.Readlink(fd)
			if err == nil && !isPipe(to) && !strings.HasPrefix(to, "socket:") && to != "/dev/null" && !strings.HasPrefix(to, "/bin/") {
				leak("descriptor", pid, to)
			}
		}
	})
}

// everything is all readable memory of a process, as long as it is the engine's
// own code: its text would be the command's after execve.
func everything(dir string) []byte {
	maps, err := os.ReadFile(dir + "maps")
	if err != nil {
		return nil
	}
	mem, err := os.Open(dir + "mem")
	if err != nil {
		return nil
	}
	defer mem.Close()
	var all []byte
	for line := range strings.Lines(string(maps)) {
		var low, high int64
		if _, err := fmt.Sscanf(line, "%x-%x", &low, &high); err != nil || low < 0 || high-low > 1<<30 {
			continue
		}
		if strings.Contains(line, "r-x") || strings.Contains(line, "[v") {
			continue
		}
		b, _ := io.ReadAll(io.NewSectionReader(mem, low, high-low))
		all = append(all, b...)
	}
	if exe, err := os.Readlink(dir + "exe"); err != nil || !strings.Contains(exe, "memfd") {
		return nil // it has become its command meanwhile
	}
	return all
}

// privileges are the lines of a status file that say what a process may do.
func privileges(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		for _, key := range []string{"Uid:", "Gid:", "CapPrm:", "CapEff:", "CapBnd:", "Seccomp:", "NoNewPrivs:"} {
			if strings.HasPrefix(line, key) {
				out = append(out, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(out, "; ")
}
