package hostfile

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolv(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	saved := HostResolvers
	HostResolvers = []string{first, second}
	t.Cleanup(func() { HostResolvers = saved })
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		first, second string
		r             Resolver
		want          string
	}{
		"the host's": {first: "# c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a b\noptions x y\n",
			want: "nameserver 192.0.2.1\nsearch a b\noptions x y\n"},
		"a stub on loopback": {first: "nameserver 127.0.0.53\nsearch stub\n", second: "nameserver 192.0.2.2\nsearch real\n",
			want: "nameserver 192.0.2.2\nsearch real\n"},
		"nothing usable":     {first: "nameserver 127.0.0.1\n", want: "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		"loopback is shared": {first: "nameserver 127.0.0.1\nnameserver ::1\n", r: Resolver{Local: true}, want: "nameserver 127.0.0.1\nnameserver ::1\n"},
		"overridden": {first: "nameserver 192.0.2.1\nsearch a\noptions x\n",
			r:    Resolver{Servers: []netip.Addr{addr("192.0.2.9")}, Search: []string{"."}, Options: []string{"ndots:1"}},
			want: "nameserver 192.0.2.9\noptions ndots:1\n"},
		"last search wins": {first: "nameserver 192.0.2.1\nsearch a\ndomain b\n", want: "nameserver 192.0.2.1\nsearch b\n"},
	} {
		for path, data := range map[string]string{first: c.first, second: c.second} {
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Resolv(c.r)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	if _, err := Resolv(Resolver{Search: []string{"x\nnameserver 192.0.2.66"}}); err == nil {
		t.Error("a line break in a search domain passes")
	}
}

func TestParseExtra(t *testing.T) {
	gw := netip.MustParseAddr("172.31.240.1")
	for line, want := range map[string]string{
		"db:192.0.2.1":       "db 192.0.2.1",
		"db=192.0.2.1":       "db 192.0.2.1",
		"v6:2001:db8::1":     "v6 2001:db8::1",
		"v6=[2001:db8::1]":   "v6 2001:db8::1",
		"me:host-gateway":    "me 172.31.240.1",
		"db":                 "",
		":192.0.2.1":         "",
		"db:":                "",
		"db:nothing":         "",
		"a b:192.0.2.1":      "",
		"a\nb:192.0.2.1":     "",
		"db:fe80::1%eth0\nx": "",
	} {
		name, addr, err := ParseExtra(line, gw)
		got := ""
		if err == nil {
			got = name + " " + addr.String()
		}
		if got != want {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	if _, _, err := ParseExtra("me:host-gateway", netip.Addr{}); err == nil {
		t.Error("host-gateway without a bridge passes")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions x\n", "db:192.0.2.1")
	f.Fuzz(func(t *testing.T, conf, extra string) {
		for _, v := range parseResolv([]byte(conf)).search {
			if strings.ContainsAny(v, " \t\n") {
				t.Errorf("search domain %q", v)
			}
		}
		if name, _, err := ParseExtra(extra, netip.Addr{}); err == nil && (name == "" || strings.ContainsAny(name, " \t\r\n")) {
			t.Errorf("host name %q", name)
		}
	})
}

func TestReaddressKeepsWhatTheContainerWrote(t *testing.T) {
	dir := t.TempDir()
	n := Names{Hostname: "web", Domainname: "example.org", Address: netip.MustParseAddr("10.0.0.2")}
	if err := Write(dir, n, Resolver{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hosts")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := "192.0.2.1\tother\n"
	if err := os.WriteFile(path, append(before, own...), 0o644); err != nil {
		t.Fatal(err)
	}
	gone := n
	gone.Address = netip.Addr{}
	for _, step := range []struct {
		n    Names
		old  string
		want string
	}{{gone, "10.0.0.2", own}, {n, "", own + "10.0.0.2\tweb.example.org web\n"}, {gone, "10.0.0.9", own + "10.0.0.2\tweb.example.org web\n"}} {
		var old netip.Addr
		if step.old != "" {
			old = netip.MustParseAddr(step.old)
		}
		if err := Readdress(dir, step.n, old); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		base := strings.TrimSuffix(string(before), "10.0.0.2\tweb.example.org web\n")
		if err != nil || string(after) != base+step.want {
			t.Errorf("%+v: %q, %v", step, after, err)
		}
	}
}
