package flags

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/pflag"
)

// FuzzFlags feeds the parsers of single values with anything: no panic, and what
// is accepted has a form that the daemon can use.
func FuzzFlags(f *testing.F) {
	for _, seed := range []string{"8080:80", "1-3:4-6/udp", "[::1]:1:1", "type=bind,src=/a,dst=/b,ro", "name=a,ip=1.2.3.4", "/a:/b:ro", "./x:/y", "nofile=1:2", "/dev/a:1mb", "a=b", "on-failure:3", "target=80,published=9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, '-') && len(text) > 8 && strings.ContainsAny(text, "0123456789") {
			return // a range of 65535 ports says nothing new
		}
		if _, bound, err := parsePorts([]string{text}, nil); err == nil && len(bound) == 0 {
			t.Errorf("port %q means nothing", text)
		}
		var mounts Mounts
		if mounts.Set(text) == nil && (mounts[0].Target == "" || mounts[0].Type == mount.Type("")) {
			t.Errorf("mount %q: %+v", text, mounts)
		}
		var networks Networks
		if networks.Set(text) == nil && strings.Contains(text, "=") && networks[0].target == "" {
			t.Errorf("network %q: %+v", text, networks)
		}
		if binds, anonymous, err := splitVolumes([]string{text}); err == nil && len(binds)+len(anonymous) != 1 {
			t.Errorf("volume %q: %q %v", text, binds, anonymous)
		}
		for _, flag := range []string{"ulimit", "device-read-bps", "device", "add-host", "sysctl", "device-cgroup-rule", "dns", "dns-search", "cpus", "memory", "link", "label", "env", "restart"} {
			fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
			c := New(fs)
			if fs.Set(flag, text) == nil {
				_, _ = c.Spec(fs)
			}
		}
	})
}
