package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hoy/test/vm/plan"
)

// records writes to the serial line that the host reads.
type records struct {
	mu  sync.Mutex
	out *os.File
}

func openRecords() (*records, error) {
	f, err := os.OpenFile(plan.Device, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, err
	}
	return &records{out: f}, nil
}

func (r *records) put(rec plan.Record) {
	rec.Uptime = uptime()
	line, err := json.Marshal(rec)
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.out.Write(append(line, '\n')) // what is missing, the host notices
}

func (r *records) fault(err error) { r.put(plan.Record{Fault: err.Error()}) }

func uptime() float64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return float64(t.Nano()) / 1e9
}

// stepOutput is where a step's standard output and errors go.
type stepOutput struct {
	*records
	step string
}

func (s stepOutput) Write(b []byte) (int, error) {
	s.put(plan.Record{Step: s.step, Output: b})
	return len(b), nil
}

// run runs the plan's steps, then, under systemd, powers off.
func run() error {
	r, err := openRecords()
	if err != nil {
		return err
	}
	p, err := readPlan()
	if err != nil {
		r.fault(err)
		return err
	}
	if p.Shell {
		return shell()
	}
	if err := swapOn(); err != nil {
		r.fault(err)
		return err
	}
	for _, s := range p.Steps {
		r.step(s)
	}
	r.put(plan.Record{End: true})
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return exec.Command("systemctl", "poweroff", "--no-block").Run() //nolint:noctx // the last thing
	}
	return nil
}

func readPlan() (*plan.Plan, error) {
	text, err := os.ReadFile(plan.File)
	if err != nil {
		return nil, err
	}
	p := &plan.Plan{}
	return p, json.Unmarshal(text, p)
}

func (r *records) step(s plan.Step) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	cmd.WaitDelay = time.Second
	out := stepOutput{r, s.Name}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	done := plan.Record{Step: s.Name, Done: true, Seconds: time.Since(start).Seconds()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		done.Code = exit.ExitCode()
	} else if err != nil {
		done.Code = -1
		fmt.Fprintf(out, "\n%s: %v\n", strings.Join(s.Args, " "), err)
	}
	r.put(done)
}

func shell() error {
	fmt.Println("A machine of hoy's tests: binaries and tests are in " + plan.Dir + ". The end of the shell is the end of the machine.")
	cmd := exec.Command("/bin/busybox", "sh") //nolint:noctx // a person's
	cmd.Env = append(os.Environ(), "PATH="+plan.Dir+"/bin:"+os.Getenv("PATH"), "HOY_BIN="+plan.Dir+"/bin")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = plan.Dir
	_ = cmd.Run() // a shell's last command may have failed
	return nil
}

// swapOn gives the machine swap, which limits of it need.
func swapOn() error {
	const file = "/swapfile"
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, 256<<20)
	_ = f.Close()
	if err != nil {
		return err
	}
	for _, command := range []string{"mkswap", "swapon"} {
		if out, err := exec.Command("/bin/busybox", command, file).CombinedOutput(); err != nil { //nolint:noctx // at the boot
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}
