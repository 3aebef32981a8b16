package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hoy/internal/network/link"
	"hoy/internal/store"
)

// world is a host in a network namespace of its own, with a neighbour outside
// that it has its default route to.
type world struct {
	t             *testing.T
	db            *store.DB
	host, outside *os.File
	hostIP        string
	outsideIP     string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	w := &world{t: t, host: newNS(t), outside: newNS(t), hostIP: "198.51.100.2", outsideIP: "198.51.100.1"}
	db, err := store.Open(filepath.Join(t.TempDir(), "hoy.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.db = db
	in(t, w.host, func() error {
		la := netlink.NewLinkAttrs()
		la.Name = "up0"
		la.MTU = 1400
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "out0", PeerNamespace: netlink.NsFd(int(w.outside.Fd()))}); err != nil {
			return err
		}
		return configure("up0", w.hostIP+"/24", w.outsideIP)
	})
	in(t, w.outside, func() error { return configure("out0", w.outsideIP+"/24", "") })
	return w
}

func newNS(t *testing.T) *os.File {
	t.Helper()
	h, err := link.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ns, err := h.Namespace(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func configure(name, cidr, gateway string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l)); err != nil {
		return err
	}
	if gateway == "" {
		return nil
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gateway)})
}

// in runs f on a thread in the namespace; the thread ends afterwards.
func in(t *testing.T, ns *os.File, f func() error) {
	t.Helper()
	if err := tryIn(ns, f); err != nil {
		t.Fatal(err)
	}
}

func tryIn(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (w *world) service(change func(*Options)) *Service {
	w.t.Helper()
	opt := Options{Bridge: "hoytest0", Table: "hoytest", Store: w.db, NetNS: w.host, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}
	if change != nil {
		change(&opt)
	}
	s, err := New(opt)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Restore(w.t.Context(), nil); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		select {
		case <-s.closed:
			return
		default:
		}
		if err := s.Destroy(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

func (w *world) attach(s *Service, r Request) *Attachment {
	w.t.Helper()
	a, err := s.Attach(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if a.NetNS != nil {
			_ = a.NetNS.Close()
		}
	})
	return a
}

func ports(t *testing.T, list ...string) network.PortMap {
	t.Helper()
	m := network.PortMap{}
	for _, s := range list {
		// address:host:container/proto
		f := strings.Split(s, ":")
		p := network.MustParsePort(f[2])
		b := network.PortBinding{HostPort: f[1]}
		if f[0] != "" {
			b.HostIP = netip.MustParseAddr(f[0])
		}
		m[p] = append(m[p], b)
	}
	return m
}

// serveTCP and serveUDP answer with the name and the address they see the client at.
func serveTCP(t *testing.T, ns *os.File, addr, name string) {
	t.Helper()
	in(t, ns, func() error {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s %s", name, c.RemoteAddr().(*net.TCPAddr).IP)
				_ = c.Close()
			}
		}()
		return nil
	})
}

func serveUDP(t *testing.T, ns *os.File, addr, name string) {
	t.Helper()
	in(t, ns, func() error {
		c, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s", name, from.(*net.UDPAddr).IP), from)
			}
		}()
		return nil
	})
}

// ask connects from a namespace and returns the answer.
func ask(ns *os.File, proto, addr string) (answer string, err error) {
	err = tryIn(ns, func() error {
		c, err := net.DialTimeout(proto+"4", addr, 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		if proto == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			buf := make([]byte, 100)
			n, err := c.Read(buf)
			answer = string(buf[:n])
			return err
		}
		data, err := io.ReadAll(c)
		answer = string(data)
		return err
	})
	return answer, err
}

func wantAnswer(t *testing.T, ns *os.File, proto, addr, want string) {
	t.Helper()
	got, err := ask(ns, proto, addr)
	if err != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%s %s: got %q, %v; want %q", proto, addr, got, err, want)
	}
}

