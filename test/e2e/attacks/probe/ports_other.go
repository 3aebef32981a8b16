//go:build !amd64

package main

// portCalls: other architectures have no ports.
var portCalls = map[string]uintptr{}
