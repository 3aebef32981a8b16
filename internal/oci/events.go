package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"sync"
	"time"

	"hoy/internal/oci/box"
	"hoy/internal/oci/report"
)

func newEvents(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var interval time.Duration
	var once bool
	f.DurationVar(&interval, "interval", 5*time.Second, "time between two statistics")
	f.BoolVar(&once, "stats", false, "print the statistics once")
	return func(args []string) (int, error) {
		if interval <= 0 {
			return 1, errors.New("duration interval must be greater than 0")
		}
		return 0, a.events(args[0], interval, once)
	}
}

func (a *app) events(id string, interval time.Duration, once bool) error {
	c, err := a.store.Open(id)
	if err != nil {
		return err
	}
	if box.Status(c) == box.Stopped {
		return errors.New("container with id " + id + " is not running")
	}
	p, err := box.Place(c)
	if err != nil {
		return err
	}
	var mu sync.Mutex // one line at a time
	out := json.NewEncoder(a.out)
	write := func(e report.Event) error {
		mu.Lock()
		defer mu.Unlock()
		return out.Encode(e)
	}
	if once {
		e, err := report.Stats(id, p)
		if err != nil {
			return err
		}
		return write(e)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- report.OOM(p, func() { _ = write(report.Event{Type: "oom", ID: id}) })
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		if !c.Alive() {
			return nil
		}
		e, err := report.Stats(id, p)
		if err != nil {
			a.log.warn("%v", err)
			continue
		}
		if err := write(e); err != nil {
			return err
		}
	}
}

func newFeatures(a *app, _ *flag.FlagSet) func([]string) (int, error) {
	return func([]string) (int, error) {
		out := json.NewEncoder(a.out)
		out.SetIndent("", "    ")
		return 0, out.Encode(report.Features())
	}
}
