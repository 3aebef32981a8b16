package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

func newPs(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var format string
	both(f.StringVar, &format, "format", "f", "table", "table or json")
	return func(args []string) (int, error) {
		if format != "table" && format != "json" {
			return 1, errors.New("invalid format option")
		}
		c, err := a.store.Open(args[0])
		if err != nil {
			return 1, err
		}
		p, err := place(c)
		if err != nil {
			return 1, err
		}
		if status(c) == stopped && !p.Exists() {
			return 1, errors.New("container not running")
		}
		pids, err := p.Pids()
		if err != nil {
			return 1, err
		}
		if format == "json" {
			return 0, json.NewEncoder(a.out).Encode(append([]int{}, pids...))
		}
		return 0, a.ps(pids, args[1:])
	}
}

// ps prints the lines of the host's ps about pids.
func (a *app) ps(pids []int, args []string) error {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.Command("ps", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	column := slices.Index(strings.Fields(lines[0]), "PID")
	if column < 0 {
		return errors.New("couldn't find PID field in ps output")
	}
	fmt.Fprintln(a.out, lines[0])
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			fmt.Fprintln(a.out, line)
		}
	}
	return nil
}
