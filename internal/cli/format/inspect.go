package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// Object is what inspect shows: the value as the API types know it, and as the
// daemon sent it.
type Object struct {
	Typed any
	Raw   []byte
}

// Inspect writes the objects behind refs: as an indented JSON array, or with a
// template one after the other, a line each. An object that get cannot find does
// not hide the others; the errors are joined.
func Inspect(w io.Writer, text string, refs []string, get func(ref string) (Object, error)) error {
	var tmpl *template.Template
	if text != "" && text != "json" {
		var err error
		if tmpl, err = Parse(text); err != nil {
			return err
		}
	}
	var errs []error
	var raws []json.RawMessage
	var out bytes.Buffer
	for _, ref := range refs {
		obj, err := get(ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if tmpl == nil {
			raws = append(raws, obj.Raw)
			continue
		}
		if err := render(&out, tmpl, obj); err != nil {
			errs = append(errs, templateError(err))
			break
		}
	}
	var err error
	switch {
	case text == "json":
		err = compactArray(&out, raws)
	case tmpl == nil:
		err = indentedArray(&out, raws)
	}
	if err == nil {
		_, err = out.WriteTo(w)
	}
	return errors.Join(append([]error{err}, errs...)...)
}

// render runs the template over the typed value and, where that has no such
// field, over the JSON of the daemon, which may know more.
func render(out *bytes.Buffer, tmpl *template.Template, obj Object) error {
	var typed bytes.Buffer
	err := tmpl.Execute(&typed, obj.Typed)
	if err == nil {
		typed.WriteByte('\n')
		_, err = typed.WriteTo(out)
		return err
	}
	var raw any
	dec := json.NewDecoder(bytes.NewReader(obj.Raw))
	dec.UseNumber()
	if dec.Decode(&raw) != nil {
		return err
	}
	var again bytes.Buffer
	if rawErr := tmpl.Execute(&again, raw); rawErr != nil {
		return err
	}
	again.WriteByte('\n')
	_, err = again.WriteTo(out)
	return err
}

func compactArray(out *bytes.Buffer, raws []json.RawMessage) error {
	out.WriteByte('[')
	for i, raw := range raws {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := json.Compact(out, raw); err != nil {
			return fmt.Errorf("the daemon's answer is no JSON: %w", err)
		}
	}
	out.WriteString("]\n")
	return nil
}

func indentedArray(out *bytes.Buffer, raws []json.RawMessage) error {
	if len(raws) == 0 {
		out.WriteString("[]\n")
		return nil
	}
	parts := make([]string, len(raws))
	for i, raw := range raws {
		parts[i] = strings.TrimSpace(string(raw))
	}
	if err := json.Indent(out, []byte("["+strings.Join(parts, ",")+"]"), "", "    "); err != nil {
		return fmt.Errorf("the daemon's answer is no JSON: %w", err)
	}
	out.WriteByte('\n')
	return nil
}
