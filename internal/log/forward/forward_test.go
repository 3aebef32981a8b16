package forward

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/options"
	"hoy/internal/log/writer"
)

// server is a real syslog server, which can stand still, go away and come back.
type server struct {
	t       *testing.T
	network string // unix, unixgram, udp, tcp, tcp+tls
	addr    string
	tls     *tls.Config

	mu    sync.Mutex
	lines []string
	stall sync.Mutex // held: nothing is read
	conns []io.Closer
	wait  sync.WaitGroup
}

func (s *server) url() string { return s.network + "://" + s.addr }

func (s *server) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *server) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// up listens, at the same address as before where there was one.
func (s *server) up() {
	s.t.Helper()
	switch s.network {
	case "udp", "unixgram":
		if s.network == "unixgram" {
			_ = os.Remove(s.addr)
		}
		c, err := net.ListenPacket(s.network, s.addr)
		if err != nil {
			s.t.Fatal(err)
		}
		if u, ok := c.(*net.UDPConn); ok {
			_ = u.SetReadBuffer(4 << 20)
		}
		s.addr = c.LocalAddr().String()
		s.keep(c)
		s.wait.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				s.stall.Lock()
				s.stall.Unlock() //nolint:staticcheck // waits while another holds it
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				s.add(strings.TrimSuffix(string(buf[:n]), "\n"))
			}
		})
		return
	}
	network := strings.TrimSuffix(s.network, "+tls")
	if network == "unix" {
		_ = os.Remove(s.addr)
	}
	l, err := net.Listen(network, s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.keep(l)
	s.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(64 << 10) // stalls soon
			}
			if s.tls != nil {
				c = tls.Server(c, s.tls)
			}
			s.keep(c)
			s.wait.Go(func() { s.read(c) })
		}
	})
}

func (s *server) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
}

// read takes lines, or frames with their length before them.
func (s *server) read(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 16)
	for {
		s.stall.Lock()
		s.stall.Unlock() //nolint:staticcheck // waits while another holds it
		if first, err := r.Peek(1); err == nil && first[0] != '<' {
			text, err := r.ReadString(' ')
			if err != nil {
				return
			}
			n, _ := strconv.Atoi(strings.TrimSpace(text))
			frame := make([]byte, n)
			if _, err := io.ReadFull(r, frame); err != nil {
				return
			}
			s.add(strings.TrimSuffix(string(frame), "\n"))
			continue
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s.add(strings.TrimSuffix(line, "\n"))
	}
}

// down closes everything, after what has arrived was read.
func (s *server) down() {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	s.wait.Wait()
}

func newServer(t *testing.T, network string) *server {
	s := &server{t: t, network: network, addr: "127.0.0.1:0"}
	if strings.HasPrefix(network, "unix") {
		dir, err := os.MkdirTemp("", "hoy-syslog-") //nolint:usetesting // a socket's path has 107 bytes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		s.addr = filepath.Join(dir, "s")
	}
	if network == "tcp+tls" {
		s.tls = certificate(t)
	}
	s.up()
	t.Cleanup(s.down)
	return s
}

var caFile string

