package guest

import (
	"os"
	"strings"
	"testing"

	"hoy/internal/runtime/armor"
	"hoy/test/e2e/engine"
)

// profiles looks at which AppArmor profile confines whom, and at what it refuses
// where nothing else would.
func profiles(t *testing.T, e *box) {
	if !armor.HasDefault() {
		t.Skip("this kernel has no AppArmor")
	}
	const own = "cat /proc/self/attr/apparmor/current"
	for _, c := range []struct{ what, flags, script, want string }{
		{"default", "", own, armor.Default + " (enforce)"},
		{"with init", "--init", own, armor.Default + " (enforce)"},
		{"with a terminal", "-t", own + "; echo x >/dev/tty", armor.Default + " (enforce)\nx"},
		{"unconfined", "--security-opt apparmor=unconfined", own, "unconfined"},
		{"privileged", "--privileged", own, "unconfined"},
		{"privileged, with a profile", "--privileged --security-opt apparmor=" + armor.Default, own, armor.Default + " (enforce)"},
		{"mount is refused", "--cap-add SYS_ADMIN --security-opt seccomp=unconfined", "mkdir /m; mount -t tmpfs t /m 2>&1", "mount: mounting t on /m failed: Permission denied"},
		{"and is not without", "--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined", "mkdir /m; mount -t tmpfs t /m && echo mounted", "mounted"},
		{"the kernel's settings are refused", "--privileged --security-opt apparmor=" + armor.Default, "cp /proc/sys/kernel/panic /p; cat /p >/proc/sys/kernel/panic", "sh: can't create /proc/sys/kernel/panic: Permission denied"},
		{"all else goes on", "", "echo x >/f && ln /f /g && mkfifo /p && ping -c 1 127.0.0.1 >/dev/null; (sleep 9 & kill $!); echo done", "done"},
	} {
		e.sub(t, c.what, func(t *testing.T, e *box) {
			args := append([]string{"run", "--rm"}, strings.Fields(c.flags)...)
			r := e.Hoy(append(args, "busybox", "sh", "-c", c.script)...)
			if got := strings.ReplaceAll(strings.TrimSpace(r.Out+r.Err), "\r", ""); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	e.sub(t, "exec, stop, inspect, info", func(t *testing.T, e *box) {
		name := e.Must("run", "-d", "busybox", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
		if got := e.Must("exec", name, "sh", "-c", own); got != armor.Default+" (enforce)" {
			t.Errorf("exec: %s", got)
		}
		if got := e.Must("inspect", "-f", "{{.AppArmorProfile}}", name); got != armor.Default {
			t.Errorf("inspect: %s", got)
		}
		if got := e.Must("info", "-f", "{{.SecurityOptions}}"); !strings.Contains(got, "name=apparmor") {
			t.Errorf("info: %s", got)
		}
		e.Must("stop", name)
		if got := e.Must("inspect", "-f", "{{.State.ExitCode}}", name); got != "7" {
			t.Errorf("the signal to stop did not come through: exit code %s", got)
		}
		e.Must("rm", name)
	})
	e.sub(t, "a forgotten profile is loaded again", func(t *testing.T, e *box) {
		if err := os.WriteFile("/sys/kernel/security/apparmor/.remove", []byte(armor.Default), 0); err != nil {
			t.Fatal(err)
		}
		if got := e.Must("run", "--rm", "busybox", "sh", "-c", own); got != armor.Default+" (enforce)" {
			t.Error(got)
		}
	})
	e.Hoy("run", "--rm", "--security-opt", "apparmor="+engine.Unique("no"), "busybox", "true").Refused(t, 125, "AppArmor")
}
