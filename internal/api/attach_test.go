package api

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"
)

func TestOutputOutlivesTheReadingOfInput(t *testing.T) {
	f := newFixture()
	const size = 1 << 20
	f.containers.process = func(c net.Conn) {
		defer c.Close()
		_, _ = c.Read(make([]byte, 16))
		_ = c.(*net.UnixConn).CloseRead()
		// By now the client's next bytes are refused.
		for range size / 4096 {
			_, _ = c.Write(bytes.Repeat([]byte("o"), 4096))
		}
	}
	cli := mobyClient(t, f)
	st, err := cli.ContainerAttach(t.Context(), "web", client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	go func() {
		for {
			if _, err := st.Conn.Write(bytes.Repeat([]byte("y\n"), 4096)); err != nil {
				return
			}
		}
	}()
	got, err := io.ReadAll(st.Reader)
	if len(got) != size || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes of output arrived, want %d (%v)", len(got), size, err)
	}
}

func TestOutputComesApartFromTheHeader(t *testing.T) {
	f := newFixture()
	f.containers.process = func(c net.Conn) {
		defer c.Close()
		_, _ = io.WriteString(c, "at once")
	}
	conn, err := net.Dial("unix", serveUnix(t, f))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /containers/web/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	buf := make([]byte, 8192)
	n, err := conn.Read(buf)
	if err != nil || !strings.HasSuffix(string(buf[:n]), "\r\n\r\n") {
		t.Errorf("the first read gives %q, %v; want the header alone", buf[:n], err)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != "at once" {
		t.Errorf("then %q, %v", rest, err)
	}
}
