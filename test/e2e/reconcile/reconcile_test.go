// Package reconcile breaks by hand what an engine has on its machine, and looks
// that it is found and put right without harm to what runs.
package reconcile

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"hoy/test/e2e/engine"
)

// stray has the form of a container's id.
var stray = strings.Repeat("0a", 32)

// finding is a line of `hoy system check --format json`.
type finding struct {
	Kind, Object, Store, Machine, Repair, Error string
	Repaired                                    bool
}

func check(t *testing.T, e *engine.Engine, code int, flags ...string) (all []finding) {
	t.Helper()
	r := e.Hoy(append([]string{"system", "check", "--format", "json"}, flags...)...)
	for line := range strings.Lines(r.Out) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, f)
	}
	if r.Code != code {
		t.Errorf("system check %v: exit %d, want %d: %s%s", flags, r.Code, code, r.Out, r.Err)
	}
	return all
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, name, err)
	return l
}

// veth is the name of the outer end of a container's link.
func veth(e *engine.Engine, name string) string {
	return "veth" + e.Must("inspect", "-f", "{{.NetworkSettings.Networks.bridge.EndpointID}}", name)[:10]
}

func rules(e *engine.Engine) (*nftables.Conn, *nftables.Table) {
	return &nftables.Conn{}, &nftables.Table{Name: e.Name, Family: nftables.TableFamilyIPv4}
}

