package daemon

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hoy/test/e2e/engine"
)

const noDaemon = "Is it running? Start it with: sudo hoyd"

func TestNoDaemon(t *testing.T) {
	host := "unix://" + t.TempDir() + "/none.sock"
	for _, args := range [][]string{{"ps"}, {"run", "x"}, {"images"}, {"volume", "ls"}, {"exec", "c", "true"}} {
		r := engine.Run(t, "", append([]string{engine.Bin(t, "hoy"), "-H", host}, args...)...)
		if r.Code == 0 || !strings.Contains(r.Err, host) || !strings.Contains(r.Err, noDaemon) {
			t.Errorf("%v: exit %d, %q", args, r.Code, r.Err)
		}
	}
	r := engine.Run(t, "", engine.Bin(t, "hoy"), "-H", "tcp://"+engine.FreeAddress(t), "ps")
	r.Refused(t, 1, "Cannot connect to the hoy daemon at tcp://127.0.0.1:")
}

func TestWhichDaemon(t *testing.T) {
	e := engine.Start(t)
	none, other := "unix://"+t.TempDir()+"/none.sock", "unix://"+t.TempDir()+"/other.sock"
	hoy := func(hoyHost, dockerHost string, args ...string) *engine.Result {
		return engine.RunEnv(t, []string{"HOY_HOST=" + hoyHost, "DOCKER_HOST=" + dockerHost}, "", append([]string{engine.Bin(t, "hoy")}, args...)...)
	}
	root := []string{"info", "-f", "{{.DockerRootDir}}"}
	for name, r := range map[string]*engine.Result{
		"HOY_HOST before DOCKER_HOST": hoy(e.Host, none, root...),
		"DOCKER_HOST alone":           hoy("", e.Host, root...),
		"-H before both":              hoy(none, other, append([]string{"-H", e.Host}, root...)...),
	} {
		if got := r.Must(t); got != e.Dir+"/data" {
			t.Errorf("%s: %q", name, got)
		}
	}
	hoy(none, e.Host, "ps").Refused(t, 1, none)
	if _, err := os.Stat("/run/hoy.sock"); err == nil {
		t.Skip("the machine's own engine runs: the default cannot be missing")
	}
	hoy("", "", "ps").Refused(t, 1, "unix:///run/hoy.sock")
}

func TestTypo(t *testing.T) {
	for typo, verb := range map[string]string{"rnu": "run", "imges": "images", "image lss": "ls", "volume inspct": "inspect", "exce": "exec"} {
		engine.Run(t, "", append([]string{engine.Bin(t, "hoy")}, strings.Fields(typo)...)...).Refused(t, 1, `Did you mean "`+verb+`"`)
	}
}

func TestCompletion(t *testing.T) {
	e := engine.Start(t)
	e.Busybox()
	e.Must("tag", "busybox", "registry.example.com:5000/team/box:1.2")
	e.Must("run", "-d", "--name", "on", "busybox", "sleep", "1000")
	e.Must("create", "--name", "off", "busybox", "true")
	e.Must("volume", "create", "vol")
	offers := func(args ...string) []string {
		t.Helper()
		lines := strings.Split(e.Must(append([]string{"__complete"}, args...)...), "\n")
		words := lines[:len(lines)-1] // the last is a directive to the shell
		for i, w := range words {
			words[i], _, _ = strings.Cut(w, "\t")
		}
		slices.Sort(words)
		return words
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"rm", ""}, []string{"off", "on"}},
		{[]string{"rm", "off", ""}, []string{"on"}},
		{[]string{"start", ""}, []string{"off"}},
		{[]string{"stop", ""}, []string{"on"}},
		{[]string{"exec", ""}, []string{"on"}},
		{[]string{"logs", ""}, []string{"off", "on"}},
		{[]string{"rmi", ""}, []string{"busybox", "busybox:latest", "registry.example.com:5000/team/box:1.2"}},
		{[]string{"run", ""}, []string{"busybox", "busybox:latest", "registry.example.com:5000/team/box:1.2"}},
		{[]string{"volume", "rm", ""}, []string{"vol"}},
		{[]string{"network", "inspect", ""}, []string{"bridge", "host", "none"}},
		{[]string{"volume", "inspe"}, []string{"inspect"}},
	} {
		if got := offers(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("hoy %s<tab> offers %q, want %q", strings.Join(c.args, " "), got, c.want)
		}
	}
	// Without a daemon a tab offers nothing, and says nothing into the line being typed.
	r := engine.Run(t, "", engine.Bin(t, "hoy"), "-H", "unix:///nonexistent/sock", "__complete", "rm", "")
	if r.Code != 0 || strings.HasPrefix(r.Out, "\n") || !strings.HasPrefix(r.Out, ":") {
		t.Errorf("without a daemon: exit %d, %q", r.Code, r.Out)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script := writeFile(t, t.TempDir()+"/hoy."+shell, engine.Run(t, "", engine.Bin(t, "hoy"), "completion", shell).Must(t)+"\n")
			if info, err := os.Stat(script); err != nil || info.Size() < 1000 {
				t.Errorf("the script is %v, %v", info, err)
			}
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("no %s here that could read the script: %v", shell, err)
			}
			engine.Run(t, "", shell, "-n", script).Must(t)
		})
	}
}