func TestPublishedPortsAreReachedFromEverywhere(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	a := w.attach(s, Request{ContainerID: "a", Name: "a", Ports: ports(t, ":8080:80/tcp", ":5353:53/udp", "127.0.0.1:8081:80/tcp", w.hostIP+":8082:80/tcp")})
	b := w.attach(s, Request{ContainerID: "b", Name: "b"})
	serveTCP(t, a.NetNS, ":80", "web")
	serveUDP(t, a.NetNS, ":53", "dns")
	gateway := s.bridge.Address.Addr().String()
	addr := a.Networks["bridge"].IPAddress.String()

	for _, from := range []struct {
		name string
		ns   *os.File
		to   []string
	}{
		{"host", w.host, []string{"127.0.0.1", "127.0.0.2", gateway, w.hostIP}},
		{"outside", w.outside, []string{w.hostIP}},
		{"other container", b.NetNS, []string{w.hostIP, gateway}},
		{"itself", a.NetNS, []string{w.hostIP, gateway}},
	} {
		for _, ip := range from.to {
			t.Run(from.name+" to "+ip, func(t *testing.T) {
				wantAnswer(t, from.ns, "tcp", ip+":8080", "web ")
				wantAnswer(t, from.ns, "udp", ip+":5353", "dns ")
			})
		}
	}
	wantAnswer(t, w.outside, "tcp", w.hostIP+":8080", "web "+w.outsideIP) // the client's own address arrives
	wantAnswer(t, w.host, "tcp", "127.0.0.1:8081", "web ")
	wantAnswer(t, w.host, "tcp", w.hostIP+":8082", "web ")
	wantAnswer(t, w.outside, "tcp", w.hostIP+":8082", "web ")
	wantAnswer(t, b.NetNS, "tcp", addr+":80", "web "+b.Networks["bridge"].IPAddress.String())
	for _, c := range []struct {
		ns   *os.File
		addr string
	}{{w.outside, w.hostIP + ":8081"}, {w.host, "127.0.0.1:8082"}, {b.NetNS, w.hostIP + ":8081"}} {
		if got, err := ask(c.ns, "tcp", c.addr); err == nil {
			t.Errorf("%s answers %q though it is bound to another address", c.addr, got)
		}
	}
}

func TestContainersReachOutsideButAreNotReached(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	a := w.attach(s, Request{ContainerID: "a", Name: "a"})
	serveTCP(t, w.outside, ":80", "internet")
	serveTCP(t, a.NetNS, ":80", "private")
	serveTCP(t, w.host, "127.0.0.1:9000", "host's loopback")
	wantAnswer(t, a.NetNS, "tcp", w.outsideIP+":80", "internet "+w.hostIP)
	addr := a.Networks["bridge"].IPAddress.String()
	wantAnswer(t, w.host, "tcp", addr+":80", "private")

	// A neighbour that routes to the containers' network by itself stays out.
	in(t, w.outside, func() error {
		_, dst, _ := net.ParseCIDR(s.pool.Subnet().String())
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(w.hostIP)})
	})
	if got, err := ask(w.outside, "tcp", addr+":80"); err == nil {
		t.Errorf("an unpublished port answers %q to the outside", got)
	}
	// A container that sends loopback addresses out through its gateway stays out too.
	in(t, a.NetNS, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		_, all, _ := net.ParseCIDR("127.0.0.0/8")
		err = errors.Join(
			link.WriteSysctl(link.Sysctl{Path: "ipv4/conf/eth0/route_localnet", Value: "1"}),
			netlink.LinkSetDown(lo),
			netlink.RouteAdd(&netlink.Route{Dst: all, Gw: s.bridge.Address.Addr().AsSlice(), LinkIndex: eth.Attrs().Index, Src: a.Networks["bridge"].IPAddress.AsSlice()}))
		return err
	})
	if got, err := ask(a.NetNS, "tcp", "127.0.0.1:9000"); err == nil {
		t.Errorf("the host's loopback answers %q to a container", got)
	}
}

