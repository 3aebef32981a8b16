// Package guard is the guardian, the small process above the monitor, and the
// monitor's end of the socket between them.
//
// The guardian starts the monitor, keeps duplicates of the descriptors that must
// not close when the monitor is killed, becomes the parent of the containers
// then, and starts the next monitor. It decides nothing else and seldom changes:
// the monitor is replaced below it.
//
// A message is one datagram of words; the first says what it is, and one that is
// not known is ignored, with the files beside it. The monitor says:
//
//	keep KEY …          the files beside it, in this order, go on under these keys
//	drop KEY            closes what is kept as KEY or below KEY/
//	await PID:START …   how these end must be reported, for a monitor that is not their parent
//	reap                all has been awaited: children may be reaped now
//	done PID:START      the end of this one is recorded and may be forgotten
//	bye                 the monitor ends because it was told to
//
// The guardian says:
//
//	have KEY …          the files beside it are what was kept as KEY …
//	ready               that was all
//	end PID:START STATUS  how an awaited process has ended, as wait(2) tells it
package guard

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxMessage bounds a datagram; maxFiles is what the kernel takes beside one, and fewer.
	maxMessage = 32 << 10
	maxFiles   = 64
	// maxWords bounds the processes in one message.
	maxWords = 500
)

// Process names a process even after its number was used again: Start is field
// 22 of /proc/PID/stat.
type Process struct {
	Pid   int
	Start uint64
}

func (p Process) String() string { return fmt.Sprintf("%d:%d", p.Pid, p.Start) }

func parseProcess(s string) (p Process, err error) {
	pid, start, ok := strings.Cut(s, ":")
	if !ok {
		return p, fmt.Errorf("%q is no process", s)
	}
	if p.Pid, err = strconv.Atoi(pid); err == nil {
		p.Start, err = strconv.ParseUint(start, 10, 64)
	}
	return p, err
}

// message is one datagram; the receiver owns the files.
type message struct {
	words []string
	fds   []int
}

func (m *message) verb() string { return m.words[0] }

func (m *message) close() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

func send(fd, flags int, fds []int, words ...string) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, []byte(strings.Join(words, " ")), rights, nil, flags|unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// errEnd is the end of the connection.
var errEnd = errors.New("the other end is closed")

// receive reads one message; with flags of 0 it waits. A datagram without a word is errEnd.
func receive(fd, flags int, buf []byte) (*message, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	var n, oobn int
	var err error
	for {
		n, oobn, _, _, err = unix.Recvmsg(fd, buf, oob, flags|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	m := &message{words: strings.Fields(string(buf[:n]))}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	for i := range controls {
		if fds, err := unix.ParseUnixRights(&controls[i]); err == nil {
			m.fds = append(m.fds, fds...)
		}
	}
	if len(m.words) == 0 {
		m.close()
		return nil, errEnd
	}
	return m, nil
}
