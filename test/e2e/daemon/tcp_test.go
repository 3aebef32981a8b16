package daemon

import (
	"net"
	"os"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// talks has the client do what needs an answer, a stream and a taken-over connection.
func talks(t *testing.T, c *engine.Client) {
	t.Helper()
	name := "talk-" + c.Name
	if got := c.Must("run", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2"); got != "out" {
		t.Errorf("run printed %q", got)
	}
	if r := c.Run("logs", name); r.Out != "out\n" || r.Err != "err\n" {
		t.Errorf("logs: %q, %q", r.Out, r.Err)
	}
	c.Must("rm", name)
	c.Run("run", "--rm", "busybox", "sh", "-c", "exit 9").Refused(t, 9, "")
}

func TestPlainTCP(t *testing.T) {
	dir := t.TempDir()
	for _, host := range []string{"tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://192.0.2.1:2375"} {
		hoyd(t, append(own(dir), "-H", host)...).Refused(t, 1, "whoever reaches it is root on this machine; use --tlsverify")
	}
	address := engine.FreeAddress(t)
	e := engine.Start(t, "-H", "tcp://"+address)
	e.Busybox()
	e.EachClientWith(t, []string{"-H", "tcp://" + address}, talks)
	if log := e.Log(); strings.Contains(log, "without encryption") {
		t.Errorf("a warning about loopback:\n%s", log)
	}
}

func TestPlainTCPAskedForByName(t *testing.T) {
	_, port, err := net.SplitHostPort(engine.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.Start(t, "-H", "tcp://0.0.0.0:"+port, "--allow-insecure-tcp")
	if log := e.Log(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "without encryption") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	r := e.Hoy("-H", "tcp://127.0.0.1:"+port, "info")
	if r.Code != 0 || !strings.Contains(r.Out+r.Err, "without encryption") {
		t.Errorf("info warns of nothing:\n%s%s", r.Out, r.Err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ours, strangers := newAuthority(t, dir+"/ours"), newAuthority(t, dir+"/strangers")
	ours.issue("server")
	ours.issue("client")
	strangers.issue("client")
	address := engine.FreeAddress(t)
	e := engine.Start(t, "-H", "tcp://"+address, "--tlsverify",
		"--tlscacert", ours.path("ca.pem"), "--tlscert", ours.path("server.pem"), "--tlskey", ours.path("server-key.pem"))
	e.Busybox()
	flags := func(ca, client authority) []string {
		return []string{"-H", "tcp://" + address, "--tlsverify", "--tlscacert", ca.path("ca.pem"),
			"--tlscert", client.path("client.pem"), "--tlskey", client.path("client-key.pem")}
	}
	e.EachClientWith(t, flags(ours, ours), talks)
	refused := func(name string, flags []string) {
		t.Run(name, func(t *testing.T) {
			e.EachClientWith(t, flags, func(t *testing.T, c *engine.Client) {
				r := c.Run("ps")
				if r.Code == 0 || r.Err == "" {
					t.Errorf("exit %d, %q, %q", r.Code, r.Out, r.Err)
				}
				if strings.Contains(r.Err, "sudo hoyd") {
					t.Errorf("the daemon runs, but the text says to start it: %s", r.Err)
				}
			})
		})
	}
	refused("a client of another authority", flags(ours, strangers))
	refused("a server of another authority", flags(strangers, ours))
	refused("without TLS", []string{"-H", "tcp://" + address})
	refused("without a certificate", []string{"-H", "tcp://" + address, "--tls",
		"--tlscacert", ours.path("ca.pem"), "--tlscert", os.DevNull, "--tlskey", os.DevNull})
	if got := e.Must("info", "-f", "{{json .Warnings}}"); strings.Contains(got, "without encryption") {
		t.Errorf("a warning in spite of TLS: %s", got)
	}
	t.Run("variables", func(t *testing.T) {
		certs := t.TempDir()
		for from, to := range map[string]string{"ca.pem": "ca.pem", "client.pem": "cert.pem", "client-key.pem": "key.pem"} {
			if err := os.Link(ours.path(from), certs+"/"+to); err != nil {
				t.Fatal(err)
			}
		}
		engine.RunEnv(t, []string{"DOCKER_HOST=tcp://" + address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + certs}, "",
			engine.Bin(t, "hoy"), "ps").Must(t)
	})
}

func TestTLSWithoutClientCertificates(t *testing.T) {
	ours := newAuthority(t, t.TempDir()+"/ours")
	ours.issue("server")
	address := engine.FreeAddress(t)
	e := engine.Start(t, "-H", "tcp://"+address, "--tls", "--tlscert", ours.path("server.pem"), "--tlskey", ours.path("server-key.pem"))
	e.Must("-H", "tcp://"+address, "--tls", "ps")
	e.Hoy("-H", "tcp://"+address, "--tlsverify", "ps").Refused(t, 1, "certificate")
}
