// Package log names what the log of a container is: the driver's configuration
// and one entry. Writers and readers are in the packages below it.
package log

import "time"

// Config says how a container's output is kept.
type Config struct {
	// Driver is "json-file" or "none".
	Driver string `json:"driver"`
	// Path of the current file; rotated ones are Path.1, Path.2 …, newest first.
	Path string `json:"path"`
	// MaxSize in bytes of one file before it is rotated; 0 is no limit.
	MaxSize int64 `json:"maxSize,omitempty"`
	// MaxFiles in all, the current one included; less than 2 means that the file is truncated at MaxSize.
	MaxFiles int `json:"maxFiles,omitempty"`
	// Attrs are written with every line (labels, env), as Docker's json-file does.
	Attrs map[string]string `json:"attrs,omitempty"`
}

// Entry is one piece of output: a line with its newline, or a part of one that
// was longer than the writer's buffer.
type Entry struct {
	// Stream is "stdout" or "stderr".
	Stream string
	Time   time.Time
	// Line includes the newline where the container wrote one.
	Line  []byte
	Attrs map[string]string
}
