package verbs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

const netShape = "{{len .NetworkSettings.Networks}} {{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.IPAddress}}{{end}}"

func addresses(run func(...string) string, name string) string {
	return run("exec", name, "sh", "-c", "ip -4 -o addr show scope global | wc -l; ip route | wc -l; grep -c "+name+"host /etc/hosts; true")
}

// TestConnectAndDisconnect takes a running container off the default bridge and puts it back.
func TestConnectAndDisconnect(t *testing.T) {
	e := start(t)
	e.EachClient(t, func(t *testing.T, c *engine.Client) {
		since := time.Now().Unix()
		name := engine.Unique("web")
		serve(e, name, "-h", name+"host", "-p", "80")
		port := hostPort(e, name, "80/tcp")
		engine.Eventually(t, "the page", func() bool { return fetch(t, "http://127.0.0.1:"+port) == "i-am-"+name })
		c.Must("network", "disconnect", "bridge", name)
		if got := c.Must("inspect", "-f", netShape, name); got != "0 " {
			t.Errorf("disconnected, inspect has %q", got)
		}
		if got := addresses(c.Must, name); got != "0\n0\n0" {
			t.Errorf("disconnected, inside are (addresses, routes, names) %q", got)
		}
		if got := c.Must("port", name); got != "" {
			t.Errorf("disconnected, it publishes %q", got)
		}
		e.Check()
		// Its port is free for others, and its address.
		serve(e, name+"b", "-p", port+":80")
		e.Must("rm", "-f", name+"b")
		c.Run("network", "disconnect", "bridge", name).Refused(t, 1, "is not connected to the network bridge")
		c.Run("network", "connect", "--ip", "10.1.2.3", "bridge", name).Refused(t, 1, "user specified IP address is supported on user defined networks only")
		c.Run("network", "connect", "--alias", "x", "bridge", name).Refused(t, 1, "aliases are only supported for user-defined networks")
		c.Must("network", "connect", "bridge", name)
		if got := addresses(c.Must, name); got != "1\n2\n1" {
			t.Errorf("connected, inside are (addresses, routes, names) %q", got)
		}
		if got := c.Must("inspect", "-f", netShape, name); !strings.HasPrefix(got, "1 bridge ") || strings.HasSuffix(got, " ") {
			t.Errorf("connected, inspect has %q", got)
		}
		port = hostPort(e, name, "80/tcp")
		engine.Eventually(t, "the page again", func() bool { return fetch(t, "http://127.0.0.1:"+port) == "i-am-"+name })
		c.Run("network", "connect", "bridge", name).Refused(t, 1, "endpoint with name "+name+" already exists in network bridge")
		e.Check()
		all := c.Must("events", "--since", fmt.Sprint(since), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "type=network", "--filter", "network=bridge",
			"--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}} {{.Actor.Attributes.container}}")
		var got []string
		id := c.Must("inspect", "-f", "{{.Id}}", name)
		for line := range strings.Lines(all) {
			if rest, ours := strings.CutSuffix(strings.TrimSpace(line), " "+id); ours {
				got = append(got, rest)
			}
		}
		if want := "connect bridge bridge, disconnect bridge bridge, connect bridge bridge"; strings.Join(got, ", ") != want {
			t.Errorf("events %q, want %q of\n%s", got, want, all)
		}
		c.Must("rm", "-f", name)
	})
}

func TestConnectionsOfWhatDoesNotRun(t *testing.T) {
	e := start(t)
	e.Must("create", "--name", "box", "-p", "80", "busybox", "sleep", "1000")
	e.Must("network", "connect", "bridge", "box") // it is already; Docker says nothing
	e.Must("network", "disconnect", e.Must("network", "inspect", "-f", "{{.Id}}", "bridge")[:12], "box")
	if got := e.Must("inspect", "-f", netShape, "box"); got != "0 " {
		t.Errorf("created and disconnected: %q", got)
	}
	e.Must("start", "box")
	if got := e.Must("exec", "box", "ls", "/sys/class/net"); got != "lo" {
		t.Errorf("started without a network it has %q", got)
	}
	e.Check()
	e.Must("network", "connect", "bridge", "box")
	e.Must("pause", "box")
	e.Must("network", "disconnect", "bridge", "box")
	e.Must("network", "connect", "bridge", "box")
	e.Must("unpause", "box")
	e.Kill()
	e.Up()
	e.Check()
	if got := addresses(e.Must, "box"); !strings.HasPrefix(got, "1\n2\n") {
		t.Errorf("after the daemon's crash: %q", got)
	}
	e.Must("network", "disconnect", "bridge", "box")
	e.Kill()
	e.Up()
	e.Check()
	e.Must("restart", "-t", "0", "box")
	if got := e.Must("exec", "box", "ls", "/sys/class/net"); got != "lo" {
		t.Errorf("restarted it has %q", got)
	}
	e.Must("stop", "-t", "0", "box")
	e.Must("network", "connect", "bridge", "box")
	e.Must("start", "box")
	if got := e.Must("exec", "box", "ls", "/sys/class/net"); got != "eth0\nlo" {
		t.Errorf("connected while stopped it has %q", got)
	}
	e.Check()
}

func TestConnectionRefusals(t *testing.T) {
	e := start(t)
	e.Must("run", "-d", "--name", "beta", "busybox", "sleep", "1000")
	for _, mode := range []string{"host", "none", "container:beta"} {
		name := strings.SplitN(mode, ":", 2)[0]
		e.Must("run", "-d", "--name", name, "--network", mode, "busybox", "sleep", "1000")
	}
	for _, c := range [][]string{
		{"connect", "bridge", "host", "container sharing network namespace with another container or host cannot be connected to any other network"},
		{"connect", "bridge", "container", "container sharing network namespace with another container or host cannot be connected to any other network"},
		{"connect", "bridge", "none", "container cannot be connected to multiple networks with one of the networks in private (none) mode"},
		{"connect", "none", "beta", "container cannot be connected to multiple networks with one of the networks in private (none) mode"},
		{"connect", "host", "beta", "container cannot be disconnected from host network or connected to host network"},
		{"disconnect", "host", "host", "container cannot be disconnected from host network or connected to host network"},
		{"disconnect", "bridge", "none", "is not connected to the network bridge"},
		{"disconnect", "nosuch", "beta", "network nosuch not found"},
		{"connect", "nosuch", "beta", "network nosuch not found"},
		{"connect", "bridge", "nosuch", "No such container: nosuch"},
		{"disconnect", "bridge", "nosuch", "No such container: nosuch"},
		{"disconnect", "-f", "bridge", "nosuch", "endpoint nosuch not found"},
		{"disconnect", "-f", "nosuch", "beta", "is not connected to the network nosuch"},
	} {
		e.Hoy(append([]string{"network"}, c[:len(c)-1]...)...).Refused(t, 1, c[len(c)-1])
	}
	// From none to the bridge it goes in two steps.
	e.Must("network", "disconnect", "none", "none")
	e.Must("network", "connect", "bridge", "none")
	if got := e.Must("exec", "none", "ls", "/sys/class/net"); got != "eth0\nlo" {
		t.Errorf("from none to the bridge: %q", got)
	}
	e.Check()
}
