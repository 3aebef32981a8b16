package flags

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// securityOptions completes --security-opt: the file of a seccomp profile is
// read here, since the daemon cannot see it, and systempaths=unconfined becomes
// empty lists of masked and read-only paths.
func securityOptions(values []string) (options, masked, readOnly []string, err error) {
	for _, value := range values {
		if value == "systempaths=unconfined" {
			masked, readOnly = []string{}, []string{}
			continue
		}
		key, val, ok := strings.Cut(value, "=")
		if !ok && value != "no-new-privileges" {
			if key, val, ok = strings.Cut(value, ":"); !ok {
				return nil, nil, nil, fmt.Errorf("Invalid --security-opt: %q", value) //nolint:staticcheck // users know this sentence
			}
		}
		if key == "seccomp" && val != "unconfined" && val != "builtin" {
			profile, err := readProfile(val)
			if err != nil {
				return nil, nil, nil, err
			}
			value = "seccomp=" + profile
		}
		options = append(options, value)
	}
	return options, masked, readOnly, nil
}

func readProfile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", path, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", path, err)
	}
	return out.String(), nil
}
