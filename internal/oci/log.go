package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// logger writes what callers read in the form that they know: a line of
// level, message and time, as text or JSON.
type logger struct {
	to     io.Writer
	file   bool // to is a file of the caller's, beside standard error
	json   bool
	debugs bool
}

func (l *logger) open(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	l.to, l.file = f, true
	return nil
}

func (l *logger) line(level, msg string) {
	now := time.Now().UTC().Format(time.RFC3339)
	if l.json {
		data, err := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, msg, now})
		if err == nil {
			_, _ = l.to.Write(append(data, '\n'))
		}
		return
	}
	_, _ = fmt.Fprintf(l.to, "time=%q level=%s msg=%s\n", now, level, strconv.Quote(msg))
}

// error is the last word of a verb that failed: in the log, and in plain words
// on standard error where that is not the log.
func (l *logger) error(err error) {
	l.line("error", err.Error())
	if l.file {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
}

func (l *logger) warn(format string, args ...any) {
	l.line("warning", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *logger) debug(format string, args ...any) {
	if l.debugs {
		l.line("debug", fmt.Sprintf(format, args...))
	}
}
