package server

import "hoy/internal/runtime"

// Runtime is the Starter of internal/runtime.
type Runtime struct{}

// Start is runtime.Start.
func (Runtime) Start(l *runtime.Launch) (*runtime.Process, error) { return runtime.Start(l) }

// StartExec is runtime.StartExec.
func (Runtime) StartExec(e *runtime.Exec) (*runtime.Process, error) { return runtime.StartExec(e) }
