// Package format writes lists and objects the way --format asks for: Docker's
// tables, Go templates over the fields of a row, or JSON.
package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// Row is one object of a list: the fields that templates see as {{.Name}} and
// {{json .}} writes.
type Row map[string]any

// labelsKey holds the labels of a row, out of reach of templates and JSON.
const labelsKey = ""

// WithLabels lets templates ask {{.Label "key"}} of the row.
func (r Row) WithLabels(labels map[string]string) Row {
	r[labelsKey] = labels
	return r
}

// Label returns the value of one label.
func (r Row) Label(name string) string {
	labels, _ := r[labelsKey].(map[string]string)
	return labels[name]
}

// MarshalJSON writes the fields, sorted by name, as Docker does: <, > and & as
// escapes.
func (r Row) MarshalJSON() ([]byte, error) {
	fields := maps.Clone(map[string]any(r))
	delete(fields, labelsKey)
	return json.Marshal(fields)
}

// headerRow answers templates with the headings in place of values.
type headerRow map[string]any

// Label returns the heading for one label: its last part.
func (h headerRow) Label(name string) string {
	parts := strings.Split(name, ".")
	return strings.NewReplacer("-", " ", "_", " ").Replace(parts[len(parts)-1])
}

// Table describes the lists of one verb.
type Table struct {
	// Columns are the fields of the default view, in order.
	Columns []string
	// Quiet is the field that -q prints alone.
	Quiet string
	// Headers are the headings of all fields, by name.
	Headers map[string]string
	// Shrink names the columns that give way, in this order, where the default
	// view is wider than the terminal. Nothing shrinks below shrinkMin.
	Shrink []string
}

const shrinkMin = 12

// Options are the flags that shape a list.
type Options struct {
	Format string // as typed; empty and "table" are the default view
	Quiet  bool
	// Width is the terminal's width; 0 writes everything in full.
	Width int
	// Warnings is where a contradiction between flags is told; may be nil.
	Warnings io.Writer
}

// Uses reports whether a format asks for the field.
func Uses(format, field string) bool {
	for rest := format; ; {
		_, after, found := strings.Cut(rest, "."+field)
		if !found {
			return format == "json" || strings.Contains(format, "json .}}")
		}
		if after == "" || !isWord(after[0]) {
			return true
		}
		rest = after
	}
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Write writes rows.
func (t *Table) Write(w io.Writer, opt Options, rows []Row) error {
	switch {
	case opt.Quiet:
		if opt.Format != "" && opt.Format != "table" && opt.Warnings != nil {
			fmt.Fprintln(opt.Warnings, "WARNING: Ignoring custom format, because both --format and --quiet are set.")
		}
		return t.writeQuiet(w, rows)
	case opt.Format == "" || opt.Format == "table":
		return t.writeDefault(w, opt.Width, rows)
	case opt.Format == "json":
		return writeJSONLines(w, rows)
	}
	text, isTable := strings.CutPrefix(opt.Format, "table")
	if isTable {
		text = strings.Trim(text, " ")
	}
	tmpl, err := Parse(strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text))
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if isTable {
		header := headerRow{}
		for name, heading := range t.Headers {
			header[name] = heading
		}
		if err := tmpl.Execute(&body, header); err != nil {
			return templateError(err)
		}
		body.WriteByte('\n')
	}
	for _, row := range rows {
		if err := tmpl.Execute(&body, row); err != nil {
			return templateError(err)
		}
		body.WriteByte('\n')
	}
	if !isTable {
		_, err = body.WriteTo(w)
		return err
	}
	tabs := newTabWriter(w)
	if _, err := body.WriteTo(tabs); err != nil {
		return err
	}
	return tabs.Flush()
}

func (t *Table) writeQuiet(w io.Writer, rows []Row) error {
	var out strings.Builder
	for _, row := range rows {
		fmt.Fprintln(&out, row[t.Quiet])
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func writeJSONLines(w io.Writer, rows []Row) error {
	for _, row := range rows {
		line, err := row.MarshalJSON()
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// writeDefault writes the default view without a template: it is the one that
// most calls want.
func (t *Table) writeDefault(w io.Writer, width int, rows []Row) error {
	cells := make([][]string, 0, len(rows)+1)
	head := make([]string, len(t.Columns))
	for i, name := range t.Columns {
		head[i] = t.Headers[name]
	}
	cells = append(cells, head)
	for _, row := range rows {
		line := make([]string, len(t.Columns))
		for i, name := range t.Columns {
			line[i] = fmt.Sprint(row[name])
		}
		cells = append(cells, line)
	}
	if width > 0 {
		t.fit(cells, width)
	}
	return Columns(w, cells)
}

// Columns writes aligned lines as Docker aligns its tables.
func Columns(w io.Writer, lines [][]string) error {
	tabs := newTabWriter(w)
	for _, line := range lines {
		if _, err := io.WriteString(tabs, strings.Join(line, "\t")+"\n"); err != nil {
			return err
		}
	}
	return tabs.Flush()
}

const columnMin, columnPad = 10, 3

func newTabWriter(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, columnMin, 1, columnPad, ' ', 0)
}

// fit shortens cells of the columns that may shrink until the lines fit.
func (t *Table) fit(cells [][]string, width int) {
	widths := make([]int, len(t.Columns))
	total := 0
	for i := range widths {
		for _, line := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i]))
		}
		if i < len(widths)-1 {
			widths[i] = max(widths[i]+columnPad, columnMin)
		}
		total += widths[i]
	}
	for _, name := range t.Shrink {
		i := slices.Index(t.Columns, name)
		if i < 0 || total <= width {
			continue
		}
		pad := columnPad
		if i == len(widths)-1 {
			pad = 0
		}
		have := widths[i] - pad
		want := max(have-(total-width), shrinkMin)
		if want >= have {
			continue
		}
		for _, line := range cells {
			line[i] = Ellipsis(line[i], want)
		}
		total -= have - want
	}
}

// Ellipsis shortens s to at most n characters, the last being "…".
func Ellipsis(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	if n == 1 {
		return string(runes[:1])
	}
	return string(runes[:n-1]) + "…"
}

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