func TestNamespaceIsReadyWhenAttachReturns(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	mac, _ := net.ParseMAC("02:00:00:00:00:07")
	a := w.attach(s, Request{ContainerID: "a", Name: "a", Endpoint: &network.EndpointSettings{MacAddress: network.HardwareAddr(mac)}})
	es := a.Networks["bridge"]
	in(t, a.NetNS, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if l.Attrs().HardwareAddr.String() != mac.String() || es.MacAddress.String() != mac.String() {
			t.Errorf("eth0 has address %s, settings say %s, want %s", l.Attrs().HardwareAddr, es.MacAddress, mac)
		}
		if l.Attrs().MTU != 1400 {
			t.Errorf("MTU %d, want that of the default route's link", l.Attrs().MTU)
		}
		for path, want := range map[string]string{
			"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
			"/proc/sys/net/ipv4/ping_group_range":           "0 2147483647",
		} {
			data, err := os.ReadFile(path)
			if got := strings.Join(strings.Fields(string(data)), " "); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %q", path, got, err, want)
			}
		}
		return nil
	})
	if es.IPPrefixLen != s.pool.Subnet().Bits() || es.Gateway != s.bridge.Address.Addr() || len(es.EndpointID) != 64 || len(es.NetworkID) != 64 || len(a.SandboxID) != 64 {
		t.Errorf("settings not filled: %+v", es)
	}
}

func TestModes(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	none := w.attach(s, Request{ContainerID: "none", Mode: "none"})
	if none.NetNS == nil || none.Networks["none"] == nil {
		t.Errorf("none: %+v", none)
	}
	host := w.attach(s, Request{ContainerID: "host", Mode: "host", Ports: ports(t, ":80:80/tcp")})
	if host.NetNS != nil || host.Networks["host"] == nil || len(host.Ports) != 0 {
		t.Errorf("host: %+v", host)
	}
	peer := w.attach(s, Request{ContainerID: "peer", Mode: "container:x", PeerPid: os.Getpid()})
	mine, _ := os.Stat("/proc/self/ns/net")
	got, err := peer.NetNS.Stat()
	if err != nil || !os.SameFile(mine, got) {
		t.Errorf("container: joined another namespace")
	}
	if _, err := s.Attach(t.Context(), Request{ContainerID: "u", Mode: "mynet"}); err == nil || err.Error() != "network mynet not found" {
		t.Errorf("user-defined: %v", err)
	}
}

func TestPortCollisions(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	a := w.attach(s, Request{ContainerID: "a", Name: "a", Ports: ports(t, "127.0.0.1:8080:80/tcp")})
	fails := func(id, port, want string) {
		t.Helper()
		before := s.pool.InUse()
		_, err := s.Attach(t.Context(), Request{ContainerID: id, Name: id, Ports: ports(t, port)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", port, err, want)
		}
		if after := s.pool.InUse(); after != before {
			t.Errorf("%s: %d addresses leaked", port, after-before)
		}
	}
	fails("b", ":8080:80/tcp", "Bind for 0.0.0.0:8080 failed: port is already allocated")
	fails("b", "127.0.0.1:8080:81/tcp", "Bind for 127.0.0.1:8080 failed: port is already allocated")
	w.attach(s, Request{ContainerID: "c", Name: "c", Ports: ports(t, w.hostIP+":8080:80/tcp", ":8080:80/udp")})

	serveTCP(t, w.host, ":9999", "program of the host")
	fails("d", ":9999:80/tcp", "failed to bind host port for 0.0.0.0:9999:")
	fails("d", ":9999:80/tcp", ":80/tcp: address already in use")
	if err := tryIn(w.host, func() error { _, err := net.Listen("tcp4", "127.0.0.1:8080"); return err }); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a program of the host may bind a published port: %v", err)
	}
	if err := s.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_ = a
	w.attach(s, Request{ContainerID: "e", Name: "e", Ports: ports(t, "127.0.0.1:8080:80/tcp")})

	r := w.attach(s, Request{ContainerID: "r", Name: "r", Ports: ports(t, ":9998-10000:80/tcp", ":9998-10000:81/tcp", "::82/udp")})
	used := map[string]bool{}
	for _, bs := range r.Ports {
		used[bs[0].HostPort] = true
	}
	if !used["9998"] || !used["10000"] || len(used) != 3 {
		t.Errorf("ports of the range: %v", r.Ports)
	}
	fails("f", ":9998-10000:80/tcp", "all ports are allocated")
	fails("f", ":1:80/sctp", `protocol "sctp" is not supported`)
}

