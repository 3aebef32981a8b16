// Package jsonfile is the format of Docker's json-file log driver: one JSON
// object a line.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"hoy/internal/log"
)

// Attributes is what stands in every record that has attrs; nothing where there are none.
func Attributes(attrs map[string]string) ([]byte, error) {
	if len(attrs) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(attrs)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `"attrs":%s,`, text), nil
}

// AppendTail appends what follows the text in each record of one batch.
func AppendTail(dst []byte, s log.Stream, attributes []byte, at time.Time) []byte {
	dst = append(dst, `","stream":"`...)
	dst = append(dst, s.String()...)
	dst = append(dst, `",`...)
	dst = append(dst, attributes...)
	dst = append(dst, `"time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// Append appends one record; tail is AppendTail's.
func Append(dst, text []byte, newline bool, tail []byte) []byte {
	if newline || len(text) > 0 {
		dst = append(dst, `{"log":"`...)
		dst = appendEscaped(dst, text)
		if newline {
			dst = append(dst, '\\', 'n')
		}
	}
	return append(dst, tail...)
}

// TimeOf reads the time of one record; zero where it has none in its usual place.
func TimeOf(record []byte) time.Time {
	at := bytes.LastIndex(record, timeKey)
	if at < 0 {
		return time.Time{}
	}
	text := record[at+len(timeKey):]
	end := bytes.IndexByte(text, '"')
	if end < 0 {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(text[:end]))
	if err != nil {
		return time.Time{}
	}
	return t
}

var timeKey = []byte(`"time":"`)
