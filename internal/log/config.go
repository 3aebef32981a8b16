// Package log names what the log of a container is: the driver's configuration,
// one entry, and who writes. Formats, writers and readers are in the packages
// below it.
package log

import "time"

// The drivers. Whatever the driver, the monitor writes a file: what is
// forwarded elsewhere is forwarded from it.
const (
	JSONFile = "json-file"
	Local    = "local"
	Syslog   = "syslog"
	Journald = "journald"
	None     = "none"
)

// Config says how a container's output is kept.
type Config struct {
	// Driver is one of the above; all but json-file and none write the format of local.
	Driver string `json:"driver"`
	// Path of the current file; rotated ones are Path.1, Path.2 …, newest first,
	// or Path.1.gz … where they are compressed.
	Path string `json:"path"`
	// MaxSize in bytes of one file before it is rotated; 0 is no limit.
	MaxSize int64 `json:"maxSize,omitempty"`
	// MaxFiles in all, the current one included; less than 2 means that the file is truncated at MaxSize.
	MaxFiles int `json:"maxFiles,omitempty"`
	// Compress rotated files, in the background.
	Compress bool `json:"compress,omitempty"`
	// Buffer, where not 0, is how many bytes may wait to be written; more is dropped.
	// Where it is 0, who writes waits for the page cache.
	Buffer int64 `json:"buffer,omitempty"`
	// Sent, where set, is the file that says up to which record the log was
	// forwarded; what was not is not thrown away by a rotation, the container waits.
	Sent string `json:"sent,omitempty"`
	// Unreadable: the person wants no local copy to be read.
	Unreadable bool `json:"unreadable,omitempty"`
	// Attrs are written with every line (labels, env, tag), as Docker's json-file does.
	Attrs map[string]string `json:"attrs,omitempty"`
}

// SentPath is where it is written down how far the log was forwarded.
func (c *Config) SentPath() string { return c.Path + ".sent" }

// JSON says whether the files are Docker's json-file.
func (c *Config) JSON() bool { return c.Driver == JSONFile || c.Driver == "" }

// Entry is one piece of output: a line with its newline, or a part of one that
// was longer than the writer's buffer.
type Entry struct {
	// Stream is "stdout" or "stderr".
	Stream string
	Time   time.Time
	// Line includes the newline where the container wrote one.
	Line  []byte
	Attrs map[string]string
	// Seq counts the records of a log in the format of local, from its beginning.
	Seq uint64
}

// MaxLine is the longest piece of a line that one record holds; a longer line
// is kept as several records, of which only the last ends in a newline. The
// number is Docker's.
const MaxLine = 16 << 10

// Stream is which of a process's outputs a piece came from.
type Stream uint8

// The two outputs; what a terminal shows is Stdout.
const (
	Stdout Stream = iota
	Stderr
)

// String is the name in the file.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Writer keeps one process's output. Its methods may be called from several
// goroutines. It never fails: what cannot be kept is counted.
type Writer interface {
	// Write takes output as it was read, in pieces of any size. Lines that are not
	// ended yet wait for their end, for MaxLine bytes, or for Flush.
	Write(s Stream, p []byte)
	// Flush writes a begun line as it is; it is called when the stream has ended.
	Flush(s Stream)
	// WriteAt and FlushAt do it with the time that the records get, by which they
	// are found again after a crash; p has at most 64 KiB.
	WriteAt(s Stream, at time.Time, p []byte)
	FlushAt(s Stream, at time.Time)
	// Dropped is how many records were not kept.
	Dropped() uint64
	// Release ends every wait of Write, now and later: nobody may be waited for any more.
	Release()
	// Suspend ends the Writer without ending begun lines, and returns them:
	// another one goes on with them by Begun.
	Suspend() [2][]byte
	// Begun gives a new Writer the lines that an earlier one has begun.
	Begun(lines [2][]byte)
	// Close flushes both streams. Writes after it do nothing.
	Close() error
}