func TestPublishAllAndExposed(t *testing.T) {
	w := newWorld(t)
	s := w.service(func(o *Options) { o.DefaultBind = netip.MustParseAddr("127.0.0.1") })
	exposed := network.PortSet{network.MustParsePort("80/tcp"): {}, network.MustParsePort("53/udp"): {}}
	plain := w.attach(s, Request{ContainerID: "plain", Exposed: exposed})
	if bs, ok := plain.Ports[network.MustParsePort("80/tcp")]; !ok || bs != nil || len(plain.Ports) != 2 {
		t.Errorf("exposed only: %v", plain.Ports)
	}
	all := w.attach(s, Request{ContainerID: "all", Exposed: exposed, PublishAll: true})
	for p, bs := range all.Ports {
		if len(bs) != 1 || bs[0].HostPort == "" || bs[0].HostIP != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: %v", p, bs)
		}
	}
	serveTCP(t, all.NetNS, ":80", "web")
	wantAnswer(t, w.host, "tcp", "127.0.0.1:"+all.Ports[network.MustParsePort("80/tcp")][0].HostPort, "web")
}

func TestManyPortsAndFlushedTable(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	var list []string
	for i := range 400 {
		list = append(list, fmt.Sprintf(":%d:%d/tcp", 20000+i, 1000+i))
	}
	start := time.Now()
	a := w.attach(s, Request{ContainerID: "a", Name: "a", Ports: ports(t, list...)})
	t.Logf("400 ports published in %v", time.Since(start))
	serveTCP(t, a.NetNS, ":1399", "last")
	wantAnswer(t, w.host, "tcp", "127.0.0.1:20399", "last")
	// Someone flushes all rules of the host: ours come back, whole, by themselves
	// and at the latest with the next change.
	in(t, w.host, flushRules)
	w.attach(s, Request{ContainerID: "b", Name: "b", Ports: ports(t, ":30000:80/tcp")})
	wantAnswer(t, w.host, "tcp", "127.0.0.1:20399", "last")
	in(t, w.host, flushRules)
	deadline := time.Now().Add(5 * time.Second)
	for {
		if got, _ := ask(w.host, "tcp", "127.0.0.1:20399"); got != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a flushed table did not come back")
		}
	}
	start = time.Now()
	if err := s.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	t.Logf("400 ports taken back in %v", time.Since(start))
	if _, err := ask(w.host, "tcp", "127.0.0.1:20399"); err == nil {
		t.Error("a port still answers after Detach")
	}
}

func TestRestartTakesBackAndSweeps(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	keep := w.attach(s, Request{ContainerID: "keep", Name: "keep", Ports: ports(t, ":8080:80/tcp")})
	lost := w.attach(s, Request{ContainerID: "lost", Name: "lost", Ports: ports(t, ":8081:80/tcp")})
	serveTCP(t, keep.NetNS, ":80", "keep")
	id, _ := s.Inspect(t.Context(), "bridge")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, w.host, "tcp", "127.0.0.1:8080", "keep") // with no engine at all

	s2, err := New(Options{Bridge: "hoytest0", Table: "hoytest", Store: w.db, NetNS: w.host})
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Destroy()
	if err := s2.Restore(t.Context(), []Held{{ContainerID: "keep", Name: "keep", Networks: keep.Networks, Ports: keep.Ports}}); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, w.host, "tcp", "127.0.0.1:8080", "keep")
	id2, _ := s2.Inspect(t.Context(), "bridge")
	if id2.ID != id.ID || id2.IPAM.Config[0].Subnet != id.IPAM.Config[0].Subnet || len(id2.Containers) != 1 || id2.Containers["keep"].Name != "keep" {
		t.Errorf("after restart: %+v, before: %+v", id2, id)
	}
	if _, err := s2.Attach(t.Context(), Request{ContainerID: "x", Ports: ports(t, ":8080:80/tcp")}); err == nil {
		t.Error("a port held by a running container is given away after a restart")
	}
	names, _ := s2.host.Members(s2.bridge.Index)
	if len(names) != 1 || names[0] != vethName(keep.Networks["bridge"].EndpointID) {
		t.Errorf("links on the bridge: %v", names)
	}
	again, err := s2.Attach(t.Context(), Request{ContainerID: "y", Ports: ports(t, ":8081:80/tcp")})
	if err != nil {
		t.Fatal(err)
	}
	defer again.NetNS.Close()
	if again.Networks["bridge"].IPAddress == keep.Networks["bridge"].IPAddress {
		t.Error("an address in use was given again")
	}
	_ = lost
}

