package oci

import (
	"errors"
	"flag"
)

func newEvents(a *app, f *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) { return 1, errors.New("not yet") }
}
func newFeatures(a *app, f *flag.FlagSet) func([]string) (int, error) {
	return func(args []string) (int, error) { return 1, errors.New("not yet") }
}
