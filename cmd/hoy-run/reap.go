package main

import "hoy/internal/runtime/reaper"

// reap becomes PID 1 of a container; the command may stand behind "--".
func reap(args []string) int {
	return reaper.Main(args)
}
