package reader

import (
	"bytes"
	"encoding/json"
	"time"

	"hoy/internal/log"
)

// decoder turns lines of a json-file into entries. It keeps what seldom changes
// from line to line: the time of a batch, the attributes.
type decoder struct {
	text []byte // the unescaped text of the last entry
	// patched is where an escape was decoded in place, so that it can be undone.
	patched *byte

	timeText []byte
	time     time.Time

	attrsText []byte
	attrs     map[string]string
}

var (
	logKey    = []byte(`{"log":"`)
	streamKey = []byte(`,"stream":"`)
	attrsKey  = []byte(`,"attrs":`)
	timeKey   = []byte(`,"time":"`)
	stdout    = []byte("stdout")
	stderr    = []byte("stderr")
)

// decode reads one line without its newline. What is not in the exact shape
// that our writer and Docker's give it goes through encoding/json. ok is false
// where it is no log record at all.
func (d *decoder) decode(line []byte) (e log.Entry, ok bool) {
	d.patched = nil
	if e, ok = d.fast(line); ok {
		return e, true
	}
	if d.patched != nil {
		*d.patched = '\\'
	}
	return d.slow(line)
}

func (d *decoder) fast(line []byte) (e log.Entry, ok bool) {
	rest, ok := bytes.CutPrefix(line, logKey)
	if !ok {
		return e, false
	}
	if e.Line, rest, ok = d.unescape(rest); !ok {
		return e, false
	}
	if rest, ok = bytes.CutPrefix(rest, streamKey); !ok || len(rest) < len(stdout)+1 || rest[len(stdout)] != '"' {
		return e, false
	}
	switch name := rest[:len(stdout)]; {
	case bytes.Equal(name, stdout):
		e.Stream = "stdout"
	case bytes.Equal(name, stderr):
		e.Stream = "stderr"
	default:
		return e, false
	}
	rest = rest[len(stdout)+1:]
	if bytes.HasPrefix(rest, attrsKey) {
		at := bytes.LastIndex(rest, timeKey)
		if at < len(attrsKey) || !d.setAttrs(rest[len(attrsKey):at]) {
			return e, false
		}
		e.Attrs, rest = d.attrs, rest[at:]
	}
	if rest, ok = bytes.CutPrefix(rest, timeKey); !ok || len(rest) < 3 || !bytes.HasSuffix(rest, []byte(`"}`)) {
		return e, false
	}
	if !d.setTime(rest[:len(rest)-2]) {
		return e, false
	}
	e.Time = d.time
	return e, true
}

func (d *decoder) setTime(text []byte) bool {
	if bytes.Equal(text, d.timeText) {
		return true
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return false
	}
	d.timeText, d.time = append(d.timeText[:0], text...), t
	return true
}

func (d *decoder) setAttrs(text []byte) bool {
	if bytes.Equal(text, d.attrsText) {
		return true
	}
	var attrs map[string]string
	if json.Unmarshal(text, &attrs) != nil {
		return false
	}
	d.attrsText, d.attrs = append(d.attrsText[:0], text...), attrs
	return true
}

// unescape reads the inside of a JSON string up to its quote. Escapes that a
// writer of logs does not use are left to encoding/json.
func (d *decoder) unescape(s []byte) (text, rest []byte, ok bool) {
	quote := bytes.IndexByte(s, '"')
	if quote < 0 {
		return nil, nil, false
	}
	slash := bytes.IndexByte(s[:quote], '\\')
	if slash < 0 {
		return s[:quote], s[quote+1:], true
	}
	// The usual line: nothing escaped but its newline. The text is decoded
	// where it stands, over the escape.
	if slash == quote-2 && s[slash+1] == 'n' {
		s[slash], d.patched = '\n', &s[slash]
		return s[:slash+1], s[quote+1:], true
	}
	out := d.text[:0]
	defer func() { d.text = out }()
	for {
		out = append(out, s[:slash]...)
		if slash+1 >= len(s) {
			return nil, nil, false
		}
		n := 2
		switch c := s[slash+1]; c {
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case '"', '\\', '/':
			out = append(out, c)
		case 'u':
			var done bool
			if out, done = appendUnicode(out, s[slash:]); !done {
				return nil, nil, false
			}
			n = 6
		default:
			return nil, nil, false
		}
		s = s[slash+n:]
		stop := 0
		for stop < len(s) && s[stop] != '"' && s[stop] != '\\' {
			stop++
		}
		if stop == len(s) {
			return nil, nil, false
		}
		if s[stop] == '"' {
			out = append(out, s[:stop]...)
			return out, s[stop+1:], true
		}
		slash = stop
	}
}

// appendUnicode decodes \uXXXX outside of the surrogates.
func appendUnicode(out, s []byte) ([]byte, bool) {
	if len(s) < 6 {
		return out, false
	}
	var r rune
	for _, c := range s[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return out, false
		}
		r = r<<4 | rune(c)
	}
	if 0xd800 <= r && r <= 0xdfff {
		return out, false
	}
	return append(out, string(r)...), true
}

func (d *decoder) slow(line []byte) (e log.Entry, ok bool) {
	var record struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if json.Unmarshal(line, &record) != nil || record.Time.IsZero() {
		return e, false
	}
	d.text = append(d.text[:0], record.Log...)
	return log.Entry{Stream: record.Stream, Time: record.Time, Line: d.text, Attrs: record.Attrs}, true
}
