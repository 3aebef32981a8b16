package flags

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// splitVolumes sorts -v values: those with a source are binds, with the source
// made absolute; those without are anonymous volumes.
func splitVolumes(values []string) (binds []string, anonymous map[string]struct{}, err error) {
	anonymous = map[string]struct{}{}
	for _, value := range values {
		parts, err := volumeParts(value)
		if err != nil {
			return nil, nil, err
		}
		if len(parts) == 1 {
			anonymous[value] = struct{}{}
			continue
		}
		if parts[0], err = absoluteSource(parts[0]); err != nil {
			return nil, nil, err
		}
		binds = append(binds, strings.Join(parts, ":"))
	}
	return binds, anonymous, nil
}

func volumeParts(value string) ([]string, error) {
	if value == "" {
		return nil, errors.New("invalid empty volume spec")
	}
	parts := strings.Split(value, ":")
	if len(parts) > 3 {
		return nil, fmt.Errorf("invalid spec: %s: too many colons", value)
	}
	for _, part := range parts {
		if part == "" {
			return nil, fmt.Errorf("invalid spec: %s: empty section between colons", value)
		}
	}
	if len(parts) == 1 && value == "/" {
		return nil, errors.New("invalid volume specification: '/': destination can't be '/'")
	}
	return parts, nil
}

// absoluteSource completes ./path, ../path and ~/path; a name stays a name.
func absoluteSource(source string) (string, error) {
	if source == "." || source == ".." || strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") {
		return filepath.Abs(source)
	}
	if rest, ok := strings.CutPrefix(source, "~"); ok && (rest == "" || rest[0] == '/') {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	return source, nil
}
