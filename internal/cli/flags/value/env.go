package value

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// lookupEnv is where names without a value are looked up.
var lookupEnv = os.LookupEnv

// ReadEnv returns the variables of the files, then those given one by one.
func ReadEnv(files, given []string) ([]string, error) {
	var env []string
	for _, file := range files {
		pairs, err := readPairs(file, true)
		if err != nil {
			return nil, err
		}
		env = append(env, pairs...)
	}
	return append(env, given...), nil
}

// ReadLabels returns the labels of the files, overridden by those given.
func ReadLabels(files, given []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, file := range files {
		pairs, err := readPairs(file, false)
		if err != nil {
			return nil, err
		}
		AddPairs(labels, pairs)
	}
	AddPairs(labels, given)
	return labels, nil
}

func AddPairs(to map[string]string, pairs []string) {
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		to[key] = value
	}
}

// fileMax bounds a file of variables or labels.
const fileMax = 16 << 20

// readPairs reads a file of NAME=value lines; lines that begin with # and empty
// ones are skipped. A NAME alone takes its value from the environment, where
// fromEnv asks for it, and is left out where there is none.
func readPairs(path string, fromEnv bool) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) > fileMax {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, fileMax)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var pairs []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, fileMax+1)
	for n := 1; lines.Scan(); n++ {
		if !utf8.Valid(lines.Bytes()) {
			return nil, fmt.Errorf("env file %s contains invalid utf8 bytes at line %d: %v", path, n, lines.Bytes())
		}
		line := strings.TrimLeftFunc(lines.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if key == "" {
			return nil, fmt.Errorf("invalid environment file (%s): no variable name on line '%s'", path, line)
		}
		if strings.ContainsFunc(key, unicode.IsSpace) {
			return nil, fmt.Errorf("invalid env file (%s): variable '%s' contains whitespaces", path, key)
		}
		if !ok && fromEnv {
			if value, ok = lookupEnv(key); !ok {
				continue
			}
		}
		if !ok {
			pairs = append(pairs, key)
			continue
		}
		pairs = append(pairs, key+"="+value)
	}
	return pairs, lines.Err()
}
