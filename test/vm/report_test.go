package vm

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"hoy/test/vm/plan"
)

// event is one line of test2json's output.
type event struct {
	Action, Test, Output, Key, Value string
}

// outcome is what became of one test.
type outcome struct {
	// result is pass, fail, skip, or empty for a test that did not end.
	result string
	output strings.Builder
	// attrs are what the test said of itself with t.Attr.
	attrs map[string]string
}

// report is what a test binary's output tells.
type report struct {
	order []string
	tests map[string]*outcome
	// rest is output of no test: a panic, a fatal error.
	rest strings.Builder
}

// parse reads the output of a binary that ran with -test.v=test2json.
func parse(t *testing.T, output []byte) *report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	lines, err := cmd.Output()
	if err != nil {
		t.Fatalf("test2json: %v", err)
	}
	r := &report{tests: map[string]*outcome{}}
	for line := range bytes.Lines(lines) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("test2json: %q: %v", line, err)
		}
		r.take(e)
	}
	return r
}

func (r *report) take(e event) {
	if e.Test == "" {
		r.rest.WriteString(e.Output)
		return
	}
	o := r.tests[e.Test]
	if o == nil {
		o = &outcome{attrs: map[string]string{}}
		r.tests[e.Test] = o
		r.order = append(r.order, e.Test)
	}
	switch e.Action {
	case "pass", "fail", "skip":
		o.result = e.Action
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			o.output.WriteString(e.Output)
		}
	case "attr":
		o.attrs[e.Key] = e.Value
	}
}

// replay makes each test of the report a subtest of t.
func (r *report) replay(t *testing.T, code int) {
	t.Helper()
	failed := false
	for _, name := range r.order {
		o := r.tests[name]
		t.Run(name, func(t *testing.T) {
			switch o.result {
			case "pass":
			case "skip":
				t.Skip(strings.TrimSpace(o.output.String()))
			case "fail":
				failed = true
				t.Error(o.output.String())
			default:
				failed = true
				t.Errorf("did not end:\n%s", o.output.String())
			}
		})
	}
	if code != 0 && !failed || len(r.order) == 0 && *guestRun == "" {
		t.Errorf("ended with %d, %d tests:\n%s", code, len(r.order), r.rest.String())
	}
}

// steps collects a machine's records by step.
type steps struct {
	output map[string]*bytes.Buffer
	done   map[string]plan.Record
	// reports are filled by replay.
	reports map[string]*report
}

func collect(records []plan.Record) *steps {
	s := &steps{output: map[string]*bytes.Buffer{}, done: map[string]plan.Record{}, reports: map[string]*report{}}
	for _, r := range records {
		if r.Step == "" {
			continue
		}
		if s.output[r.Step] == nil {
			s.output[r.Step] = &bytes.Buffer{}
		}
		s.output[r.Step].Write(r.Output)
		if r.Done {
			s.done[r.Step] = r
		}
	}
	return s
}

// replay makes each step a subtest of t, and each of its tests one of that.
func (s *steps) replay(t *testing.T, list []plan.Step) {
	t.Helper()
	for _, step := range list {
		t.Run(step.Name, func(t *testing.T) {
			out, done := s.output[step.Name], s.done[step.Name]
			if out == nil {
				t.Fatal("the machine said nothing of it")
			}
			r := parse(t, out.Bytes())
			s.reports[step.Name] = r
			r.replay(t, done.Code)
			if !done.Done {
				t.Error("did not end")
			}
			t.Logf("%.1f s in the machine", done.Seconds)
		})
	}
}
