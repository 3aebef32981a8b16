package login

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"hoy/internal/cli"
	"hoy/internal/cli/difftest"
)

func TestLoginAsks(t *testing.T) {
	s := difftest.Serve(t, difftest.Routes{"POST /auth": {Body: `{"Status":"Login Succeeded"}`}})
	dir := t.TempDir()
	t.Setenv("HOY_HOST", s.Host)
	t.Setenv("HOY_CONFIG", dir)
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("needs a pty: ", err)
	}
	defer master.Close()
	ended := make(chan int)
	go func() {
		app := cli.NewApp(slave, slave, slave)
		root := cli.NewRoot(app)
		verbs(app, root)
		code := cli.Main(t.Context(), app, root, []string{"login", "r.example"})
		_ = slave.Close()
		ended <- code
	}()
	var screen bytes.Buffer
	until := func(text string) {
		buf := make([]byte, 1024)
		for !strings.Contains(screen.String(), text) {
			n, err := master.Read(buf)
			screen.Write(buf[:n])
			if err != nil {
				t.Fatalf("the terminal closed before %q: %q", text, screen.String())
			}
		}
	}
	until("Username: ")
	_, _ = master.WriteString("bob\n")
	until("Password: ")
	_, _ = master.WriteString("very-secret\n")
	until("Login Succeeded")
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if text := screen.String(); strings.Contains(text, "very-secret") || !strings.Contains(text, "Username: bob\r\nPassword: \r\n") {
		t.Errorf("on the screen: %q", text)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || !strings.Contains(string(data), "Ym9iOnZlcnktc2VjcmV0") { // bob:very-secret
		t.Errorf("kept: %s, %v", data, err)
	}
}
