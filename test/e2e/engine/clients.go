package engine

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Client is a command line that speaks the Docker API.
type Client struct {
	Name string
	argv []string
	tb   testing.TB
	e    *Engine
}

// Run runs the client with the arguments.
func (c *Client) Run(args ...string) *Result {
	c.tb.Helper()
	return RunEnv(c.tb, []string{"DOCKER_CONFIG=" + c.e.Dir + "/config-" + c.Name}, "", append(append([]string{}, c.argv...), args...)...)
}

// Must is Run that fails the test unless it succeeds; it returns the output without its last newline.
func (c *Client) Must(args ...string) string {
	c.tb.Helper()
	return c.Run(args...).Must(c.tb)
}

// Argv is the command with which further arguments may be run, for a terminal.
func (c *Client) Argv(args ...string) []string {
	return append(append([]string{}, c.argv...), args...)
}

// EachClient runs the test as a subtest with hoy and with each docker command
// line of this machine.
func (e *Engine) EachClient(t *testing.T, test func(t *testing.T, c *Client)) {
	t.Helper()
	e.EachClientWith(t, []string{"-H", e.Host}, test)
}

// EachClientWith is EachClient with other global flags than the engine's socket.
func (e *Engine) EachClientWith(t *testing.T, flags []string, test func(t *testing.T, c *Client)) {
	t.Helper()
	commands := []struct{ name, path string }{
		{"hoy", Bin(t, "hoy")},
		{"docker-debian", "/usr/bin/docker"},
		{"docker-current", "/usr/local/bin/docker"},
	}
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat(c.path); err != nil {
				t.Skipf("no %s: this client of the Docker API is not installed here", c.path)
			}
			test(t, &Client{Name: c.name, argv: append([]string{c.path}, flags...), tb: t, e: e})
		})
	}
}

// Version is what the client says of itself.
func (c *Client) Version() string {
	out, _ := exec.CommandContext(c.tb.Context(), c.argv[0], "--version").Output()
	return strings.TrimSpace(string(out))
}
