package writer

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/jsonfile"
	"hoy/internal/log/local"
	"hoy/internal/log/squeeze"
)

// format is how records stand in a file.
type format interface {
	begin(b *batch)
	// add appends one record to b.buf, which is empty or has earlier ones.
	add(b *batch, text []byte, newline bool)
	// slack is how much end adds at most.
	slack() int
	// end completes b.buf; first is the number of its first record.
	end(b *batch, first uint64)
	// whole says how many bytes of p, a part of n records, are worth keeping, and how many records are not.
	whole(p []byte, n uint64) (keep int, left uint64)
	// head is how a file begins.
	head(next uint64, at time.Time) []byte
	// gap is a record of the engine's own, where n others are missing.
	gap(text string, n, next uint64, at time.Time) []byte
	// resume looks at a file that others have written: where to go on, and with what before.
	resume(f *os.File, size int64) (end int64, next uint64, before []byte, err error)
	cut(p []byte) (int, squeeze.Meta)
}

func newFormat(cfg *log.Config) (format, error) {
	if cfg.JSON() {
		attributes, err := jsonfile.Attributes(cfg.Attrs)
		return &jsonFormat{attributes: attributes}, err
	}
	if len(cfg.Attrs) == 0 {
		return &localFormat{}, nil
	}
	attrs, err := json.Marshal(cfg.Attrs)
	if err == nil && len(attrs) > local.MaxBody {
		err = errors.New("the attributes take more than 1 MiB")
	}
	return &localFormat{attrs: attrs}, err
}

// reason is an error without what it was met at.
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

type jsonFormat struct{ attributes []byte }

func (f *jsonFormat) begin(b *batch) {
	b.tail = jsonfile.AppendTail(b.tail[:0], b.s, f.attributes, b.at)
}

func (f *jsonFormat) add(b *batch, text []byte, newline bool) {
	b.buf = jsonfile.Append(b.buf, text, newline, b.tail)
}

func (f *jsonFormat) slack() int                    { return 0 }
func (f *jsonFormat) end(*batch, uint64)            {}
func (f *jsonFormat) head(uint64, time.Time) []byte { return nil }
func (f *jsonFormat) whole(p []byte, n uint64) (int, uint64) {
	keep := bytes.LastIndexByte(p, '\n') + 1
	return keep, n - uint64(bytes.Count(p[:keep], newline))
}

var newline = []byte{'\n'}

func (f *jsonFormat) gap(text string, n, _ uint64, at time.Time) []byte {
	attributes, _ := jsonfile.Attributes(map[string]string{"dropped": strconv.FormatUint(n, 10)})
	return jsonfile.Append(nil, []byte(text[:len(text)-1]), true, jsonfile.AppendTail(nil, log.Stderr, attributes, at))
}

// resume ends a line that was cut short: readers leave it out.
func (f *jsonFormat) resume(file *os.File, size int64) (int64, uint64, []byte, error) {
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err == nil && last[0] != '\n' {
		return size, 0, newline, nil
	}
	return size, 0, nil, nil
}

func (f *jsonFormat) cut(p []byte) (int, squeeze.Meta) {
	n := bytes.LastIndexByte(p, '\n') + 1
	p = p[:n]
	m := squeeze.Meta{Records: uint64(bytes.Count(p, newline))}
	if n == 0 {
		return 0, m
	}
	first := p[:bytes.IndexByte(p, '\n')]
	last := p[bytes.LastIndexByte(p[:n-1], '\n')+1 : n-1]
	from, to := jsonfile.TimeOf(first), jsonfile.TimeOf(last)
	if !from.IsZero() && !to.IsZero() {
		m.From, m.To = from.UnixNano(), to.UnixNano()
	}
	return n, m
}

type localFormat struct{ attrs []byte }

func (f *localFormat) begin(*batch) {}

func (f *localFormat) add(b *batch, text []byte, newline bool) {
	if len(b.buf) == 0 {
		b.buf = local.Begin(b.buf)
	}
	b.buf = append(b.buf, text...)
	if newline {
		b.buf = append(b.buf, '\n')
	}
}

func (f *localFormat) slack() int { return local.Overhead }

func (f *localFormat) end(b *batch, first uint64) {
	b.buf = local.End(b.buf, local.Frame{Kind: local.Lines, Stream: b.s, Time: b.at, First: first})
}

func (f *localFormat) whole(_ []byte, n uint64) (int, uint64) { return 0, n }

func (f *localFormat) head(next uint64, at time.Time) []byte {
	if len(f.attrs) == 0 {
		return nil
	}
	return local.End(local.Begin(nil), local.Frame{Kind: local.Attrs, Time: at, First: next, Body: f.attrs})
}

func (f *localFormat) gap(text string, _, next uint64, at time.Time) []byte {
	return local.End(local.Begin(nil), local.Frame{Kind: local.Gap, Stream: log.Stderr, Time: at, First: next, Body: []byte(text)})
}

func (f *localFormat) resume(file *os.File, size int64) (int64, uint64, []byte, error) {
	if last, _, ok := local.Last(file, size); ok {
		return size, last.First + last.Records(), nil, nil
	}
	end, next, err := local.Whole(file)
	return end, next, nil, err
}

func (f *localFormat) cut(p []byte) (int, squeeze.Meta) {
	var m squeeze.Meta
	for n, begun := 0, false; ; {
		frame, size, err := local.Parse(p[n:])
		if errors.Is(err, local.ErrDamaged) && n < len(p) {
			n += local.Next(p[n:])
			continue
		}
		if err != nil {
			return n, m
		}
		at := frame.Time.UnixNano()
		if !begun {
			begun, m = true, squeeze.Meta{First: frame.First, From: at, To: at}
		}
		m.Records = frame.First + frame.Records() - m.First
		m.From, m.To = min(m.From, at), max(m.To, at)
		n += size
	}
}
