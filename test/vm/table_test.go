package vm

import (
	"bytes"
	"flag"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write docs/cgroups.md")

// column is one machine's results of the guest test.
type column struct {
	title  string
	report *report
}

// columns are filled by the tests that run before TestTable.
var columns = map[string]*column{}

// order of the table's columns.
var order = []string{"host", "bare", "systemd"}

var titles = map[string]string{
	"host": "hybrid, cgroupfs, Linux " + release(), "bare": "version 2, cgroupfs, no systemd",
	"systemd": "version 2, driver systemd",
}

// release is the first two numbers of the running kernel's version.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "?"
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func keep(name string, r *report) { columns[name] = &column{titles[name], r} }

func hybrid() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC
}

// differ lists the lines that only one of two texts has.
func differ(was, is string) string {
	var b strings.Builder
	side := func(sign, of, other string) {
		for line := range strings.Lines(of) {
			if !strings.Contains(other, line) {
				b.WriteString(sign + line)
			}
		}
	}
	side("- ", was, is)
	side("+ ", is, was)
	return b.String()
}

const preface = "# Cgroups, by machine\n\n" +
	"What `test/vm/guest` gave on machines whose cgroups differ: a hybrid one (version 1 with a version 2 tree beside it) and\n" +
	"Debian 12 with its kernel 6.1 in an emulated machine. `go test ./test/vm` runs it everywhere and compares with this page;\n" +
	"`-update` writes it. Words in `quotes` are a control file and its value; — is a limit that the machine cannot express.\n\n"

// page is the table as Markdown. Times are not in it.
func page() []byte {
	b := bytes.NewBufferString(preface)
	b.WriteString("| what |")
	line := "\n|---|"
	for _, c := range order {
		b.WriteString(" " + columns[c].title + " |")
		line += "---|"
	}
	b.WriteString(line + "\n")
	for _, name := range rows() {
		fmt.Fprintf(b, "| %s |", words(name))
		for _, c := range order {
			b.WriteString(" " + cell(columns[c].report, name) + " |")
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

// rows are all tests that have none below them, in the order of the first column that has them.
func rows() []string {
	parents, seen := map[string]bool{}, map[string]bool{}
	var names []string
	for _, c := range order {
		for _, name := range columns[c].report.order {
			if i := strings.LastIndex(name, "/"); i > 0 {
				parents[name[:i]] = true
			}
		}
	}
	for _, c := range order {
		at := len(names)
		for _, name := range columns[c].report.order {
			if seen[name] {
				at = index(names, name) + 1
				continue
			}
			if parents[name] && !skipped(columns[c].report, name) || !strings.Contains(name, "/") {
				continue
			}
			seen[name] = true
			names = append(names[:at:at], append([]string{name}, names[at:]...)...)
			at++
		}
	}
	return names
}

func skipped(r *report, name string) bool { return r.tests[name].result == "skip" }

func index(list []string, name string) int {
	for i, n := range list {
		if n == name {
			return i
		}
	}
	return len(list) - 1
}

// words makes a test's name a phrase: its parents, then what it says.
func words(name string) string {
	_, name, _ = strings.Cut(name, "/")
	return strings.ReplaceAll(strings.ReplaceAll(name, "_", " "), "/", ": ")
}

// cell is the outcome of one test on one machine, with what it said of itself.
func cell(r *report, name string) string {
	o := r.tests[name]
	for parent := name; o == nil; {
		i := strings.LastIndex(parent, "/")
		if i < 0 {
			return ""
		}
		parent = parent[:i]
		if p := r.tests[parent]; p != nil && p.result == "skip" {
			o = p
		}
	}
	switch o.result {
	case "pass":
		if o.attrs["says"] != "" {
			return o.attrs["says"]
		}
		return "yes"
	case "skip":
		return "— " + reason(o.output.String())
	default:
		return "**FAILS**"
	}
}

// reason is a skip's text without its place in the source.
func reason(output string) string {
	for line := range strings.Lines(output) {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return text
			}
		}
	}
	return ""
}
