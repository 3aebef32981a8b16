package stdio

import (
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
	"hoy/internal/monitor/spool"
)

// SpoolIn has output that goes to a log pass through sp, under the process's
// name. It must be called before Begin.
func (s *Streams) SpoolIn(sp *spool.Spool, name string) { s.spool, s.name = sp, name }

// chunk is output that was read, in a slot or in a buffer of the pool.
type chunk struct {
	slot *spool.Slot
	buf  *[headerSize + readSize]byte
	data []byte
}

// readSpooled is readOnce for output that a log keeps: what is read is in the
// spool before it is anywhere else.
func (s *Streams) readSpooled(stream log.Stream, read func(func(fd uintptr) bool) error) error {
	var c chunk
	var opErr error
	err := read(func(fd uintptr) bool {
		if c, opErr = s.take(stream, int(fd)); !errors.Is(opErr, unix.EAGAIN) {
			return true
		}
		if slot := s.slots[stream]; slot != nil {
			slot.Rest()
		}
		return false
	})
	if c.data == nil {
		if err == nil {
			err = io.EOF
		}
		return err
	}
	at := s.stamp(stream)
	if c.slot == nil {
		s.log.WriteAt(stream, at, c.data)
		s.hand(stream, c.buf, len(c.data))
		buffers.Put(c.buf)
		return nil
	}
	begun := c.slot.Write(at, func(p []byte) { s.log.WriteAt(stream, at, p) })
	if len(s.snapshot()) > 0 {
		buf := buffers.Get().(*[headerSize + readSize]byte)
		s.hand(stream, buf, copy(buf[headerSize:], c.data))
		buffers.Put(buf)
	}
	if !begun {
		s.freeSlot(stream)
	}
	return nil
}

// take reads what is there, into the stream's slot where there is memory for one.
func (s *Streams) take(stream log.Stream, fd int) (c chunk, err error) {
	n, err := available(fd)
	if err != nil {
		return c, err
	}
	if s.slots[stream] == nil {
		s.slots[stream] = s.spool.Take(s.name, stream)
	}
	var room []byte
	if c.slot = s.slots[stream]; c.slot != nil {
		if room = c.slot.Reading(n); room == nil {
			s.freeSlot(stream) // what it holds is with the log's writer, too
			c.slot = nil
		}
	}
	if room == nil {
		c.buf = buffers.Get().(*[headerSize + readSize]byte)
		room = c.buf[headerSize : headerSize+n]
	}
	for {
		n, err = unix.Read(fd, room)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if c.slot != nil {
		c.slot.Read(n)
	}
	if err == nil && n > 0 {
		c.data = room[:n]
		return c, nil
	}
	if c.buf != nil {
		buffers.Put(c.buf)
	}
	if err == nil {
		err = io.EOF
	}
	return chunk{}, err
}

// maxLooks bounds how often a file is asked again that has something to read and
// does not say how much.
const maxLooks = 8

// available is how much can be read without waiting, at most a buffer full.
// EAGAIN is nothing, and any other error is the end: of a pipe, that the last
// writer has closed it, of a terminal likewise.
func available(fd int) (int, error) {
	hung := false
	for range maxLooks {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			return 0, err
		}
		if n > 0 {
			return min(n, readSize), nil
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, 0); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		switch {
		case p[0].Revents&unix.POLLIN != 0: // it came just now
		case p[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0:
			return 0, unix.EAGAIN
		case hung:
			return 0, io.EOF
		default: // the last bytes may have come between the two questions
			hung = true
		}
	}
	return 1, nil
}

// stamp is the time of the next records of a stream, and no two are the same.
func (s *Streams) stamp(stream log.Stream) time.Time {
	s.last[stream] = max(time.Now().UnixNano(), s.last[stream]+1)
	return time.Unix(0, s.last[stream])
}

func (s *Streams) freeSlot(stream log.Stream) {
	if slot := s.slots[stream]; slot != nil {
		s.slots[stream] = nil
		slot.Free()
	}
}

// flush ends a stream's begun line.
func (s *Streams) flush(stream log.Stream) {
	if s.log == nil {
		return
	}
	at := s.stamp(stream)
	if slot := s.slots[stream]; slot != nil {
		slot.Flush(at, func() { s.log.FlushAt(stream, at) })
	} else {
		s.log.FlushAt(stream, at)
	}
	s.freeSlot(stream)
}

// salvage takes over what an earlier monitor had in hand, in the spool or, where
// it has handed over, in lines. written counts the records of a time in the log.
func (s *Streams) salvage(lines [2][]byte, written func(stream log.Stream, at time.Time) int) {
	var rest [2][]byte
	for i := range s.slots {
		stream := log.Stream(i)
		slot := s.spool.Left(s.name, stream)
		if slot != nil && s.log == nil {
			slot.Free()
			continue
		}
		if slot != nil {
			var line []byte
			line, rest[i] = slot.Recover(func(at time.Time) int { return written(stream, at) })
			lines[i] = slices.Clone(line)
		} else if len(lines[i]) > 0 {
			if slot = s.spool.Take(s.name, stream); slot != nil {
				slot.Hold(lines[i])
			}
		}
		s.slots[i] = slot
	}
	if s.log == nil {
		return
	}
	s.log.Begun(lines)
	for i, slot := range s.slots {
		stream := log.Stream(i)
		if slot != nil && len(rest[i]) > 0 {
			at := s.stamp(stream)
			slot.Write(at, func(p []byte) { s.log.WriteAt(stream, at, p) })
		}
		if slot != nil && slot.Empty() {
			s.freeSlot(stream)
		}
	}
}
