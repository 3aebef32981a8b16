package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Registry starts Debian's docker-registry on a free loopback port and returns its address.
func Registry(tb testing.TB, dir string) string {
	tb.Helper()
	addr := FreeAddress(tb)
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/registry}, delete: {enabled: true}}\nhttp: {addr: %q}\n", dir, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil { //nolint:forbidigo // a test's own file
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), "docker-registry", "serve", config) // ends by the clean-up below
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%v: the package docker-registry has it", err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	Eventually(tb, "the registry answers", func() bool {
		return Get("http://"+addr+"/v2/") != ""
	})
	return addr
}

// FreeAddress is a loopback address with a TCP port that nobody listens on.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	return addr
}
