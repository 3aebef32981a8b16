package engine

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// applets are the names that the busybox image links.
var applets = []string{"sh", "ash", "cat", "cp", "date", "dd", "echo", "env", "false", "find", "free", "grep", "head", "hostname",
	"httpd", "id", "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nc", "nslookup", "ping", "printf", "ps",
	"pwd", "readlink", "rm", "route", "sed", "seq", "sleep", "stat", "stty", "sync", "tail", "tar", "tee", "test", "top", "touch",
	"true", "tty", "udhcpc", "umount", "uname", "unshare", "usleep", "wc", "wget", "whoami", "yes"}

// BusyboxTar is a root file system of the machine's static busybox, as a tar.
func BusyboxTar(tb testing.TB) []byte {
	tb.Helper()
	bin, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Fatalf("%v: the package busybox-static has it", err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			tb.Fatal(err)
		}
	}
	for _, d := range []string{"bin/", "dev/", "etc/", "home/", "proc/", "root/", "sys/", "usr/", "var/"} {
		add(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\nwww:x:33:33:www:/var:/bin/sh\n"))
	add(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\nwww:x:33:\nextra:x:1000:www\n"))
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, bin)
	for _, a := range applets {
		add(&tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// Busybox imports the busybox image under its name, with sh as its command.
func (e *Engine) Busybox() {
	e.tb.Helper()
	path := filepath.Join(e.Dir, "busybox.tar")
	if err := os.WriteFile(path, BusyboxTar(e.tb), 0o600); err != nil { //nolint:forbidigo // a test's own file
		e.tb.Fatal(err)
	}
	e.Must("import", "--change", `CMD ["sh"]`, "--change", "ENV PATH=/bin", path, "busybox")
}
