package stuck

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

// ignored makes a request of the API and never reads its answer.
func ignored(t *testing.T, e *engine.Engine, request string, headers ...string) {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(e.Host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.UnixConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	text := request + " HTTP/1.1\r\nHost: hoy\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// deaf is the address of a registry that takes connections and says nothing.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return l.Addr().String()
}

// readers begins all kinds of streams that nobody reads.
func readers(t *testing.T, e *engine.Engine, chatty string) {
	t.Helper()
	upgrade := []string{"Connection: Upgrade", "Upgrade: tcp"}
	for range 3 {
		ignored(t, e, fmt.Sprintf("GET /containers/%s/logs?follow=1&stdout=1", chatty))
		ignored(t, e, "GET /events")
		ignored(t, e, fmt.Sprintf("GET /containers/%s/stats", chatty))
	}
	ignored(t, e, fmt.Sprintf("POST /containers/%s/attach?stream=1&stdout=1", chatty), upgrade...)
}
