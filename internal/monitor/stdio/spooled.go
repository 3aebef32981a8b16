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

// Origin is where a process's output is kept.
type Origin struct {
	// Name is the process's, in Spool, which may be nil.
	Name  string
	Spool *spool.Spool
	// Log is nil for none; Written counts the records of a time in it.
	Log     log.Writer
	Written func(stream log.Stream, at time.Time) int
}

// sink is the way of output to a log: what is read is in the spool before it is
// anywhere else. A stream has a slot while its reader has something in hand.
type sink struct {
	Origin
	slots [2]*spool.Slot
	last  [2]int64 // the time of a stream's last records
}

// chunk is output that was read, in a slot or in a buffer of the pool.
type chunk struct {
	slot *spool.Slot
	buf  *[headerSize + readSize]byte
	data []byte
}

// readSpooled is readOnce for output that a log keeps.
func (s *Streams) readSpooled(stream log.Stream, read func(func(fd uintptr) bool) error) error {
	var c chunk
	var opErr error
	err := read(func(fd uintptr) bool {
		if c, opErr = s.sink.take(stream, int(fd)); !errors.Is(opErr, unix.EAGAIN) {
			return true
		}
		if slot := s.sink.slots[stream]; slot != nil {
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
	begun := s.sink.store(stream, c)
	switch {
	case c.slot == nil:
		s.hand(stream, c.buf, len(c.data))
		buffers.Put(c.buf)
	case len(s.snapshot()) > 0:
		buf := buffers.Get().(*[headerSize + readSize]byte)
		s.hand(stream, buf, copy(buf[headerSize:], c.data))
		buffers.Put(buf)
	}
	if !begun {
		s.sink.free(stream)
	}
	return nil
}

// store writes what was read to the log, and says whether a slot has a begun line.
func (k *sink) store(stream log.Stream, c chunk) (begun bool) {
	at := k.stamp(stream)
	if c.slot == nil {
		k.Log.WriteAt(stream, at, c.data)
		return false
	}
	return c.slot.Write(at, func(p []byte) { k.Log.WriteAt(stream, at, p) })
}

// take reads what is there, into the stream's slot where there is memory for one.
func (k *sink) take(stream log.Stream, fd int) (c chunk, err error) {
	n, err := available(fd)
	if err != nil {
		return c, err
	}
	if k.slots[stream] == nil {
		k.slots[stream] = k.Spool.Take(k.Name, stream)
	}
	var room []byte
	if c.slot = k.slots[stream]; c.slot != nil {
		if room = c.slot.Reading(n); room == nil {
			k.free(stream) // what it holds is with the log's writer, too
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
func (k *sink) stamp(stream log.Stream) time.Time {
	k.last[stream] = max(time.Now().UnixNano(), k.last[stream]+1)
	return time.Unix(0, k.last[stream])
}

func (k *sink) free(stream log.Stream) {
	if slot := k.slots[stream]; slot != nil {
		k.slots[stream] = nil
		slot.Free()
	}
}

// flush ends a stream's begun line.
func (k *sink) flush(stream log.Stream) {
	if k.Log == nil {
		return
	}
	at := k.stamp(stream)
	if slot := k.slots[stream]; slot != nil {
		slot.Flush(at, func() { k.Log.FlushAt(stream, at) })
	} else {
		k.Log.FlushAt(stream, at)
	}
	k.free(stream)
}

// salvage takes over what an earlier monitor had in hand, in the spool or, where
// it has handed over, in lines. written counts the records of a time in the log.
func (k *sink) salvage(lines [2][]byte) {
	var rest [2][]byte
	for i := range k.slots {
		stream := log.Stream(i)
		slot := k.Spool.Left(k.Name, stream)
		if slot != nil && k.Log == nil {
			slot.Free()
			continue
		}
		if slot != nil {
			var line []byte
			line, rest[i] = slot.Recover(func(at time.Time) int { return k.Written(stream, at) })
			lines[i] = slices.Clone(line)
		} else if len(lines[i]) > 0 {
			if slot = k.Spool.Take(k.Name, stream); slot != nil {
				slot.Hold(lines[i])
			}
		}
		k.slots[i] = slot
	}
	if k.Log == nil {
		return
	}
	k.Log.Begun(lines)
	for i, slot := range k.slots {
		stream := log.Stream(i)
		if slot != nil && len(rest[i]) > 0 {
			at := k.stamp(stream)
			slot.Write(at, func(p []byte) { k.Log.WriteAt(stream, at, p) })
		}
		if slot != nil && slot.Empty() {
			k.free(stream)
		}
	}
}
