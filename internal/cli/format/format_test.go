package format

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

var things = Table{
	Columns: []string{"ID", "Name", "Note"},
	Quiet:   "ID",
	Headers: map[string]string{"ID": "THING ID", "Name": "NAME", "Note": "NOTE", "Extra": "EXTRA"},
	Shrink:  []string{"Note"},
}

func rows() []Row {
	return []Row{
		Row{"ID": "1", "Name": "first", "Note": "a <b> & c", "Extra": 7}.WithLabels(map[string]string{"org.x.the-role": "front"}),
		{"ID": "22", "Name": "second-with-a-long-name", "Note": strings.Repeat("ä", 40), "Extra": nil},
	}
}

func TestWrite(t *testing.T) {
	long := strings.Repeat("ä", 40)
	for name, tc := range map[string]struct {
		opt  Options
		want string
	}{
		"default": {Options{}, "THING ID   NAME                      NOTE\n1          first                     a <b> & c\n22         second-with-a-long-name   " + long + "\n"},
		"table":   {Options{Format: "table"}, "THING ID   NAME                      NOTE\n1          first                     a <b> & c\n22         second-with-a-long-name   " + long + "\n"},
		"narrow":  {Options{Width: 60}, "THING ID   NAME                      NOTE\n1          first                     a <b> & c\n22         second-with-a-long-name   " + long[:2*22] + "…\n"},
		"tiny":    {Options{Width: 10}, "THING ID   NAME                      NOTE\n1          first                     a <b> & c\n22         second-with-a-long-name   " + long[:2*11] + "…\n"},
		"quiet":   {Options{Quiet: true}, "1\n22\n"},
		"own":     {Options{Format: `{{.ID}}\t{{upper .Name}}`}, "1\tFIRST\n22\tSECOND-WITH-A-LONG-NAME\n"},
		"columns": {Options{Format: `table {{.Name}}\t{{.Label "org.x.the-role"}}`}, "NAME                      the role\nfirst                     front\nsecond-with-a-long-name   \n"},
		"json":    {Options{Format: "json"}, "{\"Extra\":7,\"ID\":\"1\",\"Name\":\"first\",\"Note\":\"a "},
	} {
		var out bytes.Buffer
		if err := things.Write(&out, tc.opt, rows()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "json" && strings.HasPrefix(out.String(), tc.want) {
			continue
		}
		if out.String() != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, &out, tc.want)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{{.Nope}}": `map has no entry for key "Nope"`, "{{": "template parsing error", "{{nope .ID}}": `function "nope" not defined`, "table {{.Nope}}": "no entry",
	} {
		var out bytes.Buffer
		if err := things.Write(&out, Options{Format: text}, rows()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
		if out.Len() > 0 {
			t.Errorf("%s: half a list was written: %q", text, &out)
		}
	}
}

func TestFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{json .list}}`: `["a","b"]`, `{{join .list "-"}}`: "a-b", `{{index (split "a:b" ":") 1}}`: "b", `{{title "red ant-hill"}}`: "Red Ant-Hill",
		`{{lower "ÄB"}}`: "äb", `{{pad "x" 1 2}}|`: " x  |", `{{pad "" 1 2}}|`: "|", `{{truncate "äbc" 2}}`: "äb", `{{truncate "a" 5}}`: "a", `{{pad "x" -1 99999999 | len}}`: "65537",
		`{{println "x"}}`: "x\n",
	} {
		var out bytes.Buffer
		if err := Execute(&out, text, map[string]any{"list": []any{"a", "b"}}); err != nil || out.String() != want+"\n" {
			t.Errorf("%s: %q, %v", text, &out, err)
		}
	}
}

func TestUses(t *testing.T) {
	for text, want := range map[string]bool{"{{.Size}}": true, "{{.Sizes}}": false, "{{.ID}}": false, "json": true, "{{json .}}": true, "{{.Sizes}} {{.Size | upper}}": true} {
		if got := Uses(text, "Size"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestInspect(t *testing.T) {
	type thing struct{ Name string }
	get := func(ref string) (Object, error) {
		if ref == "none" {
			return Object{}, errors.New("no such thing")
		}
		return Object{Typed: thing{ref}, Raw: []byte(`{"Name":"` + ref + `","New":{"x":12345678901234567}}`)}, nil
	}
	for _, tc := range []struct{ text, refs, out, err string }{
		{"", "a", "[\n    {\n        \"Name\": \"a\",\n        \"New\": {\n            \"x\": 12345678901234567\n        }\n    }\n]\n", ""},
		{"", "none", "[]\n", "no such thing"},
		{"json", "a none b", `[{"Name":"a","New":{"x":12345678901234567}},{"Name":"b","New":{"x":12345678901234567}}]` + "\n", "no such thing"},
		{"{{.Name}}", "a b", "a\nb\n", ""},
		{"{{.New.x}}", "a", "12345678901234567\n", ""},
		{"{{.Nope}}", "a", "", "can't evaluate field Nope"},
		{"{{", "a", "", "template parsing error"},
	} {
		var out bytes.Buffer
		err := Inspect(&out, tc.text, strings.Fields(tc.refs), get)
		if out.String() != tc.out {
			t.Errorf("%+v: %q", tc, &out)
		}
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func FuzzEllipsis(f *testing.F) {
	f.Add("hello", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if got := []rune(Ellipsis(s, n)); len(got) > max(n, 0) {
			t.Errorf("%q is longer than %d", string(got), n)
		}
	})
}
