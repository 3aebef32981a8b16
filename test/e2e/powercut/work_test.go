package powercut

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hoy/test/e2e/engine"
)

// run lets workers do what makes records and images, beside one another.
func (w *workload) run(workers, rounds int) {
	t, e := w.t, w.e
	e.Busybox()
	registry := engine.Registry(t, w.dir)
	// What is pulled and loaded below is made before the log begins.
	for n := range workers {
		for i := range rounds {
			w.publish(registry, n, i)
		}
	}
	w.disk.Record()
	var b book
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := range rounds {
				(&worker{w: w, b: &b, name: fmt.Sprintf("w%d-%d", n, i), registry: registry}).round()
			}
		})
	}
	wg.Wait()
	// Records of ends go to the store within moments.
	time.Sleep(time.Second)
	w.facts = b.facts
}

// publish puts an image into the registry and one into a file, and forgets both.
func (w *workload) publish(registry string, n, i int) {
	w.t.Helper()
	name := fmt.Sprintf("w%d-%d", n, i)
	for _, kind := range []string{"pull", "load"} {
		ref := registry + "/" + name + "-" + kind
		w.e.Must("import", w.layer(name+"-"+kind), ref)
		if kind == "pull" {
			w.e.Must("push", ref)
		} else {
			w.e.Must("save", "-o", filepath.Join(w.dir, name+".save"), ref)
		}
		w.e.Must("rmi", ref)
	}
}

// layer is a root file system of many small files; /own says which it is.
func (w *workload) layer(own string) string {
	path := filepath.Join(w.dir, own+".tar")
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for i := range 40 {
		name, text := fmt.Sprintf("files/%02d", i), strings.Repeat(own+"\n", 50*i)
		if i == 0 {
			name, text = "own", own
		}
		_ = tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
		_, _ = tw.Write([]byte(text))
	}
	_ = tw.Close()
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// worker does one round of work under names of its own.
type worker struct {
	w              *workload
	b              *book
	name, registry string
}

// step runs a command and notes what is true once it has succeeded.
func (k *worker) step(makes []fact, args ...string) string {
	begin := k.w.disk.Position()
	out := strings.TrimSpace(k.w.e.Must(args...))
	end := k.w.disk.Position()
	for i := range makes {
		makes[i].begin, makes[i].end, makes[i].at = begin, end, time.Now()
		if makes[i].value == "?" {
			makes[i].value = out[strings.LastIndexByte(out, '\n')+1:]
		}
	}
	k.b.add(makes...)
	return out
}

// image is step for a command that makes an image; its id is asked for afterwards.
func (k *worker) image(ref, own string, args ...string) {
	begin := k.w.disk.Position()
	k.w.e.Must(args...)
	end := k.w.disk.Position()
	id := k.w.e.Must("image", "inspect", "-f", "{{.Id}}", ref)
	k.b.add(fact{begin: begin, end: end, at: time.Now(), key: "image " + ref, value: id, content: own})
}

func (k *worker) round() {
	n, w := k.name, k.w
	made := n + "-import"
	k.image(made, made, "import", w.layer(made), made)
	k.step([]fact{{key: "volume " + n, value: n}}, "volume", "create", n)
	script := fmt.Sprintf("echo -n %s-commit >/own; echo data >/data/file; mkdir -p /many; for i in 1 2 3 4 5 6 7 8; do seq 200 >/many/$i; done", n)
	id := k.step([]fact{{key: "container " + n, value: "?"}},
		"create", "--name", n, "-v", n+":/data", "--network", "none", "busybox", "sh", "-c", script)
	k.step([]fact{{key: "container " + n, weak: true, value: ""}, {key: "container " + n + "-renamed", value: id}}, "rename", n, n+"-renamed")
	w.e.Must("start", n+"-renamed")
	w.e.Must("wait", n+"-renamed")
	k.image(n+"-commit", n+"-commit", "commit", n+"-renamed", n+"-commit")
	pulled := k.registry + "/" + n + "-pull"
	k.image(pulled, n+"-pull", "pull", pulled)
	loaded := k.registry + "/" + n + "-load"
	k.image(loaded, n+"-load", "load", "-i", filepath.Join(w.dir, n+".save"))
	k.step([]fact{{key: "image " + made, value: ""}}, "rmi", made)
	k.step([]fact{{key: "volume " + n + "-gone", value: n + "-gone"}}, "volume", "create", n+"-gone")
	w.e.Must("run", "--rm", "-v", n+"-gone:/data", "--network", "none", "busybox", "sh", "-c", "echo x >/data/x")
	k.step([]fact{{key: "volume " + n + "-gone", value: ""}}, "volume", "rm", n+"-gone")
	k.step([]fact{{key: "container " + n + "-short", value: "?"}}, "create", "--name", n+"-short", "--network", "none", n+"-commit", "cat", "/own")
	if strings.HasSuffix(n, "1") {
		k.step([]fact{{key: "container " + n + "-short", value: "", weak: true}}, "rm", n+"-short")
	}
}
