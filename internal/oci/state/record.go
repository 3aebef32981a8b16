// Package state keeps what the OCI command line must remember of a container
// between two verbs: a directory with one checked record, a copy of the
// specification, the socket at which the container waits to be started, and a
// lock. What runs is never taken from the record alone: the kernel is asked.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/program"
)

// Phase is how far a container has come by the verbs' own doing.
type Phase string

// The phases, in their order.
const (
	Creating Phase = "creating"
	Created  Phase = "created"
	Started  Phase = "started"
	Deleted  Phase = "deleted"
)

// Record is what is known of a container.
type Record struct {
	ID      string    `json:"id"`
	Phase   Phase     `json:"phase"`
	Bundle  string    `json:"bundle"`
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   int       `json:"owner"`
	// Pid is the first process's, and Birth its start time in the kernel's
	// ticks: together they are never given to another process.
	Pid   int    `json:"pid,omitempty"`
	Birth uint64 `json:"birth,omitempty"`
	// CgroupsPath and Systemd name the control group, as package cgroup takes them.
	CgroupsPath string            `json:"cgroupsPath"`
	Systemd     bool              `json:"systemd,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Namespaces are those that the container does not share with the host.
	Namespaces []specs.LinuxNamespaceType `json:"namespaces"`
	// Faults reads the word of the process while it waits.
	Faults *program.Faults `json:"faults,omitempty"`
	// Poststop counts the poststop hooks that have run.
	Poststop int `json:"poststop,omitempty"`
}

// envelope is the record's file: the sum tells a torn one.
type envelope struct {
	Sum    string          `json:"crc32"`
	Record json.RawMessage `json:"record"`
}

// maxRecord bounds the file that is read.
const maxRecord = 4 << 20

// ErrTorn is the error of a record that is not as it was written.
var ErrTorn = errors.New("the container's record is damaged")

func encode(r *Record) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{sum(data), data})
}

func decode(data []byte) (*Record, error) {
	var e envelope
	if len(data) > maxRecord || json.Unmarshal(data, &e) != nil || e.Sum != sum(e.Record) {
		return nil, ErrTorn
	}
	r := new(Record)
	if err := json.Unmarshal(e.Record, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return r, nil
}

func sum(data []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(data)) }

// Alive says whether the first process is there and has not ended.
func (r *Record) Alive() bool {
	if r.Pid <= 0 {
		return false
	}
	birth, ended, err := Birth(r.Pid)
	return err == nil && !ended && birth == r.Birth
}

// Birth reads when a process was started, in ticks since boot, and whether it
// has ended and only waits to be reaped.
func Birth(pid int) (ticks uint64, ended bool, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false, err
	}
	// The name in parentheses may hold anything; the fields begin after its end.
	i := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[i+1:]))
	const state, starttime = 0, 19
	if i < 0 || len(fields) <= starttime {
		return 0, false, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	ticks, err = strconv.ParseUint(fields[starttime], 10, 64)
	return ticks, fields[state] == "Z" || fields[state] == "X", err
}
