package main

import "golang.org/x/sys/unix"

// portCalls give access to the machine's ports.
var portCalls = map[string]uintptr{"iopl": unix.SYS_IOPL, "ioperm": unix.SYS_IOPERM}
