package stream

import (
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hoy/internal/log"
)

const (
	// batch is how many bytes are gathered before they are sent at once.
	batch = 64 << 10
	// linger is how long a lone line waits for more to be sent with.
	linger = 3 * time.Millisecond
)

// batcher gathers small writes: it sends when batch bytes are there or linger
// has passed since the first of them.
type batcher struct {
	mu    sync.Mutex
	to    http.ResponseWriter
	buf   []byte
	timer *time.Timer
	armed bool
	err   error
}

func newBatcher(w http.ResponseWriter) *batcher {
	b := &batcher{to: w, buf: make([]byte, 0, batch+batch/4)}
	b.timer = time.AfterFunc(time.Hour, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.send()
	})
	b.timer.Stop()
	return b
}

// add lets put append to what is to be sent.
func (b *batcher) add(put func([]byte) []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = put(b.buf)
	if len(b.buf) >= batch {
		b.send()
	} else if !b.armed {
		b.armed = true
		b.timer.Reset(linger)
	}
	return b.err
}

// close sends what is left.
func (b *batcher) close() error {
	b.timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.send()
	return b.err
}

func (b *batcher) send() {
	b.armed = false
	if len(b.buf) == 0 || b.err != nil {
		return
	}
	if _, b.err = b.to.Write(b.buf); b.err == nil {
		b.err = http.NewResponseController(b.to).Flush()
	}
	b.buf = b.buf[:0]
}

// LogFormat says how entries are written to a client.
type LogFormat struct {
	// TTY leaves the frames out.
	TTY bool
	// Merge puts consecutive entries of one stream into one frame. It is for
	// clients that ask for it: many take a frame for a line.
	Merge               bool
	Timestamps, Details bool
}

// timeLayout is RFC 3339 with all nine decimals, so that lines align.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// append writes one entry: a stdcopy frame of timestamp, details and line.
func (f LogFormat) append(buf []byte, e *log.Entry) []byte {
	start := len(buf)
	if !f.TTY {
		kind := byte(1)
		if e.Stream == "stderr" {
			kind = 2
		}
		buf = append(buf, kind, 0, 0, 0, 0, 0, 0, 0)
	}
	if f.Timestamps {
		buf = e.Time.UTC().AppendFormat(buf, timeLayout)
		buf = append(buf, ' ')
	}
	if f.Details {
		buf = append(buf, details(e.Attrs)...)
		buf = append(buf, ' ')
	}
	buf = append(buf, e.Line...)
	if !f.TTY {
		binary.BigEndian.PutUint32(buf[start+4:], uint32(len(buf)-start-8))
	}
	return buf
}

// details are attributes as key=value, sorted, joined by commas, with the
// separators of either escaped as in a URL's query.
func details(attrs map[string]string) string {
	esc := strings.NewReplacer("%", "%25", ",", "%2C", "=", "%3D", " ", "%20", "\n", "%0A")
	all := make([]string, 0, len(attrs))
	for k, v := range attrs {
		all = append(all, esc.Replace(k)+"="+esc.Replace(v))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// maxMerged bounds a frame of several entries, in bytes.
const maxMerged = 32 << 10

// merger appends entries to a buffer that begins anew whenever it was sent.
type merger struct {
	LogFormat
	// open is where the last frame begins; its stream may go on there.
	open int
	kind byte
}

func (m *merger) append(buf []byte, e *log.Entry) []byte {
	if m.TTY || !m.Merge {
		return m.LogFormat.append(buf, e)
	}
	start := len(buf)
	buf = m.LogFormat.append(buf, e)
	kind := buf[start]
	// With times, each line of a frame begins with one: a piece that goes on does not.
	torn := start > 0 && m.Timestamps && buf[start-1] != '\n'
	if start == 0 || kind != m.kind || torn || start-m.open > maxMerged {
		m.open, m.kind = start, kind
		return buf
	}
	buf = append(buf[:start], buf[start+8:]...)
	binary.BigEndian.PutUint32(buf[m.open+4:], uint32(len(buf)-m.open-8))
	return buf
}

// Logs sends entries to the client as they come. The header has been sent.
func Logs(w http.ResponseWriter, f LogFormat, entries func(yield func(log.Entry, error) bool)) error {
	b := newBatcher(w)
	m := merger{LogFormat: f}
	for e, err := range entries {
		if err != nil {
			_ = b.close()
			return err
		}
		if err := b.add(func(buf []byte) []byte { return m.append(buf, &e) }); err != nil {
			return err
		}
	}
	return b.close()
}

// Frames splits nothing: it wraps each write into one stdcopy frame of standard error or output.
type Frames struct {
	To     io.Writer
	Stderr bool
}

func (f Frames) Write(p []byte) (int, error) {
	kind := "stdout"
	if f.Stderr {
		kind = "stderr"
	}
	if _, err := f.To.Write(LogFormat{}.append(nil, &log.Entry{Stream: kind, Line: p})); err != nil {
		return 0, err
	}
	return len(p), nil
}
