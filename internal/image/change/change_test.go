package change

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

func TestInstructions(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{`CMD ["a","b c"]`, `{"Cmd":["a","b c"]}`},
		{`cmd a b`, `{"Cmd":["/bin/sh","-c","a b"]}`},
		{"SHELL [\"/bin/ash\",\"-c\"]\x00CMD a", `{"Cmd":["/bin/ash","-c","a"],"Shell":["/bin/ash","-c"]}`},
		{`ENTRYPOINT ["/e"]`, `{"Entrypoint":["/e"]}`},
		{`ENV A=1 B="two words" C='$A' D=a\ b`, `{"Env":["A=1","B=two words","C=$A","D=a b"]}`},
		{"ENV A old form\x00ENV A=2", `{"Env":["A=2"]}`},
		{"ENV P=/bin\x00ENV P=$P:/x Q=${N:-d}${P:+y}", `{"Env":["P=/bin:/x","Q=dy"]}`},
		{`LABEL "a b"=c d="e\"f"`, `{"Labels":{"a b":"c","d":"e\"f"}}`},
		{`EXPOSE 80 443/udp 9000-9001`, `{"ExposedPorts":{"443/udp":{},"80/tcp":{},"9000/tcp":{},"9001/tcp":{}}}`},
		{`USER www:www`, `{"User":"www:www"}`},
		{`VOLUME ["/a b"]`, `{"Volumes":{"/a b":{}}}`},
		{`VOLUME /a /b`, `{"Volumes":{"/a":{},"/b":{}}}`},
		{"WORKDIR /a\x00WORKDIR b/../c", `{"WorkingDir":"/a/c"}`},
		{`STOPSIGNAL SIGINT`, `{"StopSignal":"SIGINT"}`},
		{`HEALTHCHECK --interval=5s --retries=2 CMD curl x`, `{"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":5000000000,"Retries":2}}`},
		{`HEALTHCHECK NONE`, `{"Healthcheck":{"Test":["NONE"]}}`},
		{`ONBUILD RUN make`, `{"OnBuild":["RUN make"]}`},
		{"CMD a \\\n# not this\n b", `{"Cmd":["/bin/sh","-c","a  b"]}`},
	} {
		cfg := &container.Config{}
		if err := Apply(cfg, strings.Split(c.lines, "\x00")); err != nil {
			t.Errorf("%s: %v", c.lines, err)
			continue
		}
		got, err := json.Marshal(ToImage(cfg))
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", c.lines, got, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for line, words := range map[string]string{
		"FROM x": "from is not a valid change command", "RUN x": "not a valid change command", "CMD": "needs an argument",
		"EXPOSE x": "invalid port", "EXPOSE 0": "invalid port", "EXPOSE 70000": "invalid port", "ENV A": "must have two arguments",
		`ENV A="x`: "double-quote", "ENV A='x": "single-quote", "ENV A=${": "missing", "ENV A=1 B": "can't find =",
		"ENV =x": "blank", "LABEL =x": "blank", "USER a b": "exactly one", "STOPSIGNAL NOPE": "invalid signal",
		"HEALTHCHECK x": "unknown type", "HEALTHCHECK CMD": "missing command", "HEALTHCHECK --interval=1ns CMD x": "1ms or more",
		"HEALTHCHECK --x=1 CMD x": "unknown HEALTHCHECK option", "ONBUILD ONBUILD RUN x": "chaining", "ONBUILD FROM x": "isn't allowed",
		"SHELL x": "JSON form", "VOLUME []": "needs a directory", "ENV A=${B:?x}": "unsupported modifier",
	} {
		err := Apply(&container.Config{}, []string{line})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", line, err, words)
		}
	}
}

func TestApplyDoesNotTouchSharedSlices(t *testing.T) {
	env := make([]string, 1, 4)
	env[0] = "A=1"
	a, b := &container.Config{Env: env}, &container.Config{Env: env}
	if err := Apply(a, []string{"ENV A=2 B=a"}); err != nil {
		t.Fatal(err)
	}
	if err := Apply(b, []string{"ENV B=b"}); err != nil {
		t.Fatal(err)
	}
	if env[0] != "A=1" || a.Env[1] != "B=a" || b.Env[0] != "A=1" {
		t.Errorf("shared environment changed: %v, %v, %v", env, a.Env, b.Env)
	}
}

func FuzzApply(f *testing.F) {
	for _, line := range []string{`CMD ["a"]`, `ENV A=1 B="x" C='y' D=${A:-z}`, "LABEL a b", "EXPOSE 1-9/tcp", "HEALTHCHECK --interval=1s CMD x", "ONBUILD RUN x", `VOLUME ["/a"]`, "WORKDIR $A/..", "ENV A=${A:-${A:+'x'}}"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cfg := &container.Config{}
		if err := Apply(cfg, []string{line, line}); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v: every refusal must be an invalid argument", line, err)
		}
		if _, err := json.Marshal(ToImage(cfg)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
}
