package verbs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// serve starts a container that answers every TCP connection to port 80 with its name.
func serve(e *engine.Engine, name string, flags ...string) {
	args := append([]string{"run", "-d", "--name", name}, flags...)
	e.Must(append(args, "busybox", "sh", "-c", "echo i-am-"+name+" > /index.html; exec httpd -f -p 80 -h /")...)
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	return strings.TrimSpace(engine.Get(url))
}

func hostPort(e *engine.Engine, name, port string) string {
	line := strings.SplitN(e.Must("port", name, port), "\n", 2)[0]
	return line[strings.LastIndex(line, ":")+1:]
}

func TestPublishedPorts(t *testing.T) {
	e := start(t)
	serve(e, "web", "-p", "80")
	port := hostPort(e, "web", "80/tcp")
	ip := e.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web")
	gateway := e.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "web")
	for name, url := range map[string]string{"loopback": "127.0.0.1:" + port, "localhost": "localhost:" + port, "the bridge": gateway + ":" + port, "its own address": ip} {
		engine.Eventually(t, "the page by "+name, func() bool { return fetch(t, "http://"+url) == "i-am-web" })
	}
	for name, from := range map[string]string{"another container": "busybox", "itself": ""} {
		args := []string{"run", "--rm", "busybox"}
		if from == "" {
			args = []string{"exec", "web"}
		}
		for _, url := range []string{gateway + ":" + port, ip + ":80"} {
			if got := e.Must(append(args, "wget", "-q", "-O", "-", "http://"+url)...); got != "i-am-web" {
				t.Errorf("from %s by %s: %q", name, url, got)
			}
		}
	}
	e.Hoy("run", "--rm", "-p", port+":80", "busybox", "true").Refused(t, 125, "already")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	e.Hoy("run", "--rm", "-p", "127.0.0.1:"+taken+":80", "busybox", "true").Refused(t, 125, "already in use")
	e.Must("rm", "-f", "web")
	serve(e, "next", "-p", port+":80")
	engine.Eventually(t, "the freed port serves the next", func() bool { return fetch(t, "http://127.0.0.1:"+port) == "i-am-next" })
}

func TestPortsBoundToLoopbackAndRanges(t *testing.T) {
	e := start(t)
	serve(e, "local", "-p", "127.0.0.1::80")
	port := hostPort(e, "local", "80")
	gateway := e.Must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "local")
	engine.Eventually(t, "the page by loopback", func() bool { return fetch(t, "http://127.0.0.1:"+port) == "i-am-local" })
	if got := fetch(t, "http://"+gateway+":"+port); got != "" {
		t.Errorf("a port bound to loopback answers on %s: %q", gateway, got)
	}
	e.Must("create", "--name", "all", "--expose", "7000-7002", "-P", "busybox", "sleep", "1000")
	e.Must("start", "all")
	if got := strings.Count(e.Must("port", "all"), "/tcp ->"); got != 3 {
		t.Errorf("-P of three exposed ports published %d:\n%s", got, e.Must("port", "all"))
	}
}

func TestPublishedUDP(t *testing.T) {
	e := start(t)
	bin := filepath.Join(t.TempDir(), "udpecho")
	build := exec.Command("go", "build", "-o", bin, "hoy/test/e2e/udpecho")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e.Must("create", "--name", "udp", "-p", "9/udp", "busybox", "/bin/udpecho")
	e.Must("cp", bin, "udp:/bin/udpecho")
	e.Must("start", "udp")
	port := hostPort(e, "udp", "9/udp")
	engine.Eventually(t, "an answer by UDP", func() bool {
		c, err := net.Dial("udp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("ping"))
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		b := make([]byte, 16)
		n, err := c.Read(b)
		return err == nil && string(b[:n]) == "ping"
	})
}

func TestNamesInside(t *testing.T) {
	e := start(t)
	out := e.Must("run", "--rm", "-h", "box", "--add-host", "db:10.1.2.3", "--add-host", "host:host-gateway", "--dns", "192.0.2.53", "--dns-search", "example.test", "--dns-option", "ndots:2",
		"busybox", "sh", "-c", "cat /etc/hostname /etc/resolv.conf; grep -E 'db|host$|box' /etc/hosts")
	for _, want := range []string{"box\n", "nameserver 192.0.2.53", "search example.test", "options ndots:2", "10.1.2.3\tdb", "\tbox", "\thost"} {
		if !strings.Contains(out, want) {
			t.Errorf("inside lacks %q:\n%s", want, out)
		}
	}
	if got := e.Must("run", "--rm", "--network", "none", "busybox", "sh", "-c", "ls /sys/class/net"); got != "lo" {
		t.Errorf("network none has %q", got)
	}
	if got := e.Must("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net"); !strings.Contains(got, e.Name) {
		t.Errorf("network host has %q, without the host's bridge", got)
	}
	e.Hoy("run", "--network", "host", "--network", "none", "busybox", "true").Refused(t, 125, "network")
	e.Hoy("network", "create", "mine").Refused(t, 1, "network")
	if got := e.Must("network", "ls", "--format", "{{.Name}} {{.Driver}}"); got != "bridge bridge\nhost host\nnone null" {
		t.Errorf("network ls:\n%s", got)
	}
	if got := e.Must("network", "inspect", "-f", "{{.Name}} {{len .IPAM.Config}}", "bridge"); got != "bridge 1" {
		t.Errorf("network inspect: %q", got)
	}
	e.Hoy("network", "inspect", "nosuch").Refused(t, 1, "nosuch")
	e.Hoy("network", "rm", "bridge").Refused(t, 1, "pre-defined")
}

// TestBesideOthersRules runs while the host has rules of its own.
func TestBesideOthersRules(t *testing.T) {
	e := start(t)
	chain := fmt.Sprintf("%sOWN", strings.ToUpper(e.Name))
	rules := [][]string{
		{"-t", "nat", "-N", chain}, {"-t", "nat", "-A", "PREROUTING", "-j", chain},
		{"-t", "nat", "-A", chain, "-p", "tcp", "--dport", "9", "-j", "RETURN"}, {"-N", chain}, {"-A", "FORWARD", "-j", chain},
	}
	undo := [][]string{{"-D", "FORWARD", "-j", chain}, {"-X", chain}, {"-t", "nat", "-D", "PREROUTING", "-j", chain}, {"-t", "nat", "-F", chain}, {"-t", "nat", "-X", chain}}
	t.Cleanup(func() {
		for _, r := range undo {
			engine.Run(t, "", append([]string{"iptables"}, r...)...)
		}
	})
	for _, r := range rules {
		engine.Run(t, "", append([]string{"iptables"}, r...)...).Must(t)
	}
	serve(e, "web", "-p", "80")
	port := hostPort(e, "web", "80")
	engine.Eventually(t, "the page", func() bool { return fetch(t, "http://127.0.0.1:"+port) == "i-am-web" })
	e.Must("rm", "-f", "web")
	if got := engine.Run(t, "", "iptables", "-t", "nat", "-S", chain).Must(t); !strings.Contains(got, "--dport 9") {
		t.Errorf("the host's own rules changed:\n%s", got)
	}
}
