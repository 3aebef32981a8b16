package format

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"unicode"
)

// Parse parses a Go template with the functions that Docker's --format has:
// json, split, join, title, lower, upper, pad, truncate.
func Parse(text string) (*template.Template, error) {
	tmpl, err := template.New("").Funcs(functions()).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return tmpl, nil
}

func templateError(err error) error {
	var exec template.ExecError
	if errors.As(err, &exec) {
		return fmt.Errorf("template parsing error: %w", err)
	}
	return err
}

func functions() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			text, err := marshal(v)
			return string(text), err
		},
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// join accepts the []any that decoded JSON has, besides []string.
func join(list any, sep string) (string, error) {
	switch l := list.(type) {
	case []string:
		return strings.Join(l, sep), nil
	case []any:
		parts := make([]string, len(l))
		for i, v := range l {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, sep), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("join: %T is no list", list)
}

func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = unicode.IsSpace(r) || r == '-'
		if was {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// padMax bounds what a template can ask for.
const padMax = 1 << 16

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	clamp := func(n int) int { return max(0, min(n, padMax)) }
	return strings.Repeat(" ", clamp(before)) + s + strings.Repeat(" ", clamp(after))
}

func truncate(s string, n int) string {
	if runes := []rune(s); n >= 0 && len(runes) > n {
		return string(runes[:n])
	}
	return s
}

// Execute runs a template over one value and ends the line.
func Execute(w io.Writer, text string, value any) error {
	tmpl, err := Parse(text)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, value); err != nil {
		return templateError(err)
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}
