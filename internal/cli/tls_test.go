package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// authority makes certificates in dir: ca.pem, cert.pem and key.pem.
func authority(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "CERTIFICATE", der)
	write("cert.pem", "CERTIFICATE", der)
	write("key.pem", "PRIVATE KEY", keyDER)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	dir, stranger := t.TempDir(), t.TempDir()
	pair := authority(t, dir)
	authority(t, stranger)
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.50")
		_, _ = io.WriteString(w, `{"Version":"7"}`)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	host := "tcp://" + strings.TrimPrefix(server.URL, "https://")
	for name, tc := range map[string]struct {
		env    map[string]string
		global Options
		ok     bool
	}{
		"docker's environment": {env: map[string]string{"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": dir}, ok: true},
		"our environment":      {env: map[string]string{"HOY_TLS_VERIFY": "1", "HOY_CERT_PATH": dir, "DOCKER_CERT_PATH": stranger}, ok: true},
		"config directory":     {global: Options{TLSVerify: true, ConfigDir: dir}, ok: true},
		"flags":                {env: map[string]string{"DOCKER_CERT_PATH": stranger}, global: Options{TLSVerify: true, TLSCACert: dir + "/ca.pem", TLSCert: dir + "/cert.pem", TLSKey: dir + "/key.pem"}, ok: true},
		"unverified":           {env: map[string]string{"DOCKER_CERT_PATH": dir}, global: Options{TLS: true, TLSCACert: "/nonexistent"}, ok: true},
		"other authority":      {env: map[string]string{"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": stranger}},
		"no certificate":       {global: Options{TLSVerify: true, TLSCACert: dir + "/ca.pem", ConfigDir: t.TempDir()}},
		"no TLS":               {global: Options{ConfigDir: dir}},
		"no such authority":    {global: Options{TLSVerify: true, TLSCACert: "/nonexistent", ConfigDir: dir}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"HOY_TLS_VERIFY", "HOY_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "HOY_CONFIG", "DOCKER_CONFIG", "DOCKER_API_VERSION"} {
				t.Setenv(key, tc.env[key])
			}
			var errs bytes.Buffer
			app := NewApp(nil, nil, &errs)
			app.Global = tc.global
			app.Global.Host = host
			api, err := app.Client()
			var version client.ServerVersionResult
			if err == nil {
				version, err = api.ServerVersion(t.Context(), client.ServerVersionOptions{})
			}
			if ok := err == nil && version.Version == "7"; ok != tc.ok {
				t.Errorf("connected %v: %v", ok, err)
			}
			if err != nil && (app.Report(err) != 1 || errs.Len() == 0) {
				t.Errorf("said nothing about %v", err)
			}
		})
	}
}
