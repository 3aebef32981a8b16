package foreign

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPath is what fits in sockaddr_un with its final 0.
	maxPath = 107
	// consoleTime bounds the wait for a terminal that the runtime says it has sent.
	consoleTime = 5 * time.Second
)

// console is the socket at which a runtime hands over a terminal's master side.
type console struct {
	listener *net.UnixListener
	file     string
	// path is what the runtime is told, which runs in the container's directory.
	path string
}

func listen(c *container, name string) (*console, error) {
	dir, err := os.OpenFile(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	s := &console{file: c.path(name), path: c.path(name)}
	if len(s.path) > maxPath {
		s.path = name
	}
	address := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)}
	if s.listener, err = net.ListenUnix("unix", address); err != nil {
		return nil, err
	}
	s.listener.SetUnlinkOnClose(false) // by then the name leads elsewhere
	return s, nil
}

func (s *console) close() {
	_ = s.listener.Close()
	_ = os.Remove(s.file)
}

// receive takes the one descriptor that the runtime sends.
func (s *console) receive() (*os.File, error) {
	deadline := time.Now().Add(consoleTime)
	if err := s.listener.SetDeadline(deadline); err != nil {
		return nil, err
	}
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, rights)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("the runtime sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("the runtime sent no terminal")
	}
	unix.CloseOnExec(fds[0])
	for _, more := range fds[1:] {
		_ = unix.Close(more)
	}
	return os.NewFile(uintptr(fds[0]), "console"), nil
}
