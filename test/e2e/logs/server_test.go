package logs

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// server is a real syslog server, which can stand still, go away and come back.
type server struct {
	t       *testing.T
	network string // unix, unixgram, udp, tcp
	addr    string

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
	s.up()
	t.Cleanup(s.down)
	return s
}