func certificate(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

func target(t *testing.T, driver string, opts map[string]string) Target {
	t.Helper()
	id := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	cfg, err := options.Parse(driver, opts, t.TempDir(), id)
	if err != nil {
		t.Fatal(err)
	}
	return Target{Log: cfg, Info: options.Info{
		Config: opts, ContainerID: id, ContainerName: "/web", ContainerImageName: "busybox:1",
		ContainerLabels: map[string]string{"com.x-y": "z"}, DaemonName: "docker",
	}}
}

func (s *server) target(t *testing.T, opts map[string]string) Target {
	t.Helper()
	all := map[string]string{"syslog-address": s.url(), "tag": "{{.Name}}"}
	if s.network == "tcp+tls" {
		all["syslog-tls-ca-cert"] = caFile
	}
	for k, v := range opts {
		all[k] = v
	}
	return target(t, log.Syslog, all)
}

func manager(t *testing.T, opt Options) *Manager {
	opt.Log = slog.New(slog.NewTextHandler(&testWriter{t}, nil))
	if opt.Dir == "" {
		opt.Dir = filepath.Join(t.TempDir(), "unsent")
	}
	m := New(opt)
	t.Cleanup(m.Close)
	return m
}

type testWriter struct{ t *testing.T }

func (w *testWriter) Write(p []byte) (int, error) { return len(p), nil }

func open(t *testing.T, cfg log.Config) log.Writer {
	t.Helper()
	w, err := writer.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func number(w log.Writer, first, n int) {
	for i := first; i < first+n; i++ {
		w.Write(log.Stdout, fmt.Appendf(nil, "line %d\n", i))
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not within 15 s: " + what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // polls
	}
}

var lineNumber = regexp.MustCompile(`line (\d+)$`)

// missing says which of the numbers below n did not arrive, and how many came twice.
func (s *server) missing(n int) (missing []int, twice int) {
	seen := make([]int, n)
	for _, l := range s.got() {
		if m := lineNumber.FindStringSubmatch(l); m != nil {
			i, _ := strconv.Atoi(m[1])
			seen[i]++
		}
	}
	for i, k := range seen {
		if k == 0 {
			missing = append(missing, i)
		}
		twice += max(k-1, 0)
	}
	return missing, twice
}

func (s *server) all(t *testing.T, n int) (twice int) {
	t.Helper()
	var missing []int
	for end := time.Now().Add(20 * time.Second); ; {
		if missing, twice = s.missing(n); len(missing) == 0 {
			return twice
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d of %d lines are missing, the first is %d", s.network, len(missing), n, missing[0])
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // polls
	}
}

var networks = []string{"unix", "unixgram", "udp", "tcp", "tcp+tls"}

func TestFormats(t *testing.T) {
	host, _ := os.Hostname()
	host = regexp.QuoteMeta(host)
	pid := strconv.Itoa(os.Getpid())
	for format, want := range map[string]string{
		"":             `<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d web\[` + pid + `\]: hello`,
		"rfc3164":      `<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ` + host + ` web\[` + pid + `\]: hello`,
		"rfc5424":      `<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) ` + host + ` web ` + pid + ` web - hello`,
		"rfc5424micro": `<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) ` + host + ` web ` + pid + ` web - hello`,
	} {
		for _, network := range networks {
			s := newServer(t, network)
			to := s.target(t, map[string]string{"syslog-format": format})
			m := manager(t, Options{})
			ended := make(chan struct{})
			w := open(t, to.Log)
			m.Follow(to, ended)
			w.Write(log.Stdout, []byte("hello\n\n"))
			w.Write(log.Stderr, []byte("bad\n"))
			eventually(t, "two lines on "+network, func() bool { return len(s.got()) == 2 })
			got := s.got()
			if !regexp.MustCompile("^"+want+"$").MatchString(got[0]) || !strings.HasPrefix(got[1], "<27>") || !strings.HasSuffix(got[1], "bad") {
				t.Errorf("%s on %s: %q", format, network, got)
			}
			close(ended)
			m.Close()
		}
	}
}

func TestAServerThatGoesAndComesBackMissesNothing(t *testing.T) {
	for _, network := range []string{"unix", "unixgram", "tcp", "tcp+tls"} {
		t.Run(network, func(t *testing.T) {
			s := newServer(t, network)
			to := s.target(t, nil)
			m := manager(t, Options{})
			ended := make(chan struct{})
			w := open(t, to.Log)
			m.Follow(to, ended)
			number(w, 0, 1000)
			s.all(t, 1000)
			eventually(t, "acknowledged", func() bool { return writer.Sent(to.Log.SentPath()) == 1000 })
			s.down()
			number(w, 1000, 1000) // to nobody
			s.up()
			if twice := s.all(t, 2000); twice > 0 {
				t.Errorf("%d lines came twice that were acknowledged", twice)
			}
			close(ended)
			eventually(t, "position", func() bool { return writer.Sent(to.Log.SentPath()) == 2000 })
		})
	}
}

func TestAnotherManagerGoesOnWhereTheFirstWas(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			s := newServer(t, network)
			to := s.target(t, nil)
			ended := make(chan struct{})
			w := open(t, to.Log)
			for i := range 5 {
				m := manager(t, Options{})
				m.Follow(to, ended)
				number(w, i*400, 400)
				if i == 4 {
					close(ended)
					s.all(t, 2000)
				}
				m.Close()
			}
			if twice := func() int { _, n := s.missing(2000); return n }(); twice > 400 {
				t.Errorf("%d came twice", twice)
			}
		})
	}
}

func TestAStalledServerHoldsNobodyUpAndLosesTheOldestOnly(t *testing.T) {
	for _, network := range []string{"unix", "tcp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			s := newServer(t, network)
			to := s.target(t, map[string]string{"cache-max-size": "200k", "cache-max-file": "3", "cache-compress": "false"})
			m := manager(t, Options{})
			ended := make(chan struct{})
			w := open(t, to.Log)
			m.Follow(to, ended)
			number(w, 0, 10)
			s.all(t, 10)
			s.stall.Lock()
			const total = 20_000
			begun := time.Now()
			long := strings.Repeat("x", 200)
			for i := 10; i < total; i++ {
				w.Write(log.Stdout, fmt.Appendf(nil, "%s line %d\n", long, i))
			}
			if d := time.Since(begun); d > 10*time.Second {
				t.Errorf("writing took %v", d)
			}
			close(ended)
			s.stall.Unlock()
			missing := func() []int { m, _ := s.missing(total); return m }
			eventually(t, "the newest line", func() bool {
				got := s.got()
				return strings.HasSuffix(got[len(got)-1], fmt.Sprintf("line %d", total-1))
			})
			dropped := uint64(0)
			for _, c := range m.Counts() {
				dropped = c.Dropped
			}
			if n := len(missing()); n == 0 || uint64(n) != dropped {
				t.Errorf("%d lines are missing, %d were counted", n, dropped)
			}
		})
	}
}

