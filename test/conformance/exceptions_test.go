package conformance

import (
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// exception names a point of a program of the validation suite.
type exception struct{ program, point string }

// reason says why a point does not apply, and where: without holds everywhere.
type reason struct {
	text  string
	holds func() bool
	// race: the point fails or not by which of two processes is faster.
	race bool
}

func (r reason) here() bool { return r.holds == nil || r.holds() }

// measured has what the runtimes passed in this run.
var measured = map[string]map[string]outcome{}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func cgroupV1() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err != nil
}

// lacks says whether this process is without a capability.
func lacks(capability int) func() bool {
	return func() bool {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
		return err == nil && has == 0
	}
}

func missing(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err != nil
	}
}

// notApplicable is every point that hoy-run does not pass, with its reason.
var notApplicable = map[exception]reason{}
