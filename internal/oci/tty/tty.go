// Package tty passes terminals on: to the socket of a caller who asked for the
// master side, or between a terminal and the person before it.
package tty

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Send gives the master side of a terminal to whoever listens at socket.
func Send(socket string, master *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := connect(fd, socket); err != nil {
		return fmt.Errorf("console socket %s: %w", socket, err)
	}
	// The name is what receivers take for the file's.
	// Made non-blocking for our own poller; the receiver expects it as open(2) gives it.
	_ = unix.SetNonblock(int(master.Fd()), false)
	if err := unix.Sendmsg(fd, []byte("/dev/ptmx"), unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
		return fmt.Errorf("console socket %s: %w", socket, err)
	}
	return nil
}

func connect(fd int, socket string) error {
	// The address of a socket has 107 bytes; a descriptor's own link is shorter
	// than many paths.
	at, err := unix.Open(socket, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(at) }()
	return unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", at)})
}

// IsTerminal says whether f is one.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Relay carries what a person types to a terminal's master side, and its
// output back.
type Relay struct {
	master  *os.File
	in, out *os.File
	saved   *unix.Termios
	done    chan struct{}
	once    sync.Once
}

// NewRelay begins to carry. Where in is a terminal it becomes raw until Close.
func NewRelay(master, in, out *os.File) (*Relay, error) {
	r := &Relay{master: master, in: in, out: out, done: make(chan struct{})}
	if IsTerminal(in) {
		saved, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		if err != nil {
			return nil, os.NewSyscallError("tcgets", err)
		}
		raw := *saved
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &raw); err != nil {
			return nil, os.NewSyscallError("tcsets", err)
		}
		r.saved = saved
		r.Resize()
	}
	go func() {
		defer close(r.done)
		// EIO is the end: the last process has let go of the other side.
		if _, err := io.Copy(out, onlyReader{master}); err != nil && !errors.Is(err, unix.EIO) {
			fmt.Fprintln(os.Stderr, "terminal:", err)
		}
	}()
	go func() {
		if _, err := io.Copy(onlyWriter{master}, in); err == nil && r.saved == nil {
			// The end of a file or pipe is typed as a terminal has it.
			_, _ = master.Write([]byte{4})
		}
	}()
	return r, nil
}

// onlyReader and onlyWriter keep io.Copy to plain reads and writes, which a
// terminal understands.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// Resize gives the terminal the size of the person's.
func (r *Relay) Resize() {
	if size, err := unix.IoctlGetWinsize(int(r.in.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(r.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// Close waits for the last output and puts the person's terminal back. It is
// called when the terminal's first process has ended.
func (r *Relay) Close() {
	r.once.Do(func() {
		<-r.done
		if r.saved != nil {
			_ = unix.IoctlSetTermios(int(r.in.Fd()), unix.TCSETS, r.saved)
		}
		_ = r.master.Close()
	})
}
