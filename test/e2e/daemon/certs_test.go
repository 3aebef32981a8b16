package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"hoy/test/e2e/engine"
)

// authority is a certificate authority made with openssl, as an administrator makes one.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T, dir string) authority {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := authority{t, dir}
	engine.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=authority", "-keyout", a.path("ca-key.pem"), "-out", a.path("ca.pem")).Must(t)
	return a
}

func (a authority) path(file string) string { return filepath.Join(a.dir, file) }

// issue makes NAME.pem and NAME-key.pem, for 127.0.0.1, with the usage that the name says.
func (a authority) issue(name string) {
	a.t.Helper()
	extensions := writeFile(a.t, a.path(name+".ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage="+name+"Auth\n")
	engine.Run(a.t, "", "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN="+name, "-keyout", a.path(name+"-key.pem"), "-out", a.path(name+".csr")).Must(a.t)
	engine.Run(a.t, "", "openssl", "x509", "-req", "-in", a.path(name+".csr"), "-CA", a.path("ca.pem"), "-CAkey", a.path("ca-key.pem"),
		"-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", a.path(name+".pem")).Must(a.t)
}
