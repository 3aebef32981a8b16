package syslog

import (
	"net"
	"testing"
)

func TestAddresses(t *testing.T) {
	for in, want := range map[string][3]string{
		"":                     {},
		"udp://1.2.3.4":        {"udp", "1.2.3.4:514"},
		"tcp://host:1514":      {"tcp", "host:1514"},
		"tcp+tls://[::1]":      {"tcp+tls", "[::1]:514"},
		"tcp+tls://[::1]:6514": {"tcp+tls", "[::1]:6514"},
		"unix:///dev/null":     {"unix", "/dev/null"},
		"unixgram:///dev/null": {"unixgram", "/dev/null"},
		"unix:///no/such":      {"", "", "stat /no/such: no such file or directory"},
		"http://x":             {"", "", "unsupported scheme: 'http'"},
		"1.2.3.4:514":          {"", "", `parse "1.2.3.4:514": first path segment in URL cannot contain colon`},
		"udp://%zz":            {"", "", `parse "udp://%zz": invalid URL escape "%zz"`},
	} {
		network, addr, err := parseAddress(in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got := [3]string{network, addr, text}; got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestOptionsAreRefusedInDockersWords(t *testing.T) {
	for want, opts := range map[string]map[string]string{
		"invalid syslog facility": {"syslog-facility": "nosuch"},
		"invalid syslog format":   {"syslog-format": "x"},
	} {
		if _, err := Parse(opts); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", opts, err, want)
		}
	}
	for value, skip := range map[string]bool{"true": true, "": true, "yes": true, "false": false, "0": false} {
		o, err := Parse(map[string]string{"syslog-address": "tcp+tls://h", "syslog-tls-skip-verify": value})
		if err != nil || o.TLS.InsecureSkipVerify != skip {
			t.Errorf("skip-verify=%q: %t, %v", value, o.TLS.InsecureSkipVerify, err)
		}
	}
	if o, err := Parse(map[string]string{"syslog-facility": "23"}); err != nil || o.Facility != 23 {
		t.Error(o, err)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("tcp://host:1")
	f.Add("tcp+tls://[::1")
	f.Add("udp://:")
	f.Fuzz(func(t *testing.T, s string) {
		network, addr, err := parseAddress(s)
		if err != nil || network == "" || network == "unix" || network == "unixgram" {
			return
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			t.Errorf("%q became %q: %v", s, addr, err)
		}
	})
}
