package request

import (
	"net"
)

// Stream is a process's standard streams on one connection. Reading gives
// output: raw where TTY is set, else framed as Docker's stdcopy does (8 bytes:
// stream, three zeros, big-endian length). Writing gives input; CloseWrite ends it.
type Stream struct {
	Conn net.Conn
	TTY  bool
	// Detached, where not nil, is told that the client has typed the detach keys.
	Detached func()
	// Replay, where not empty, is output from before the attachment, in the
	// same framing, to be sent first.
	Replay func(write func([]byte) error) error
	// Ended, where not nil, is closed when the process's end is on record: a
	// client that saw the output end may ask for the exit code at once.
	Ended <-chan struct{}
}
