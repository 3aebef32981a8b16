package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKernels(t *testing.T) {
	for release, want := range map[string]string{
		"4.19.0": Problem, "5.2.9": Problem, "5.10.0-8-amd64": Warning, "5.15.0": Warning, "5.19.1": OK, "6.1.0-13-amd64": OK, "10.0": OK, "": Warning, "x": Warning,
	} {
		if r := judgeKernel(release); r.Status != want || (r.Do == "") != (want == OK) {
			t.Errorf("%q: %+v, want %s", release, r, want)
		}
	}
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		unit      string
		free, all uint64
		want      string
	}{
		{"bytes", 50, 100, OK}, {"bytes", 9, 100, Warning}, {"bytes", 1, 100, Problem}, {"bytes", 60 << 30, 100 << 40, OK},
		{"inodes", 1, 100, Problem}, {"inodes", 2 << 20, 100 << 20, OK}, {"bytes", 0, 0, Problem},
	} {
		if r := share("x", c.unit, c.free, c.all); r.Status != c.want {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

// TestThisHost looks at a made-up host's files and this machine's kernel: each
// finding that is not fine says what to do.
func TestThisHost(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"/proc/sys/kernel/osrelease": "6.1.0", "/proc/sys/kernel/pid_max": "32768", "/proc/filesystems": "nodev proc\n ext4\n",
		"/proc/sys/net/ipv4/ip_forward": "0", "/proc/sys/net/netfilter/nf_conntrack_count": "95", "/proc/sys/net/netfilter/nf_conntrack_max": "100",
		"/sys/class/net/docker0/x": "", "/proc/net/ip_tables_names": "filter\nnat",
		"/proc/self/mounts": "cgroup2 /cg cgroup2 rw 0 0\n", "/cg/cgroup.controllers": "cpu memory pids", "/cg/init/memory.swap.max": "max", "/proc/sys/user/max_user_namespaces": "0",
	} {
		if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := Host{Root: root, DataRoot: filepath.Join(root, "not", "there")}.Look()
	status := map[string]string{}
	for _, r := range all {
		status[r.Check] = r.Status
		if (r.Status == OK) != (r.Do == "") || r.Found == "" {
			t.Errorf("%+v", r)
		}
	}
	for check, want := range map[string]string{
		"kernel": OK, "kernel.pid_max": Warning, "overlayfs": Warning, "forwarding": Warning, "connections": Warning, "leftovers": Warning,
		"user namespaces": Warning, "seccomp": Problem,
		"cgroups": OK, "memory limits": OK, "swap limits": OK, "cpu sets": Warning, "iptables": Warning,
	} {
		if status[check] != want {
			t.Errorf("%s is %q, want %s", check, status[check], want)
		}
	}
	if Worst(all) != 2 || Worst(nil) != 0 || Worst([]Result{{Status: Warning}, {Status: OK}}) != 1 {
		t.Error("the worst outcome")
	}
}

func TestChainsThatDrop(t *testing.T) {
	got, err := dropping([]byte(`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"name": "x"}},
		{"chain": {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "prio": 0, "policy": "drop"}},
		{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "prio": 0, "policy": "accept"}},
		{"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "hook": "forward", "prio": 0, "policy": "drop"}},
		{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "prio": 0, "policy": "drop"}}]}`))
	if err != nil || len(got) != 1 || got[0] != "inet filter forward" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := dropping([]byte("no")); err == nil {
		t.Error("no JSON is taken")
	}
}
