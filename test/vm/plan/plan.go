// Package plan is what the host and the inside of a test machine say to each
// other: the steps to run, and records of how they went, one JSON object a line.
package plan

import "time"

// Places inside a machine.
const (
	// File is where the first stage leaves the plan for the second.
	File = "/run/hoy-vm/plan.json"
	// Dir holds the project's binaries and tests on the machine's disk.
	Dir = "/hoy-vm"
	// Device is the serial line that records are written to.
	Device = "/dev/ttyS1"
	// State is where a second disk is mounted, if there is one.
	State = "/state"
)

// Plan is what a machine does after its boot.
type Plan struct {
	// Init is the program that becomes process 1 on the disk.
	Init []string
	// Modules are loaded, in this order, before the disk is there.
	Modules []string
	Steps   []Step
	// Shell runs a shell on the console in the place of the steps.
	Shell bool
}

// Step is one command.
type Step struct {
	Name string
	Dir  string
	Args []string
	Env  []string
	// Limit is when it is killed.
	Limit time.Duration
}

// Record is one line that comes out of a machine.
type Record struct {
	// Step that the record is of; empty with End or Fault.
	Step string `json:",omitempty"`
	// Output of the step, in pieces as they come.
	Output []byte `json:",omitempty"`
	// Done says that the step has ended, with Code after Seconds.
	Done    bool    `json:",omitempty"`
	Code    int     `json:",omitempty"`
	Seconds float64 `json:",omitempty"`
	// Uptime is the kernel's when the record was written, in seconds.
	Uptime float64 `json:",omitempty"`
	// Fault is why the machine could not go on.
	Fault string `json:",omitempty"`
	// End is the last record: all steps have run.
	End bool `json:",omitempty"`
}
