// Package roster keeps, in files that live as long as the machine runs, which
// processes a monitor has started and how they ended: what a monitor that is
// killed leaves to the next one.
package roster

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"hoy/internal/monitor"
)

// maxRecord bounds the record of an exit, which has some 300 bytes.
const maxRecord = 64 << 10

// Exits keeps how processes ended in a directory, one file each, until they are
// forgotten. The directory lives as long as the machine runs, so nothing is
// synced: the records outlast the monitor, not a power cut, and neither do the
// processes.
type Exits struct {
	dir string
	log *slog.Logger
}

// OpenExits makes the directory where it is not there.
func OpenExits(dir string, log *slog.Logger) (*Exits, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Exits{dir: dir, log: log}, nil
}

func (e *Exits) path(id monitor.ProcessID) string {
	return filepath.Join(e.dir, Name(id)+".json")
}

// Write keeps a record; a failure is logged, and the record is then only in memory.
func (e *Exits) Write(state monitor.ProcessState) {
	data, err := json.Marshal(state)
	if err == nil {
		aside := filepath.Join(e.dir, "."+Name(state.ID))
		if err = os.WriteFile(aside, data, 0o600); err == nil { //nolint:forbidigo // in a file system that does not outlive the machine
			err = os.Rename(aside, e.path(state.ID))
		}
		if err != nil {
			_ = os.Remove(aside)
		}
	}
	if err != nil {
		e.log.Error("the record of an exit cannot be written", "process", Name(state.ID), "error", err)
	}
}

// Remove forgets a record.
func (e *Exits) Remove(id monitor.ProcessID) { _ = os.Remove(e.path(id)) }

// Load reads every record. A torn one is set aside and reported.
func (e *Exits) Load() []monitor.ProcessState {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		e.log.Error("the records of exits cannot be read", "error", err)
		return nil
	}
	var list []monitor.ProcessState
	for _, entry := range entries {
		path := filepath.Join(e.dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			_ = os.Remove(path) // begun by a monitor that was killed
			continue
		}
		if filepath.Ext(path) != ".json" {
			continue
		}
		state, err := readRecord(path)
		if err != nil {
			e.log.Error("the record of an exit is damaged and set aside", "path", path, "error", err)
			_ = os.Rename(path, strings.TrimSuffix(path, ".json")+".damaged")
			continue
		}
		list = append(list, state)
	}
	return list
}

func readRecord(path string) (state monitor.ProcessState, err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return state, err
	}
	if fi.Size() > maxRecord {
		return state, fmt.Errorf("%d bytes are too many", fi.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, err
	}
	if CheckID(state.ID) != nil || state.Exit == nil || Name(state.ID)+".json" != filepath.Base(path) {
		return state, fmt.Errorf("it is not the record of %s", filepath.Base(path))
	}
	return state, nil
}
