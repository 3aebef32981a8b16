package reader

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/jsonfile"
	"hoy/internal/log/local"
)

// codec is how records stand in a file.
type codec interface {
	// records hands over the whole records at the start of p, and says how much
	// of p is done with. last: nothing comes behind p.
	records(p []byte, last bool, hand func(log.Entry) bool) int
	// overflow: what p would have held is too long for a record; it is left out.
	overflow()
	// enter begins with a file, from the record after the first skip ones that are read.
	enter(s *source)
	// tail is where the last n records begin, with skip others before them, and how many there are.
	tail(f *os.File, n uint64) (offset int64, skip, found uint64, err error)
	count(r io.Reader) (uint64, error)
	// probe finds the first whole record in p, a part of a file, and its time.
	probe(p []byte) (at int, t time.Time, ok bool)
}

func newCodec(cfg *log.Config, from uint64) codec {
	if cfg.JSON() {
		return &jsonCodec{}
	}
	return &localCodec{from: from}
}

type jsonCodec struct {
	decoder  decoder
	skip     uint64
	skipping bool // inside a line that is too long
}

func (c *jsonCodec) enter(s *source) { c.skip, c.skipping = s.skip, false }

func (c *jsonCodec) overflow() { c.skipping = true }

func (c *jsonCodec) records(p []byte, _ bool, hand func(log.Entry) bool) int {
	for n := 0; ; {
		at := bytes.IndexByte(p[n:], '\n')
		if at < 0 {
			if c.skipping {
				return len(p)
			}
			return n
		}
		line := p[n : n+at]
		n += at + 1
		switch {
		case c.skipping:
			c.skipping = false
			continue
		case c.skip > 0:
			c.skip--
			continue
		}
		if e, ok := c.decoder.decode(line); ok && !hand(e) {
			return n
		}
	}
}

func (c *jsonCodec) tail(f *os.File, n uint64) (offset int64, skip, found uint64, err error) {
	offset, found, err = tailOffset(f, n)
	return offset, 0, found, err
}

func (c *jsonCodec) count(r io.Reader) (n uint64, err error) {
	buf := make([]byte, 64<<10)
	for {
		got, err := r.Read(buf)
		n += uint64(bytes.Count(buf[:got], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (c *jsonCodec) probe(p []byte) (int, time.Time, bool) {
	at := bytes.IndexByte(p, '\n') + 1
	for at > 0 {
		end := bytes.IndexByte(p[at:], '\n')
		if end < 0 {
			break
		}
		if t := jsonfile.TimeOf(p[at : at+end]); !t.IsZero() {
			return at, t, true
		}
		at += end + 1
	}
	return 0, time.Time{}, false
}

type localCodec struct {
	// from is the number of the first record that is wanted.
	from  uint64
	skip  uint64
	attrs map[string]string
}

// enter takes the attributes from the file's head, which reading may not begin with.
func (c *localCodec) enter(s *source) {
	c.skip, c.attrs = s.skip, nil
	var in io.Reader = io.NewSectionReader(s.f, 0, local.MaxBody+local.Overhead)
	if s.packed {
		in = &source{f: s.f, packed: true}
	}
	p := make([]byte, local.Overhead)
	if _, err := io.ReadFull(in, p); err != nil {
		return
	}
	n, ok := local.HeadSize(p)
	if !ok {
		return
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(in, head[copy(head, p):]); err != nil {
		return
	}
	if f, _, err := local.Parse(head); err == nil {
		c.setAttrs(f.Body)
	}
}

func (c *localCodec) setAttrs(body []byte) {
	c.attrs = nil
	_ = json.Unmarshal(body, &c.attrs)
}

func (c *localCodec) overflow() {}

func (c *localCodec) records(p []byte, last bool, hand func(log.Entry) bool) int {
	for n := 0; n < len(p); {
		f, size, err := local.Parse(p[n:])
		if errors.Is(err, local.ErrDamaged) || err != nil && last {
			n += local.Next(p[n:])
			continue
		}
		if err != nil {
			return n
		}
		n += size
		if !c.frame(&f, hand) {
			return n
		}
	}
	return len(p)
}

// frame hands over the records of one frame.
func (c *localCodec) frame(f *local.Frame, hand func(log.Entry) bool) bool {
	if f.Kind == local.Attrs {
		c.setAttrs(f.Body)
		return true
	}
	e := log.Entry{Stream: f.Stream.String(), Time: f.Time, Attrs: c.attrs, Seq: f.First}
	for body := f.Body; len(body) > 0; e.Seq++ {
		e.Line = body
		if f.Kind == local.Lines {
			e.Line = local.Piece(body)
		}
		body = body[len(e.Line):]
		if c.skip > 0 {
			c.skip--
			continue
		}
		if e.Seq >= c.from && !hand(e) {
			return false
		}
	}
	return true
}

// tail goes back from frame to frame. A file that is not whole is gone through from its start.
func (c *localCodec) tail(f *os.File, n uint64) (offset int64, skip, found uint64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, 0, 0, err
	}
	for end := fi.Size(); end > 0; {
		frame, at, ok := local.Last(f, end)
		if !ok {
			if found, err = c.count(io.NewSectionReader(f, 0, fi.Size())); err != nil {
				return 0, 0, 0, err
			}
			return 0, found - min(found, n), min(found, n), nil
		}
		if found += frame.Records(); found >= n {
			return at, found - n, n, nil
		}
		end = at
	}
	return 0, 0, found, nil
}

func (c *localCodec) count(r io.Reader) (n uint64, err error) {
	counter := &localCodec{}
	buf := make([]byte, 2*(local.MaxBody+local.Overhead))
	for have := 0; ; {
		got, err := r.Read(buf[have:])
		have += got
		done := counter.records(buf[:have], errors.Is(err, io.EOF), func(log.Entry) bool { n++; return true })
		have = copy(buf, buf[done:have])
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (c *localCodec) probe(p []byte) (int, time.Time, bool) {
	for at := 0; at < len(p); at += local.Next(p[at:]) {
		if f, _, err := local.Parse(p[at:]); err == nil {
			return at, f.Time, true
		}
	}
	return 0, time.Time{}, false
}
