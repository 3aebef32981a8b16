// Package oci is the OCI runtime's command line: the verbs of the runtime
// specification and those that runc has made common, with its flags, texts and
// exit codes. Each verb is a process of its own, which finds the container in
// package state and does its work through package runtime.
package oci

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/oci/self"
	"hoy/internal/oci/state"
	"hoy/internal/version"
)

// app is what the global flags say.
type app struct {
	root     string
	systemd  bool
	rootless string
	log      *logger
	store    *state.Store
	out, err io.Writer
	in       io.Reader
	// seals: this process is the program's own, which may execute itself anew.
	seals bool
	failpoint
}

// verb is one command. run gets a flag set to fill and parse with the rest of
// the line, and gives the exit code.
type verb struct {
	name, args, about string
	// most and least are how many words there may be behind the flags; most
	// below 0 means any number.
	least, most int
	// failCode is the exit code of an error; 0 stands for 1.
	failCode int
	// quiet verbs put no "NAME failed" before an error.
	quiet bool
	// forks: a process of a container begins as a copy of this one.
	forks bool
	new   func(a *app, f *flag.FlagSet) func(args []string) (int, error)
}

// Verbs are the names that make a command line one of this package's.
func verbs() []verb {
	return []verb{
		{"create", "CONTAINER", "create a container", 1, 1, 0, false, true, newCreate},
		{"delete", "CONTAINER", "delete any resources held by a container", 1, 1, 0, true, false, newDelete},
		{"events", "CONTAINER", "display statistics and out-of-memory notifications", 1, 1, 0, true, false, newEvents},
		{"exec", "CONTAINER COMMAND [ARG...] | --process FILE CONTAINER", "execute a new process inside a container", 1, -1, 255, false, true, newExec},
		{"features", "", "show what the runtime can do, as JSON", 0, 0, 0, true, false, newFeatures},
		{"kill", "CONTAINER [SIGNAL]", "send a signal to the container's first process (default: SIGTERM)", 1, 2, 0, true, false, newKill},
		{"list", "", "list the containers of the root directory", 0, 0, 0, true, false, newList},
		{"pause", "CONTAINER", "suspend all processes of a container", 1, 1, 0, true, false, newPause},
		{"ps", "CONTAINER [PS-OPTION...]", "show the processes of a container", 1, -1, 0, true, false, newPs},
		{"resume", "CONTAINER", "resume all processes that were paused", 1, 1, 0, true, false, newResume},
		{"run", "CONTAINER", "create and start a container", 1, 1, 0, false, true, newRun},
		{"spec", "", "write a specification to begin with", 0, 0, 0, true, false, newSpec},
		{"start", "CONTAINER", "start the process of a created container", 1, 1, 0, true, false, newStart},
		{"state", "CONTAINER", "show the state of a container as JSON", 1, 1, 0, true, false, newState},
		{"update", "CONTAINER", "change a container's limits", 1, 1, 0, true, false, newUpdate},
	}
}

// Main runs a command line without the program's name and gives the exit code.
func Main(args []string) int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	a.seals = true
	return a.main(args)
}

func newApp(in io.Reader, out, err io.Writer) *app {
	return &app{in: in, out: out, err: err, log: &logger{to: err}}
}

func (a *app) main(args []string) int {
	f := flag.NewFlagSet("hoy-run", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	var logFile, format, criu string
	var debug, show, showShort bool
	f.StringVar(&a.root, "root", "", "directory of the containers' state, on a tmpfs")
	f.StringVar(&logFile, "log", "", "file to write the log to (default: standard error)")
	f.StringVar(&format, "log-format", "text", "format of the log: text or json")
	f.BoolVar(&debug, "debug", false, "log what is being done")
	f.BoolVar(&a.systemd, "systemd-cgroup", false, `let systemd make control groups; cgroupsPath is "slice:prefix:name"`)
	f.StringVar(&a.rootless, "rootless", "auto", "ignore what may not be done with control groups: true, false or auto")
	f.StringVar(&criu, "criu", "", "taken for compatibility; there is no checkpoint")
	f.BoolVar(&show, "version", false, "print the version")
	f.BoolVar(&showShort, "v", false, "print the version")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp), err == nil && !show && !showShort && (f.NArg() == 0 || f.Arg(0) == "help"):
		a.usage(a.out, f)
		return 0
	case err != nil:
		a.usage(a.err, f)
		a.log.error(err)
		return 1
	case show || showShort:
		fmt.Fprint(a.out, Version())
		return 0
	}
	if err := a.setUp(logFile, format, debug); err != nil {
		a.log.error(err)
		return 1
	}
	for _, v := range verbs() {
		if v.name == f.Arg(0) {
			if v.forks && a.seals {
				if err := self.Seal(); err != nil {
					a.log.debug("run from a read-only mount: %v", err)
				}
			}
			return a.run(v, f.Args()[1:])
		}
	}
	a.log.error(fmt.Errorf("No help topic for '%s'", f.Arg(0))) //nolint:staticcheck // the words that callers know
	return 3
}

