package stdio

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/monitor"
)

// Held is what is needed to go on with a running process's streams in another
// program of the same process. Numbers are descriptors; -1 is none.
type Held struct {
	Config  monitor.Stdio `json:"config"`
	Stdin   int           `json:"stdin"`
	Outputs [2]int        `json:"outputs"`
	// Input was typed and not taken by the process yet.
	Input []byte `json:"input,omitempty"`
	// Lines are begun in the log, by stream, without their newline.
	Lines   [2][]byte    `json:"lines"`
	Clients []HeldClient `json:"clients,omitempty"`
}

// HeldClient is one attached connection.
type HeldClient struct {
	File  int     `json:"file"`
	Stdin bool    `json:"stdin,omitempty"`
	Wants [2]bool `json:"wants"`
	// Backlog is what it has not taken yet: it ends a frame that was begun.
	Backlog []byte `json:"backlog,omitempty"`
}

// Suspend stops all reading and writing at once and returns when it has
// stopped. What was read is in the log or with the clients. The Streams are of
// no more use but for Hold.
func (s *Streams) Suspend() {
	s.suspended.Store(true)
	s.linger()
	past := time.Unix(1, 0)
	for _, c := range s.snapshot() {
		_ = c.file.SetReadDeadline(past)
	}
	s.mu.Lock()
	if s.stdin != nil {
		_ = s.stdin.SetWriteDeadline(past)
	}
	s.mu.Unlock()
	s.pumps.Wait()
	s.listeners.Wait()
}

// Hold describes suspended streams. keep makes a file outlive the program and
// returns its number. The log is closed.
func (s *Streams) Hold(keep func(*os.File) (int, error)) (h Held, err error) {
	h = Held{Config: s.cfg, Stdin: -1, Outputs: [2]int{-1, -1}, Input: s.unwritten}
	number := func(to *int, f *os.File) {
		if f != nil && err == nil {
			*to, err = keep(f)
			_ = f.Close() // the duplicate stands for it now
		}
	}
	for i, f := range s.outputs {
		if !s.drained[i].Load() {
			number(&h.Outputs[i], f)
		}
	}
	if s.cfg.Terminal {
		h.Stdin = h.Outputs[0]
	} else {
		number(&h.Stdin, s.stdin)
	}
	for _, c := range s.clients {
		held := HeldClient{Stdin: c.stdin, Wants: c.wants, Backlog: c.backlog}
		number(&held.File, c.file)
		h.Clients = append(h.Clients, held)
	}
	if s.sink.Log != nil {
		h.Lines = s.sink.Log.Suspend()
	}
	for i, slot := range s.sink.slots {
		if slot != nil {
			s.sink.Spool.Leave(s.sink.Name, log.Stream(i), slot)
		}
	}
	return h, err
}

// Resume goes on with what Hold has described.
func Resume(h Held, o Origin) (*Streams, error) {
	s := &Streams{cfg: h.Config, sink: sink{Origin: o}, begun: make(chan struct{}), ended: make(chan struct{})}
	close(s.begun)
	s.sink.salvage(h.Lines)
	for i, fd := range h.Outputs {
		if fd < 0 {
			continue
		}
		f, err := inherited(fd)
		if err != nil {
			return nil, fmt.Errorf("resume output %d: %w", i, err)
		}
		s.outputs[i] = f
	}
	switch {
	case h.Config.Terminal:
		s.stdin = s.outputs[0]
	case h.Stdin >= 0:
		f, err := inherited(h.Stdin)
		if err != nil {
			return nil, fmt.Errorf("resume input: %w", err)
		}
		s.stdin = f
	}
	for _, held := range h.Clients {
		f, err := inherited(held.File)
		if err != nil {
			continue // hung up meanwhile, at worst
		}
		s.clients = append(s.clients, &client{file: f, stdin: held.Stdin, wants: held.Wants, backlog: held.Backlog})
	}
	s.resumeAll(h.Input)
	return s, nil
}

// resumeAll starts to read again: outputs when clients have what is theirs,
// input when what was typed before has been taken.
func (s *Streams) resumeAll(input []byte) {
	clients := s.clients
	for _, c := range clients {
		c.writing.Lock() // until the backlog is gone; output waits for it
		go func() {
			rest := c.backlog
			c.backlog = nil
			if len(rest) > 0 {
				_, _ = c.file.Write(rest)
			}
			c.writing.Unlock()
		}()
	}
	for i, f := range s.outputs {
		if f != nil {
			s.pumps.Go(func() { s.pump(log.Stream(i), f) })
		}
	}
	s.listeners.Go(func() {
		if len(input) > 0 && s.stdin != nil {
			s.enter(s.stdin, input)
		}
		for _, c := range clients {
			s.listeners.Go(func() { s.listen(c) })
		}
	})
}

// inherited makes a file of a descriptor that was handed over.
func inherited(fd int) (*os.File, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "stream"), nil
}
