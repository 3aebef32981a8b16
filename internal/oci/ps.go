package oci

import (
	"encoding/json"
	"errors"
	"flag"

	"hoy/internal/oci/box"
	"hoy/internal/oci/report"
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
		p, err := box.Place(c)
		if err != nil {
			return 1, err
		}
		if box.Status(c) == box.Stopped && !p.Exists() {
			return 1, errors.New("container not running")
		}
		pids, err := p.Pids()
		if err != nil {
			return 1, err
		}
		if format == "json" {
			return 0, json.NewEncoder(a.out).Encode(append([]int{}, pids...))
		}
		return 0, report.Processes(a.out, pids, args[1:])
	}
}
