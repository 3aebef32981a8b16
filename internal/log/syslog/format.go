package syslog

import (
	"strconv"
	"time"

	"hoy/internal/log"
)

// header is what stands before a message, for one container.
type header struct {
	facility  int
	host, tag string
	pid       string
}

// formats are the values of syslog-format. The first is that of local logs, which name no host.
var formats = map[string]func(dst []byte, h *header, priority int, at time.Time) []byte{
	"":             unixHeader,
	"rfc3164":      rfc3164,
	"rfc5424":      func(dst []byte, h *header, p int, at time.Time) []byte { return rfc5424(dst, h, p, at, time.RFC3339) },
	"rfc5424micro": func(dst []byte, h *header, p int, at time.Time) []byte { return rfc5424(dst, h, p, at, micro) },
}

// micro is RFC 5424's finest time.
const micro = "2006-01-02T15:04:05.000000Z07:00"

func appendPriority(dst []byte, p int) []byte {
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(p), 10)
	return append(dst, '>')
}

func unixHeader(dst []byte, h *header, p int, at time.Time) []byte {
	dst = appendPriority(dst, p)
	dst = at.AppendFormat(dst, time.Stamp)
	dst = append(dst, ' ')
	return appendTag(dst, h)
}

func rfc3164(dst []byte, h *header, p int, at time.Time) []byte {
	dst = appendPriority(dst, p)
	dst = at.AppendFormat(dst, time.Stamp)
	dst = append(dst, ' ')
	dst = append(dst, h.host...)
	dst = append(dst, ' ')
	return appendTag(dst, h)
}

func appendTag(dst []byte, h *header) []byte {
	dst = append(dst, h.tag...)
	dst = append(dst, '[')
	dst = append(dst, h.pid...)
	return append(dst, "]: "...)
}

// rfc5424 has the tag twice, as the application's name and as the message's id:
// servers make their old tag of the first.
func rfc5424(dst []byte, h *header, p int, at time.Time, layout string) []byte {
	dst = appendPriority(dst, p)
	dst = append(dst, "1 "...)
	dst = at.AppendFormat(dst, layout)
	for _, s := range []string{h.host, h.tag, h.pid, h.tag} {
		dst = append(dst, ' ')
		dst = append(dst, s...)
	}
	return append(dst, " - "...)
}

const (
	severityError = 3
	severityInfo  = 6
)

func (h *header) priority(e *log.Entry) int {
	if e.Stream == "stderr" {
		return h.facility<<3 | severityError
	}
	return h.facility<<3 | severityInfo
}
