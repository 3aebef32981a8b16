package oci

import (
	"flag"
	"fmt"

	"hoy/internal/oci/box"
	"hoy/internal/oci/limits"
)

func newUpdate(a *app, f *flag.FlagSet) func([]string) (int, error) {
	var l limits.Flags
	l.Define(f)
	return func(args []string) (int, error) {
		c, err := a.store.Lock(args[0], false)
		if err != nil {
			return 1, err
		}
		defer c.Close()
		r, err := l.Resources(a.in)
		if err != nil {
			return 1, err
		}
		if s := box.Status(c); s == box.Stopped || s == box.Creating {
			return 1, fmt.Errorf("container not running: %s", s)
		}
		p, err := box.Place(c)
		if err != nil {
			return 1, err
		}
		return 0, p.Update(r)
	}
}
