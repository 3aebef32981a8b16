package machine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"hoy/test/vm/plan"
)

// Machine is what a boot needs. The disks are files that Disk made.
type Machine struct {
	Kernel *Kernel
	// Inside is the program that BuildInside built.
	Inside string
	// Disk is the root file system. Changes to it are dropped unless Keep is set.
	Disk string
	Keep bool
	// State, if set, is a second disk, mounted at plan.State. It keeps what was
	// written, so that a second boot finds it.
	State string
	// Init is Bare or Systemd.
	Init []string
	// Memory in megabytes; 1024 if 0.
	Memory int
	// Append is more of the kernel's command line.
	Append string
}

// Result is what came out of a boot.
type Result struct {
	Records []plan.Record
	// Console is what the kernel and process 1 said.
	Console string
}

// Tail is the end of the console, for errors.
func (r *Result) Tail() string { return r.Console[max(0, len(r.Console)-4000):] }

// arguments are QEMU's. The emulation is by software: nested virtualisation is
// absent on many machines and hangs on others.
func (m *Machine) arguments(initrd string) []string {
	keep := "on"
	if m.Keep {
		keep = "off"
	}
	memory := m.Memory
	if memory == 0 {
		memory = 1024
	}
	args := []string{
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(memory),
		"-nodefaults", "-nographic", "-no-reboot", "-no-user-config",
		"-kernel", m.Kernel.Image(), "-initrd", initrd,
		"-append", "console=ttyS0 quiet mitigations=off panic=-1 random.trust_cpu=on nokaslr audit=0 " +
			"systemd.show_status=false cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 " + m.Append,
		"-drive", "if=virtio,format=raw,cache=unsafe,file=" + m.Disk + ",snapshot=" + keep,
	}
	if m.State != "" {
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,file="+m.State)
	}
	return args
}

// qemu prepares the command; its files are in dir, which the caller removes.
func (m *Machine) qemu(ctx context.Context, dir string, p plan.Plan) (*exec.Cmd, error) {
	p.Init = m.Init
	image, err := m.Kernel.initramfs(m.Inside, p)
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, image, 0o600); err != nil { //nolint:forbidigo // of this boot only
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(initrd)...)
	// The changes to a disk that is not kept go to a file there.
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	return cmd, nil
}

// Boot runs the steps in a machine, hands each record to see as it comes, and
// returns when the machine is off. A machine that ends, or does not end, without
// having said that it is through is an error.
func (m *Machine) Boot(ctx context.Context, steps []plan.Step, see func(plan.Record)) (*Result, error) {
	dir, err := os.MkdirTemp("", "hoy-vm-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd, err := m.qemu(ctx, dir, plan.Plan{Steps: steps})
	if err != nil {
		return nil, err
	}
	records, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer records.Close()
	console := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Args = append(cmd.Args, "-chardev", "file,id=console,path=/dev/fd/1", "-serial", "chardev:console",
		"-chardev", "file,id=records,path=/dev/fd/3", "-serial", "chardev:records")
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	r := &Result{}
	fault := r.read(records, see)
	err = cmd.Wait()
	r.Console = console.String()
	if ctx.Err() != nil {
		err = fmt.Errorf("the machine was still running at its time limit: %w", ctx.Err())
	}
	return r, errors.Join(fault, err)
}

// read collects records until the machine is off.
func (r *Result) read(from io.Reader, see func(plan.Record)) error {
	in := bufio.NewReader(from)
	var fault error
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var rec plan.Record
		if err := json.Unmarshal(line, &rec); err != nil {
			fault = errors.Join(fault, fmt.Errorf("not a record: %q", line))
			continue
		}
		if rec.Fault != "" {
			fault = errors.Join(fault, errors.New(rec.Fault))
		}
		r.Records = append(r.Records, rec)
		if see != nil {
			see(rec)
		}
	}
	if n := len(r.Records); fault == nil && (n == 0 || !r.Records[n-1].End) {
		return errors.New("the machine went off before it was through with its steps")
	}
	return fault
}

// Shell boots the machine with a shell on this process's terminal.
func (m *Machine) Shell(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "hoy-vm-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd, err := m.qemu(ctx, dir, plan.Plan{Shell: true})
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Args = append(cmd.Args, "-serial", "mon:stdio", "-serial", "null")
	return cmd.Run()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