func groups(t *testing.T, e *engine.Engine, id string) []string {
	t.Helper()
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/%s/%s", "/sys/fs/cgroup/*/%s/%s"} {
		found, err := filepath.Glob(fmt.Sprintf(pattern, e.Name, id))
		must(t, "cgroups", err)
		dirs = append(dirs, found...)
	}
	return dirs
}

// moveOut puts all processes of a container's cgroups above them and removes the groups.
func moveOut(t *testing.T, e *engine.Engine, id string) {
	t.Helper()
	dirs := groups(t, e, id)
	if len(dirs) == 0 {
		t.Fatal("the container has no cgroup")
	}
	for _, dir := range dirs {
		pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		must(t, "cgroup", err)
		root := strings.TrimSuffix(dir, "/"+e.Name+"/"+id)
		for _, pid := range strings.Fields(string(pids)) {
			must(t, "move out", os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0o600))
		}
	}
	for _, dir := range dirs {
		must(t, "remove cgroup", os.Remove(dir))
	}
}

type world struct {
	*engine.Engine
	t                     *testing.T
	port, pid, web, moved string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e := engine.Start(t)
	e.Busybox()
	w := &world{Engine: e, t: t}
	e.Must("run", "-d", "--name", "web", "-p", "80", "busybox", "sh", "-c", "echo hello > index.html; exec httpd -f -p 80 -h /")
	e.Must("run", "-d", "--name", "second", "-p", "80", "busybox", "sh", "-c", "echo hello > index.html; exec httpd -f -p 80 -h /")
	e.Must("run", "-d", "--name", "moved", "-m", "64m", "busybox", "sh", "-c", "sleep 1000 & exec sleep 1000")
	e.Must("run", "--name", "ended", "busybox", "true")
	e.Must("volume", "create", "data")
	w.port = e.Must("port", "web", "80")
	w.port = w.port[strings.LastIndex(w.port, ":"):]
	w.web, w.moved = e.Must("inspect", "-f", "{{.Id}}", "web"), e.Must("inspect", "-f", "{{.Id}}", "moved")
	w.pid = w.pids()
	w.answers("before")
	return w
}

func (w *world) pids() string {
	return w.Must("inspect", "-f", "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}", "web", "second", "moved")
}

func (w *world) answers(when string) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for engine.Get("http://127.0.0.1"+w.port) != "hello\n" {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: the published port does not answer", when)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestByHand breaks much at once.
func TestByHand(t *testing.T) {
	w := newWorld(t)
	e := w.Engine
	if out := e.Must("system", "check"); out != "Nothing differs." {
		t.Fatalf("before: %s", out)
	}
	data := e.Dir + "/data"
	conn, table := rules(e)
	conn.FlushTable(table)
	must(t, "flush the rules", conn.Flush())
	must(t, "delete a link", netlink.LinkDel(link(t, veth(e, "web"))))
	must(t, "detach a link", netlink.LinkSetNoMaster(link(t, veth(e, "second"))))
	bridge := link(t, e.Name)
	for name, ours := range map[string]bool{"veth0123456789": true, fmt.Sprintf("hoyother%04d", os.Getpid()%10000): false} {
		la := netlink.NewLinkAttrs()
		la.Name, la.MasterIndex = name, bridge.Attrs().Index
		must(t, "add a link", netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "p" + name[:12]}))
		if !ours {
			defer func() { _ = netlink.LinkDel(&netlink.Veth{LinkAttrs: la}) }()
		}
	}
	addrs, err := netlink.AddrList(bridge, netlink.FAMILY_V4)
	must(t, "addresses", err)
	must(t, "delete the bridge's address", netlink.AddrDel(bridge, &addrs[0]))
	moveOut(t, e, w.moved)
	parent := filepath.Dir(groups(t, e, w.web)[0])
	must(t, "make a cgroup", os.Mkdir(filepath.Join(parent, stray), 0o755))
	must(t, "make a cgroup", os.Mkdir(filepath.Join(parent, "other"), 0o755))
	defer func() { _ = os.Remove(filepath.Join(parent, "other")) }()
	ended := data + "/containers/" + e.Must("inspect", "-f", "{{.Id}}", "ended")
	must(t, "remove a directory", os.RemoveAll(ended))
	must(t, "make a directory", os.Mkdir(data+"/containers/"+stray, 0o755))
	must(t, "make a directory", os.Mkdir(data+"/containers/other", 0o755))
	must(t, "remove a volume's directory", os.RemoveAll(data+"/volumes/data"))
	must(t, "make a volume's directory", os.MkdirAll(data+"/volumes/found/_data/word", 0o755))

	want := []string{
		"rules table ip " + e.Name, "link " + veth(e, "web"), "link " + veth(e, "second"), "link veth0123456789", "bridge " + e.Name,
		"cgroup moved", "cgroup " + stray[:12], "directory ended", "directory " + stray[:12], "volume data", "volume found",
	}
	var got []string
	for _, f := range check(t, e, 1) {
		got = append(got, f.Kind+" "+f.Object)
		if f.Repaired || f.Store == "" || f.Machine == "" || f.Repair == "" {
			t.Errorf("%+v", f)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, f := range check(t, e, 0, "--repair") {
		if !f.Repaired {
			t.Errorf("not repaired: %+v", f)
		}
	}
	if out := e.Hoy("system", "check").Out; out != "Nothing differs.\n" {
		t.Errorf("afterwards: %s", out)
	}
	w.answers("after the repair")
	if got := w.pids(); got != w.pid {
		t.Errorf("what runs: %q, was %q", got, w.pid)
	}
	dir := groups(t, e, w.moved)
	if len(dir) == 0 {
		t.Fatal("the container's cgroup is not back")
	}
	procs, _ := os.ReadFile(filepath.Join(dir[0], "cgroup.procs"))
	if n := len(strings.Fields(string(procs))); n != 2 {
		t.Errorf("%d processes are in the cgroup that is back, want 2", n)
	}
	if limit := e.Must("stats", "--no-stream", "--format", "{{.MemUsage}}", "moved"); !strings.HasSuffix(limit, "64MiB") {
		t.Errorf("its limit is %s", limit)
	}
	e.Must("pause", "moved")
	e.Must("unpause", "moved")
	if out := e.Must("volume", "ls", "-q"); !strings.Contains(out, "found") {
		t.Errorf("volumes: %s", out)
	}
	for _, kept := range []string{filepath.Join(parent, "other"), data + "/containers/other", data + "/volumes/found/_data/word"} {
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("what is not the engine's was taken: %v", err)
		}
	}
	must(t, "clear", os.Remove(data+"/containers/other"))
	e.Must("volume", "rm", "found", "data")
	e.Must("start", "ended")
	e.Must("stop", "-t", "0", "moved")
}

// TestByItself breaks one thing after another and waits.
func TestByItself(t *testing.T) {
	w := newWorld(t)
	e := w.Engine
	for _, c := range []struct {
		name string
		harm func()
	}{
		{"the table is deleted, as by a reload of the firewall", func() {
			conn, table := rules(e)
			conn.DelTable(table)
			must(t, "nftables", conn.Flush())
		}},
		{"a published port is deleted", func() {
			conn, table := rules(e)
			set, err := conn.GetSetByName(table, "published_any")
			must(t, "nftables", err)
			conn.FlushSet(set)
			must(t, "nftables", conn.Flush())
		}},
		{"the bridge is deleted", func() { must(t, "bridge", netlink.LinkDel(link(t, e.Name))) }},
	} {
		c.harm()
		if engine.Get("http://127.0.0.1"+w.port) == "hello\n" && !strings.Contains(c.name, "table") {
			t.Errorf("%s: and the port answers still", c.name)
		}
		begin := time.Now()
		w.answers(c.name)
		t.Logf("%s: right again after %s", c.name, time.Since(begin).Round(10*time.Millisecond))
	}
	if _, err := net.InterfaceByName(e.Name); err != nil {
		t.Error(err)
	}
	if got := w.pids(); got != w.pid {
		t.Errorf("what runs: %q, was %q", got, w.pid)
	}
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, "stat", err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// TestIdleCost measures what comparing costs with 200 containers that do nothing.
func TestIdleCost(t *testing.T) {
	if os.Getenv("HOY_LONG") == "" {
		t.Skip("HOY_LONG is not set: it takes a minute and a half")
	}
	e := engine.Start(t)
	e.Busybox()
	const n, span = 200, time.Minute
	for i := range n {
		e.Must("run", "-d", "--name", fmt.Sprintf("idle%03d", i), "-p", "80", "busybox", "sleep", "1000")
	}
	time.Sleep(5 * time.Second)
	before := cpu(t, e.Pid())
	time.Sleep(span)
	used := cpu(t, e.Pid()) - before
	t.Logf("%d containers: %s of processor time in %s, %.2f %% of one core", n, used, span, 100*used.Seconds()/span.Seconds())
	if used > span/50 {
		t.Errorf("an idle engine takes %s in %s", used, span)
	}
}
