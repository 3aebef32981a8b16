package config

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestSystemd(t *testing.T) {
	for _, c := range []struct {
		mode    string
		command []string
		on, bad bool
	}{
		{"", []string{"/sbin/init"}, false, false},
		{"false", []string{"/sbin/init"}, false, false},
		{"true", []string{"/sbin/init"}, true, false},
		{"true", []string{"/usr/sbin/init", "--log-level=debug"}, true, false},
		{"true", []string{"/lib/systemd/systemd"}, true, false},
		{"true", []string{"systemd"}, true, false},
		{"true", []string{"init"}, false, false},
		{"true", []string{"sh", "/sbin/init"}, false, false},
		{"always", []string{"sh"}, true, false},
		{"yes", []string{"sh"}, false, true},
	} {
		cfg := &container.Config{Cmd: c.command}
		asked := &container.HostConfig{Annotations: map[string]string{SystemdAnnotation: c.mode}}
		hc, err := Systemd(cfg, asked)
		if (err != nil) != c.bad {
			t.Errorf("%q %q: %v", c.mode, c.command, err)
		}
		if err != nil {
			continue
		}
		on := hc.Tmpfs["/run"] != "" && hc.Tmpfs["/var/log/journal"] != "" && cfg.StopSignal == "SIGRTMIN+3" && hc.CgroupnsMode.IsPrivate() &&
			slices.Contains(hc.SecurityOpt, "writable-cgroups=true") && slices.Contains(cfg.Env, "container=hoy")
		if on != c.on || !on && (len(hc.Tmpfs) != 0 || cfg.StopSignal != "") || asked.Tmpfs != nil {
			t.Errorf("%q %q: on is %v: %+v %+v", c.mode, c.command, on, cfg, hc)
		}
	}
}

func TestSystemdKeepsWhatWasAskedFor(t *testing.T) {
	cfg := &container.Config{Cmd: []string{"/sbin/init"}, StopSignal: "SIGTERM", Env: []string{"container=podman"}}
	hc, err := Systemd(cfg, &container.HostConfig{
		Annotations: map[string]string{SystemdAnnotation: "true"}, CgroupnsMode: "host", SecurityOpt: []string{"writable-cgroups=false"},
		Binds: []string{"/srv/run:/run/:ro"}, Mounts: []mount.Mount{{Target: "/tmp"}}, Tmpfs: map[string]string{"/run/lock": "size=1m"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.StopSignal != "SIGTERM" || len(cfg.Env) != 1 || hc.CgroupnsMode != "host" || len(hc.SecurityOpt) != 1 ||
		len(hc.Tmpfs) != 2 || hc.Tmpfs["/run/lock"] != "size=1m" || hc.Tmpfs["/var/log/journal"] == "" {
		t.Errorf("%+v %+v", cfg, hc)
	}
}
