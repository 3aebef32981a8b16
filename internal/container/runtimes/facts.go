package runtimes

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"hoy/internal/version"
)

// Info is what is told of one runtime.
type Info struct {
	Path string
	Args []string
	// Features is the answer to the command "features", in JSON; empty where
	// the runtime has no such command.
	Features string
	// Commit is what "--version" says of the build, or else the version.
	Commit string
}

// facts are what a program said of itself, and which program that was.
type facts struct {
	size             int64
	changed          time.Time
	features, commit string
}

const (
	// askTime bounds how long a runtime may take to describe itself, maxAnswer how much it may say.
	askTime   = 5 * time.Second
	maxAnswer = 256 << 10
)

// List describes every runtime that has a name.
func (t *Table) List() map[string]Info {
	t.mu.Lock()
	all := map[string]Runtime{BuiltIn: {}}
	for _, name := range Stock {
		all[name] = Runtime{Path: t.runc}
	}
	for name, rt := range t.list {
		all[name] = rt
	}
	t.mu.Unlock()
	out := make(map[string]Info, len(all))
	for name, rt := range all {
		info := Info{Path: rt.Path, Args: rt.Args}
		if rt.Path == "" {
			info.Path = t.self
		}
		f := t.ask(info.Path, info.Args)
		info.Features, info.Commit = f.features, f.commit
		if rt.Path == "" {
			info.Commit = version.Version
		}
		out[name] = info
	}
	return out
}

// ask has the program describe itself, once as long as it is the same file.
func (t *Table) ask(path string, args []string) facts {
	found, err := program(path)
	if err != nil {
		return facts{}
	}
	st, err := os.Stat(found)
	if err != nil {
		return facts{}
	}
	key := found + "\x00" + strings.Join(args, "\x00")
	t.mu.Lock()
	f, ok := t.facts[key]
	t.mu.Unlock()
	if ok && f.size == st.Size() && f.changed.Equal(st.ModTime()) {
		return f
	}
	f = facts{size: st.Size(), changed: st.ModTime()}
	var compact bytes.Buffer
	if text := say(found, args, "features"); json.Compact(&compact, text) == nil && bytes.HasPrefix(compact.Bytes(), []byte("{")) {
		f.features = compact.String()
	}
	f.commit = commit(string(say(found, args, "--version")))
	t.mu.Lock()
	t.facts[key] = f
	t.mu.Unlock()
	return f
}

// say runs one command that changes nothing; nothing is what it says where it fails.
func say(path string, args []string, verb string) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(args[:len(args):len(args)], verb)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(out, maxAnswer))
	if len(text) == maxAnswer {
		cancel() // it may never end
	}
	if cmd.Wait() != nil {
		return nil
	}
	return text
}

// commit finds the build in what runc, crun and others print as their version:
// a line "commit: …", or else the last word of the first line.
func commit(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "commit: "); ok {
			return id
		}
	}
	words := strings.Fields(lines[0])
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
