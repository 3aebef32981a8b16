package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Load reads the command line and the file that it names, and checks the
// whole. [pflag.ErrHelp] means that the help was asked for; it is then written to help.
func Load(args []string, help io.Writer) (*Config, error) {
	flags, set := flagSet(help)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("hoyd takes no arguments, got %q; see hoyd --help", flags.Arg(0))
	}
	c := Default()
	data, err := readFile(set.File, flags.Changed("config-file"))
	if err != nil {
		return nil, err
	}
	if err := decode(data, c); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", set.File, err)
	}
	for _, o := range options {
		if o.flag != "-" && flags.Changed(o.flagName()) {
			reflect.ValueOf(o.at(c)).Elem().Set(reflect.ValueOf(o.at(set)).Elem())
		}
	}
	if c.CgroupParent == Default().CgroupParent && c.CgroupDriver() == "systemd" {
		c.CgroupParent = "system.slice" // where Docker has its containers too
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

// flagSet makes the flags; set is where they are kept.
func flagSet(help io.Writer) (flags *pflag.FlagSet, set *Config) {
	set = Default()
	flags = pflag.NewFlagSet("hoyd", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(help)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(help, "Usage:  hoyd [OPTIONS]\n\nThe hoy daemon: runs containers and serves the Docker Engine API.\n\n"+
			"Options may also stand in %s, in JSON, with the keys of dockerd's daemon.json; a flag wins.\n"+
			"SIGHUP reads it again; SIGTERM ends the daemon and leaves the containers running.\n\n"+
			"Examples:\n  hoyd                                  serve on unix:///run/hoy.sock\n"+
			"  hoyd -D -H unix:///tmp/h.sock --data-root /tmp/h --exec-root /tmp/h-run --bridge h0 --firewall-table h --cgroup-parent /h\n"+
			"                                        a second engine beside the first\n"+
			"  hoyd -H tcp://0.0.0.0:2376 --tlsverify --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem\n\nOptions:\n%s", File, flags.FlagUsages())
	}
	for _, o := range options {
		if o.flag == "-" {
			continue
		}
		v := flagValue(o.at(set))
		f := flags.VarPF(v, o.flagName(), o.short, o.usage)
		if v.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	return flags, set
}

func readFile(path string, must bool) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration file %s: larger than %d bytes", path, maxFile)
	}
	return data, nil
}

// decode reads the file's JSON into c. An unknown key is an error that names it.
func decode(data []byte, c *Config) error {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if len(data) == 0 {
		return nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return explain(data, err)
	}
	var unknown []string
	for key, raw := range keys {
		i := slices.IndexFunc(options, func(o option) bool { return o.key != "" && o.key == key })
		if i < 0 {
			unknown = append(unknown, describe(key))
			continue
		}
		if string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, options[i].at(c)); err != nil {
			if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				return fmt.Errorf("%s: got %s where %s is expected", key, wrong.Value, wrong.Type)
			}
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	return nil
}

// explain says on which line the JSON is wrong.
func explain(data []byte, err error) error {
	if bad, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(data[:min(int(bad.Offset), len(data))], []byte("\n"))
		return fmt.Errorf("line %d: %w", line, err)
	}
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errors.New("must be a JSON object")
	}
	return err
}

// describe is an unknown key with the known one that it is nearest to.
func describe(key string) string {
	best, distance := "", 1+len(key)/4
	for _, o := range options {
		for _, known := range []string{o.key, o.flag} {
			if d := editDistance(key, known); len(known) > distance && o.key != "" && d < len(key) && d <= distance {
				best, distance = o.key, d
			}
		}
	}
	if best == "" {
		return key
	}
	return fmt.Sprintf("%s (did you mean %s?)", key, best)
}

// maxKey bounds the work of the comparison below.
const maxKey = 64

// editDistance is how many characters must be added, removed or changed.
func editDistance(a, b string) int {
	if len(a) > maxKey {
		return maxKey
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