func TestParallelAttachAndLeftovers(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	const n = 32
	type made struct {
		a   *Attachment
		err error
	}
	results := make(chan made, n)
	start := time.Now()
	for i := range n {
		go func() {
			a, err := s.Attach(context.Background(), Request{ContainerID: fmt.Sprint(i), Name: fmt.Sprint(i), Ports: ports(t, fmt.Sprintf(":%d:80/tcp", 8000+i))})
			results <- made{a, err}
		}()
	}
	seen := map[netip.Addr]bool{}
	for range n {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		seen[r.a.Networks["bridge"].IPAddress] = true
		_ = r.a.NetNS.Close()
	}
	t.Logf("%d attached in %v", n, time.Since(start))
	if len(seen) != n {
		t.Errorf("%d different addresses, want %d", len(seen), n)
	}
	start = time.Now()
	for i := range n {
		if err := s.Detach(t.Context(), fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d detached in %v", n, time.Since(start))
	if s.pool.InUse() != 0 {
		t.Errorf("%d addresses not given back", s.pool.InUse())
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		names, err := s.host.Members(s.bridge.Index)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("links left: %v", names)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestEnginesThatStartAtOnceShareNoSubnet(t *testing.T) {
	w := newWorld(t)
	const n = 6
	made := make(chan *Service, n)
	for i := range n {
		go func() {
			db, err := store.Open(filepath.Join(t.TempDir(), "hoy.db"))
			if err != nil {
				t.Error(err)
				made <- nil
				return
			}
			defer db.Close()
			s, err := New(Options{Bridge: fmt.Sprintf("hoytest%d", i), Table: fmt.Sprintf("hoytest%d", i), Store: db, NetNS: w.host})
			if err != nil {
				t.Error(err)
			}
			made <- s
		}()
	}
	seen := map[netip.Prefix]bool{}
	for range n {
		if s := <-made; s != nil {
			seen[s.pool.Subnet()] = true
			t.Cleanup(func() { _ = s.Destroy() })
		}
	}
	if len(seen) != n {
		t.Errorf("%d engines have %d subnets", n, len(seen))
	}
}

func TestFiles(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	dir := t.TempDir()
	a := w.attach(s, Request{ContainerID: "a", Hostname: "web", Domainname: "example.org", Dir: dir,
		ExtraHosts: []string{"db:192.0.2.9", "me=host-gateway"},
		DNS:        []netip.Addr{netip.MustParseAddr("192.0.2.53")}, DNSSearch: []string{"example.org"}, DNSOptions: []string{"ndots:2"}})
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	hosts := read("hosts")
	for _, line := range []string{
		"127.0.0.1\tlocalhost\n", "192.0.2.9\tdb\n", s.bridge.Address.Addr().String() + "\tme\n",
		a.Networks["bridge"].IPAddress.String() + "\tweb.example.org web\n",
	} {
		if !strings.Contains(hosts, line) {
			t.Errorf("hosts lacks %q:\n%s", line, hosts)
		}
	}
	if got := read("hostname"); got != "web.example.org\n" {
		t.Errorf("hostname: %q", got)
	}
	if got := read("resolv.conf"); got != "nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n" {
		t.Errorf("resolv.conf: %q", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	s := w.service(nil)
	static := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.0.0.1")}}
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"static address": {Request{Endpoint: static}, "user specified IP address is supported on user defined networks only"},
		"bad extra host": {Request{ExtraHosts: []string{"x"}}, `bad format for add-host: "x"`},
		"shared ports":   {Request{Mode: "container:x", Ports: ports(t, ":1:1/tcp")}, "conflicting options: port publishing and the container type network mode"},
		"host mac":       {Request{Mode: "host", Endpoint: &network.EndpointSettings{MacAddress: make([]byte, 6)}}, "conflicting options: mac-address and the network mode"},
		"bad host port":  {Request{Ports: ports(t, ":x:1/tcp")}, "invalid port specification"},
		"IPv6 host":      {Request{Ports: network.PortMap{network.MustParsePort("1/tcp"): {{HostIP: netip.MustParseAddr("2001:db8::1")}}}}, "only IPv4"},
	} {
		if err := s.Validate(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := s.Remove(t.Context(), "bridge"); err == nil || err.Error() != "bridge is a pre-defined network and cannot be removed" {
		t.Error(err)
	}
	if _, err := s.Inspect(t.Context(), "nope"); err == nil || err.Error() != "network nope not found" {
		t.Error(err)
	}
	list, err := s.List(t.Context(), nil)
	if err != nil || len(list) != 3 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestWarnsOfFirewallsThatDrop(t *testing.T) {
	w := newWorld(t)
	in(t, w.host, func() error { return dropForward() })
	var out bytes.Buffer
	w.service(func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&out, nil)) })
	if !strings.Contains(out.String(), "ip filter FORWARD") {
		t.Errorf("no warning: %s", out.String())
	}
}

func TestWarnsOfLegacyFirewall(t *testing.T) {
	command, err := exec.LookPath("iptables-legacy")
	if err != nil {
		t.Skip("needs iptables-legacy to set a policy with")
	}
	w := newWorld(t)
	warned := func() bool {
		var out bytes.Buffer
		s := w.service(func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&out, nil)) })
		if err := s.Destroy(); err != nil {
			t.Error(err)
		}
		return strings.Contains(out.String(), "iptables-legacy filter FORWARD")
	}
	for _, policy := range []string{"ACCEPT", "DROP"} {
		if err := tryIn(w.host, func() error { return exec.Command(command, "-P", "FORWARD", policy).Run() }); err != nil {
			t.Skip("needs a kernel with the old iptables: ", err)
		}
		if got := warned(); got != (policy == "DROP") {
			t.Errorf("policy %s: warned %v", policy, got)
		}
	}
}

func BenchmarkAttachDetach(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	h, err := link.Open(nil)
	if err != nil {
		b.Fatal(err)
	}
	ns, err := h.Namespace(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	_ = h.Close()
	db, err := store.Open(filepath.Join(b.TempDir(), "hoy.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s, err := New(Options{Bridge: "hoybench0", Table: "hoybench", Store: db, NetNS: ns})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Destroy()
	if err := s.Restore(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	for _, published := range []int{0, 1} {
		b.Run(fmt.Sprintf("ports=%d", published), func(b *testing.B) {
			var attach, detach time.Duration
			for i := range b.N {
				r := Request{ContainerID: fmt.Sprint(i), Name: "x", Dir: b.TempDir(), Hostname: "x"}
				if published > 0 {
					r.Ports = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}}
				}
				t0 := time.Now()
				a, err := s.Attach(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if err := s.Detach(b.Context(), r.ContainerID); err != nil {
					b.Fatal(err)
				}
				detach += time.Since(t1)
				attach += t1.Sub(t0)
				_ = a.NetNS.Close()
			}
			b.ReportMetric(float64(attach.Microseconds())/float64(b.N), "µs/attach")
			b.ReportMetric(float64(detach.Microseconds())/float64(b.N), "µs/detach")
		})
	}
}
