// Package monitor is the protocol between the daemon and the monitor, the
// process that is the parent of every container, and both ends of it.
package monitor

import (
	"encoding/json"
	"time"

	"hoy/internal/log"
	"hoy/internal/runtime"
)

// ProcessID names a process: a container's first one where Exec is empty.
type ProcessID struct {
	Container string `json:"container"`
	Exec      string `json:"exec,omitempty"`
}

// Stdio says what the monitor keeps for a process's standard streams.
type Stdio struct {
	// Terminal: one pseudo-terminal instead of three pipes.
	Terminal bool `json:"terminal,omitempty"`
	// OpenStdin keeps standard input open with nobody attached; without it the process reads /dev/null.
	OpenStdin bool `json:"openStdin,omitempty"`
	// StdinOnce closes it when the first attached client has gone.
	StdinOnce bool `json:"stdinOnce,omitempty"`
}

// Runtime is an OCI runtime other than the built-in one: a program with the
// command line of runc.
type Runtime struct {
	Name string `json:"name"`
	// Path is absolute; Args stand before all others.
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"`
}

// StartRequest asks for a process; exactly one of Launch and Exec is set.
type StartRequest struct {
	ID     ProcessID       `json:"id"`
	Launch *runtime.Launch `json:"launch,omitempty"`
	Exec   *runtime.Exec   `json:"exec,omitempty"`
	// Runtime, where not nil, is who starts Launch; Exec goes to the runtime of its container.
	Runtime *Runtime `json:"runtime,omitempty"`
	Stdio   Stdio    `json:"stdio"`
	// Log, where not nil, keeps the output.
	Log *log.Config `json:"log,omitempty"`
	// Note is told again by List: what a daemon must know of the process that
	// was killed before it could write it down.
	Note json.RawMessage `json:"note,omitempty"`
}

// Started is a running process.
type Started struct {
	Pid int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot: with
	// Pid it names the process even after the number was used again.
	StartTime uint64    `json:"startTime"`
	At        time.Time `json:"at"`
	// Warnings are runtime.Process's; the answer to Start alone has them.
	Warnings []string `json:"warnings,omitempty"`
}

// Exit is how a process ended. The monitor keeps it until it is forgotten by Forget.
type Exit struct {
	ID ProcessID `json:"id"`
	// Code is the exit code, or 128 + the signal's number.
	Code int `json:"code"`
	// Signal that ended the process; 0 where it exited by itself.
	Signal int       `json:"signal,omitempty"`
	At     time.Time `json:"at"`
	// Unknown says, where it is not empty, why Code is not how the process ended.
	Unknown string `json:"unknown,omitempty"`
	// Dropped is how many records its log had no room for.
	Dropped uint64 `json:"dropped,omitempty"`
}

// ProcessState is one process that the monitor knows: running where Exit is nil.
type ProcessState struct {
	ID      ProcessID `json:"id"`
	Started Started   `json:"started"`
	Exit    *Exit     `json:"exit,omitempty"`
	// Dropped is how many records its log had no room for, while it runs.
	Dropped uint64 `json:"dropped,omitempty"`
	// Note of its StartRequest, while it runs.
	Note json.RawMessage `json:"note,omitempty"`
}

// AttachRequest asks for a process's streams, from now on.
type AttachRequest struct {
	ID     ProcessID `json:"id"`
	Stdin  bool      `json:"stdin,omitempty"`
	Stdout bool      `json:"stdout,omitempty"`
	Stderr bool      `json:"stderr,omitempty"`
	// Stdio must be given where the process may not have been started yet: the
	// streams are then made now, so that no byte is lost between attach and start.
	Stdio Stdio `json:"stdio"`
}
