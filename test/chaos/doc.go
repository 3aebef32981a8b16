// Package chaos kills the engine's daemon while everything is being done, breaks
// each step of what it does, and asks afterwards what it cost: nothing.
//
// TestLoop: eight workers do 300 random operations while hoyd is killed with
// SIGKILL every second and started again. Its containers write numbered lines
// both to their log and to a file in a volume, and end with a code that only
// they know. At the end each line of the files is in the logs, each exit code is
// the one that the file tells, what clients were told is what there is, and
// test/e2e/engine/audit finds no difference between engine and machine. All the
// while 100 TCP connections through published ports carry numbers to and fro,
// and in the middle the monitor is handed over to its successor.
//
// TestFaults: for each system call that changes something and that the daemon or
// the monitor makes for a create, start, stop, remove, pull or commit, the call
// fails, is late, or the daemon is killed in front of it. Then the same operation
// is done again and must succeed, and the audit must find nothing left over (what
// a failed removal left, it must not find after the next start). The
// real programs run, with nothing in them for this: the kernel asks the test
// before each such call (see supervisor).
//
// In go test ./test/chaos both take a minute together: one loop, and a sample of
// the steps. make chaos runs the long form: more loops, of them some with a
// daemon and a monitor of another version at every start, some in which the
// monitor is killed as well, and all steps.
//
// Each loop prints its seed; HOY_CHAOS_SEED=n repeats the choices of one. What
// the workers choose is the same then, how they fall in time is not.
package chaos
