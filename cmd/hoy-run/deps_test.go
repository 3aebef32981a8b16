package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsStayLight: the monitor lives as long as the containers, and its
// program is copied to memory; what it links, every machine pays for. What the
// verbs of an OCI runtime cannot do without is allowed: control groups with the
// libraries below them, and filters. Nothing of it runs in the monitor.
func TestImportsStayLight(t *testing.T) {
	forbidden := map[string]string{
		"net/http":                         "1 MB and a dozen goroutines' worth of state; the monitor speaks its own protocol",
		"crypto/tls":                       "nothing here leaves the machine",
		"encoding/gob":                     "builds its tables at start",
		"html/template":                    "no pages here",
		"text/template":                    "keeps the linker from dropping unused methods",
		"github.com/containerd/containerd": "the engine is the daemon's",
		"github.com/moby/moby":             "the API is the daemon's",
		"github.com/vishvananda/netlink":   "networks are made by the daemon",
		"github.com/spf13":                 "two roles need no command framework",
		"google.golang.org":                "gRPC and protobuf cost megabytes",
		"go.etcd.io/bbolt":                 "records are the daemon's",
		"github.com/fsnotify/fsnotify":     "logs are read by the daemon",
		"hoy/internal/api":                 "above the monitor",
		"hoy/internal/container":           "above the monitor",
		"hoy/internal/image":               "above the monitor",
		"hoy/internal/network":             "above the monitor",
		"hoy/internal/volume":              "above the monitor",
		"hoy/internal/event":               "above the monitor",
		"hoy/internal/store":               "records are the daemon's",
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for path, reason := range forbidden {
			if pkg == path || strings.HasPrefix(pkg, path+"/") {
				t.Errorf("imports %s: %s", pkg, reason)
			}
		}
	}
}