// Version is what --version prints; podman, docker and containerd read its lines.
func Version() string {
	return fmt.Sprintf("hoy-run version %s\ncommit: %s\nspec: %s\n", version.Version, version.Commit, specs.Version)
}

func (a *app) setUp(logFile, format string, debug bool) error {
	if format != "text" && format != "json" {
		return fmt.Errorf("invalid log-format: %s", format)
	}
	if a.rootless != "auto" {
		if _, err := strconv.ParseBool(a.rootless); err != nil {
			return fmt.Errorf("--rootless must be true, false or auto, not %q", a.rootless)
		}
	}
	a.log.json, a.log.debugs = format == "json", debug
	if logFile != "" && logFile != "/dev/stderr" {
		if err := a.log.open(logFile); err != nil {
			return err
		}
	}
	if a.root == "" {
		a.root = "/run/hoy-oci"
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
			a.root = filepath.Join(dir, "hoy-oci")
		}
	}
	root, err := filepath.Abs(a.root)
	a.root, a.store = root, state.New(root)
	return err
}

func (a *app) run(v verb, args []string) int {
	f := flag.NewFlagSet(v.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	work := v.new(a, f)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		v.usage(a.out, f)
		return 0
	}
	if n := f.NArg(); err == nil && (n < v.least || v.most >= 0 && n > v.most) {
		what := fmt.Sprintf("exactly %d", v.least)
		if v.most != v.least {
			what = fmt.Sprintf("a minimum of %d", v.least)
			if n > v.least {
				what = fmt.Sprintf("a maximum of %d", v.most)
			}
		}
		err = fmt.Errorf("hoy-run: %q requires %s argument(s)", v.name, what)
	}
	if err != nil {
		fmt.Fprint(a.err, "Incorrect Usage.\n\n")
		v.usage(a.err, f)
		a.log.error(err)
		return 1
	}
	code, err := work(f.Args())
	if err == nil {
		return code
	}
	if !v.quiet {
		err = fmt.Errorf("hoy-run %s failed: %w", v.name, err)
		if v.name == "exec" {
			err = fmt.Errorf("exec failed: %w", errors.Unwrap(err))
		}
	}
	a.log.error(err)
	return max(code, v.failCode, 1)
}

func (v verb) usage(w io.Writer, f *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: hoy-run [GLOBAL OPTIONS] %s\n\n%s\n", strings.TrimSpace(v.name+" [OPTIONS] "+v.args), v.about)
	flags(w, "Options", f)
}

func (a *app) usage(w io.Writer, f *flag.FlagSet) {
	fmt.Fprint(w, "Usage: hoy-run [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARG...]\n\nAn OCI runtime.\n\nCommands:\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-10s %s\n", v.name, v.about)
	}
	flags(w, "Global options", f)
}

// flags prints flags in two dashes, those of one letter beside their long name.
func flags(w io.Writer, title string, f *flag.FlagSet) {
	first := true
	f.VisitAll(func(fl *flag.Flag) {
		if first {
			fmt.Fprintf(w, "\n%s:\n", title)
			first = false
		}
		dash := "--"
		if len(fl.Name) == 1 {
			dash = "-"
		}
		fmt.Fprintf(w, "  %-24s %s\n", dash+fl.Name, fl.Usage)
	})
}

// both defines a flag by its long and its short name.
func both[T any](define func(*T, string, T, string), to *T, long, short string, value T, about string) {
	define(to, long, value, about)
	define(to, short, value, "the same as --"+long)
}

// list is a flag that may be given often.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
