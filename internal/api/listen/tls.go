package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS makes the configuration of TCP listeners, as dockerd's --tls options:
// with verify, only clients with a certificate signed by the authority in
// caFile are served.
func TLS(certFile, keyFile, caFile string, verify bool) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("could not load TLS key pair (--tlscert %s, --tlskey %s): %w", certFile, keyFile, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if !verify {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("could not read the authority's certificate (--tlscacert): %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tlscacert %s holds no PEM certificate", caFile)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}