func TestBlockingKeepsAll(t *testing.T) {
	s := newServer(t, "tcp")
	to := s.target(t, map[string]string{"cache-max-size": "50k", "cache-max-file": "3", "cache-compress": "false", "mode": "blocking"})
	m := manager(t, Options{})
	ended := make(chan struct{})
	w := open(t, to.Log)
	m.Follow(to, ended)
	s.stall.Lock()
	const total = 20_000
	long := strings.Repeat("x", 200)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range total {
			w.Write(log.Stdout, fmt.Appendf(nil, "%s line %d\n", long, i))
		}
	}()
	select {
	case <-done:
		t.Error("writing went on while nobody read")
	case <-time.After(500 * time.Millisecond):
	}
	s.stall.Unlock()
	<-done
	close(ended)
	if twice := s.all(t, total); twice > 0 {
		t.Errorf("%d came twice", twice)
	}
}

func TestARemovedContainersLogIsStillSent(t *testing.T) {
	s := newServer(t, "tcp")
	to := s.target(t, nil)
	s.down()
	dir := filepath.Join(t.TempDir(), "unsent")
	m := manager(t, Options{Dir: dir})
	ended := make(chan struct{})
	w := open(t, to.Log)
	m.Follow(to, ended)
	number(w, 0, 500)
	_ = w.Close()
	close(ended)
	m.Forget(to.Info.ContainerID)
	if err := os.RemoveAll(filepath.Dir(to.Log.Path)); err != nil {
		t.Fatal(err)
	}
	m.Close()                         // the daemon ends
	_ = manager(t, Options{Dir: dir}) // and another begins
	s.up()
	s.all(t, 500)
	eventually(t, "nothing is left", func() bool { list, _ := os.ReadDir(dir); return len(list) == 0 })
}

// journald is a socket that speaks its protocol.
type journald struct {
	mu      sync.Mutex
	entries []map[string]string
}

func parseJournal(t *testing.T, p []byte) map[string]string {
	e := map[string]string{}
	for len(p) > 0 {
		line, rest, ok := bytes.Cut(p, []byte{'\n'})
		if !ok {
			t.Errorf("no end: %q", p)
			return e
		}
		key, value, plain := bytes.Cut(line, []byte{'='})
		if !plain {
			n := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
			value, rest = rest[8:8+n], rest[8+n+1:]
		}
		e[string(key)] = string(value)
		p = rest
	}
	return e
}

func newJournald(t *testing.T) (*journald, string) {
	dir, err := os.MkdirTemp("", "hoy-journal-") //nolint:usetesting // a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = os.RemoveAll(dir) })
	j := &journald{}
	go func() {
		buf := make([]byte, 256<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			e := parseJournal(t, buf[:n])
			j.mu.Lock()
			j.entries = append(j.entries, e)
			j.mu.Unlock()
		}
	}()
	return j, path
}

func TestJournalFields(t *testing.T) {
	j, socket := newJournald(t)
	to := target(t, log.Journald, map[string]string{"labels": "com.x-y", "tag": "t-{{.Name}}"})
	m := manager(t, Options{JournalSocket: socket})
	ended := make(chan struct{})
	w := open(t, to.Log)
	m.Follow(to, ended)
	w.Write(log.Stdout, []byte("hello\n"))
	w.Write(log.Stderr, []byte(strings.Repeat("x", log.MaxLine)+"tail\n"))
	eventually(t, "three entries", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return len(j.entries) == 3 })
	e := j.entries[0]
	for k, want := range map[string]string{
		"MESSAGE": "hello", "PRIORITY": "6", "CONTAINER_ID": "0123456789ab", "CONTAINER_ID_FULL": to.Info.ContainerID,
		"CONTAINER_NAME": "web", "CONTAINER_TAG": "t-web", "SYSLOG_IDENTIFIER": "t-web", "IMAGE_NAME": "busybox:1",
		"COM_X_Y": "z", "CONTAINER_LOG_ORDINAL": "1", "CONTAINER_PARTIAL_MESSAGE": "", "CONTAINER_PARTIAL_ID": "",
	} {
		if e[k] != want {
			t.Errorf("%s is %q, want %q", k, e[k], want)
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, e["SYSLOG_TIMESTAMP"]); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time %q", e["SYSLOG_TIMESTAMP"])
	}
	first, last := j.entries[1], j.entries[2]
	if first["CONTAINER_PARTIAL_MESSAGE"] != "true" || first["CONTAINER_PARTIAL_LAST"] != "false" || first["CONTAINER_PARTIAL_ORDINAL"] != "1" ||
		last["CONTAINER_PARTIAL_LAST"] != "true" || last["CONTAINER_PARTIAL_ORDINAL"] != "2" || last["CONTAINER_PARTIAL_MESSAGE"] != "" ||
		first["CONTAINER_PARTIAL_ID"] != last["CONTAINER_PARTIAL_ID"] || first["PRIORITY"] != "3" || last["MESSAGE"] != "tail" {
		t.Errorf("pieces: %v", last)
	}
	close(ended)
}
