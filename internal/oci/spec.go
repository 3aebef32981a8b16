package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"

	"hoy/internal/durable"
	"hoy/internal/oci/config"
)

func newSpec(_ *app, f *flag.FlagSet) func([]string) (int, error) {
	var bundle string
	var rootless bool
	both(f.StringVar, &bundle, "bundle", "b", "", "path of the bundle's directory (default: the current one)")
	f.BoolVar(&rootless, "rootless", false, "for a container without root's privileges")
	return func([]string) (int, error) {
		name := filepath.Join(bundle, "config.json")
		if _, err := os.Lstat(name); err == nil {
			return 1, errors.New("File config.json exists. Remove it first") //nolint:staticcheck // the words that callers know
		}
		s := config.Example()
		if rootless {
			config.WithoutRoot(s)
		}
		data, err := json.MarshalIndent(s, "", "\t")
		if err != nil {
			return 1, err
		}
		return 0, durable.WriteFile(name, append(data, '\n'), 0o644)
	}
}
