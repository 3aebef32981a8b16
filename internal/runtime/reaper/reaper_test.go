package reaper

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const role = "HOY_TEST_REAPER"

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func reaper(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), role+"=1")
	return cmd
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "sh", "-c", "exit 0"}, 0},
		{[]string{"sh", "-c", "exit 7"}, 7},
		{[]string{"--", "sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"--", "/no/such/command"}, 127},
		{[]string{"--", "no-such-command"}, 127},
		{[]string{"--", "/etc/passwd"}, 126},
		{[]string{"--"}, 125},
	} {
		err := reaper(t, c.args...).Run()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		if code != c.want {
			t.Errorf("%q: exit code %d, want %d", c.args, code, c.want)
		}
	}
}

func TestSignalsGoToTheCommand(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT} {
		cmd := reaper(t, "--", "sh", "-c", `trap 'exit 42' TERM HUP USR1 INT; echo ready; while :; do sleep 0.01; done`)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 42 {
			t.Errorf("%v: exit code %d, want 42", sig, code)
		}
	}
}

// TestOrphansAreReaped leaves a grandchild behind and looks for its remains.
func TestOrphansAreReaped(t *testing.T) {
	cmd := reaper(t, "--", "sh", "-c", `sh -c 'sh -c "exit 3" & echo $!'; read line; exit 0`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	orphan, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	orphan = strings.TrimSpace(orphan)
	for {
		// Its directory goes when it has been reaped; the test's own limit ends a vain wait.
		if _, err := os.Stat("/proc/" + orphan); os.IsNotExist(err) {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the orphan stays")
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
