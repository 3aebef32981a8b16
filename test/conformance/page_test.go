package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
)

const (
	pagePath   = "../../docs/conformance.md"
	recordPath = "testdata/passed.json"
)

// record is what the page is made of: what was measured, by hand with -update.
type record struct {
	Validation map[string]map[string]outcome `json:"validation"` // by runtime, by program
	Engines    map[string][]string           `json:"engines"`
}

// keepPage compares the page with what has passed in this run, or writes it.
func keepPage() error {
	r := record{Validation: map[string]map[string]outcome{}, Engines: map[string][]string{}}
	content, err := os.ReadFile(recordPath)
	if err != nil && !*update {
		return err
	}
	if err == nil {
		if err := json.Unmarshal(content, &r); err != nil {
			return fmt.Errorf("%s: %w", recordPath, err)
		}
	}
	if *update {
		return r.write()
	}
	page, err := os.ReadFile(pagePath)
	if err != nil {
		return err
	}
	if !bytes.Equal(page, r.page()) {
		return errors.New(pagePath + " is not what its tests would write: run them with -update")
	}
	return r.compare()
}

// compare fails where this run and the record differ. One verb or program that
// was picked by -run tells nothing; nor does another runtime than hoy-run.
func (r *record) compare() error {
	if pick := flag.Lookup("test.run"); *runtime != "hoy-run" || pick != nil && strings.Contains(pick.Value.String(), "/") {
		return nil
	}
	for name, verbs := range passed {
		if !slices.Equal(verbs, r.Engines[name]) {
			return fmt.Errorf("%s: this run's verbs are not the page's: run the tests with -update", name)
		}
	}
	if all := measured["hoy-run"]; all != nil && likeRecorded() && !reflect.DeepEqual(sorted(all), sorted(r.Validation["hoy-run"])) {
		return errors.New("the validation suite has other programs than the page: run the tests with -update")
	}
	return nil
}

func (r *record) write() error {
	for name, all := range measured {
		r.Validation[name] = all
	}
	if *runtime == "hoy-run" {
		for name, verbs := range passed {
			r.Engines[name] = verbs
		}
	}
	content, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(recordPath, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(pagePath, r.page(), 0o644)
}

func (r *record) page() []byte {
	var b bytes.Buffer
	all := r.Validation["hoy-run"]
	failed, points := 0, 0
	for _, o := range all {
		points += o.Points
		failed += len(o.Failed)
	}
	fmt.Fprintf(&b, `# Conformance

`+"`hoy-run`"+` is an OCI runtime, also for other engines than hoy. These tables are written by the tests of `+"`test/conformance`"+`,
and compared with each of their runs: a failure that is not listed fails, and so does a listed one that passes.

    go test ./test/conformance -update                       # hoy-run, every table
    go test ./test/conformance -run Validation -runtime runc -update   # a column for comparison; not part of make test

## The validation suite of the OCI runtime tools
Version %s: all %d programs with %d points. %d kinds of points do not pass, for the reasons below.
The columns of runc (%s) and crun (%s) are Debian 12's, on the same machine: cgroup version 1 with version 2 beside it, Linux 6.18, no `+"`CAP_SYS_RESOURCE`"+`, no AppArmor, no SELinux. crun refuses newer
configurations and hybrid cgroups, so for it alone the configuration says version 1.0.2 and version 2 is unmounted.

| program | hoy-run | runc | crun | what does not apply, and why |
|---|---|---|---|---|
`, suiteVersion(), len(all), points, failed, "1.1.5", "1.8.1")
	for _, p := range sorted(all) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p, r.cell("hoy-run", p), r.cell("runc", p), r.cell("crun", p), why(p))
	}
	fmt.Fprintf(&b, "\n¹ but for the points “%s”: %s.\n", inOrder, notApplicable[exception{anyProgram, inOrder}].text)
	fmt.Fprintf(&b, "\n## Engines\nDebian 12's engines with `hoy-run` as their runtime, each verb with what can be seen of it from outside and inside.\n\n| engine | version | verbs and options |\n|---|---|---|\n")
	for _, e := range engines {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", e.name, e.version, strings.Join(r.Engines[e.name], "; "))
	}
	b.WriteString(notTested)
	return b.Bytes()
}

// engines are those of Debian 12, in the page's order.
var engines = []struct{ name, version string }{
	{"podman", "4.3.1"},
	{"podman pod", "4.3.1"},
	{"containerd", "1.6.20, `io.containerd.runc.v2`, by `ctr`"},
	{"dockerd", "20.10.24, `--add-runtime`, `--default-runtime`"},
	{"buildah", "1.28.2"},
}

const notTested = `
Not tested: checkpoint and restore, which hoy-run does not have; CRI-O, which Debian 12 does not package.
`

func (r *record) cell(runtime, program string) string {
	o, ok := r.Validation[runtime][program]
	switch {
	case !ok:
		return "–"
	case len(o.Failed) == 0:
		return "pass"
	case runtime == "hoy-run":
		points := slices.DeleteFunc(slices.Clone(o.Failed), func(f string) bool { return f == inOrder })
		switch {
		case len(points) == 0:
			return "pass¹"
		case o.Points <= len(points) || slices.Contains(points, ended):
			return "does not apply"
		case len(points) < len(o.Failed):
			return "pass¹ but for the points named"
		}
		return "pass but for the points named"
	case o.Points > len(o.Failed):
		return fmt.Sprintf("fails %d", len(o.Failed))
	}
	return "fails"
}

// why lists a program's exceptions.
func why(program string) string {
	var all []string
	for key, reason := range notApplicable {
		if key.program != program {
			continue
		}
		text := reason.text
		if key.point != ended {
			text = fmt.Sprintf("“%s”: %s", strings.ReplaceAll(key.point, "|", "\\|"), text)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "<br>")
}

// suiteVersion is that of the nested module.
func suiteVersion() string {
	content, _ := os.ReadFile("ociruntime/go.mod")
	for line := range strings.Lines(string(content)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "github.com/opencontainers/runtime-tools" {
			return f[1]
		}
	}
	return "unknown"
}

// likeRecorded says whether this machine is of the kind that the record is from.
func likeRecorded() bool {
	for _, reason := range notApplicable {
		if !reason.here() {
			return false
		}
	}
	return true
}
