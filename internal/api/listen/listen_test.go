package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", nil)
	return a
}

// issue writes name.pem and name-key.pem.
func (a *authority) issue(t *testing.T, name string, usage []x509.ExtKeyUsage) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: usage,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(file string) string { return filepath.Join(a.dir, file) }

func TestTLSVerifyServesOnlyKnownClients(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	ca.issue(t, "server", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	ca.issue(t, "client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	stranger.issue(t, "client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	cfg, err := TLS(ca.path("server.pem"), ca.path("server-key.pem"), ca.path("ca.pem"), true)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := Open("tcp://127.0.0.1:0", Options{TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") })}
	go s.Serve(ls[0])
	defer s.Close()
	get := func(certs []tls.Certificate, maxVersion uint16) error {
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		hc := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs, MaxVersion: maxVersion},
		}}
		answer, err := hc.Get("https://" + ls[0].Addr().String())
		if err == nil {
			_ = answer.Body.Close()
		}
		return err
	}
	load := func(a *authority) []tls.Certificate {
		c, err := tls.LoadX509KeyPair(a.path("client.pem"), a.path("client-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	if err := get(load(ca), 0); err != nil {
		t.Errorf("known client: %v", err)
	}
	if get(nil, 0) == nil {
		t.Error("a client without a certificate was served")
	}
	if get(load(stranger), 0) == nil {
		t.Error("a client of another authority was served")
	}
	if get(load(ca), tls.VersionTLS11) == nil {
		t.Error("TLS 1.1 was served")
	}
}

func TestPlainTCPNeedsItsName(t *testing.T) {
	for _, host := range []string{"tcp://0.0.0.0:0", "tcp://[::]:0"} {
		if _, err := Open(host, Options{}); err == nil || !strings.Contains(err.Error(), "--allow-insecure-tcp") {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, c := range []struct {
		host string
		opt  Options
	}{{"tcp://127.0.0.1:0", Options{}}, {"tcp://localhost:0", Options{}}, {"tcp://:0", Options{}}, {"tcp://0.0.0.0:0", Options{InsecureTCP: true}}} {
		ls, err := Open(c.host, c.opt)
		if err != nil {
			t.Errorf("%s: %v", c.host, err)
			continue
		}
		_ = ls[0].Close()
	}
	for _, host := range []string{"", "x", "http://a:1", "unix://", "tcp://a:b:c", "fd://"} {
		if _, err := Open(host, Options{}); err == nil {
			t.Errorf("%q was opened", host)
		}
	}
}

func TestUnixSocketReplacesOnlyStaleOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ls, err := Open("unix://"+path, Options{Group: "0"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Open("unix://"+path, Options{}); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	// As after a crash: the file stays, nobody listens.
	ls[0].(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ls[0].Close()
	if ls, err = Open("unix://"+path, Options{}); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = ls[0].Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("unix://"+path, Options{}); err == nil {
		t.Error("a plain file was replaced")
	}
	if _, err := Open("unix://"+path+"2", Options{Group: "no-such-group"}); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("unknown group: %v", err)
	}
}

// TestInherited runs itself again as systemd would start it.
func TestInherited(t *testing.T) {
	if os.Getenv("HOY_TEST_INHERITED") != "" {
		// systemd sets this between fork and exec; a test's parent cannot know the pid.
		t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		ls, err := Open("fd://", Options{})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := ls[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "served")
		_ = conn.Close()
		return
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestInherited$")
	cmd.Env = append(os.Environ(), "HOY_TEST_INHERITED=1", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	if err := cmd.Wait(); err != nil || string(got) != "served" {
		t.Errorf("got %q, %v", got, err)
	}
}
