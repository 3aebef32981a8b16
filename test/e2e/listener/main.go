// Command listener takes TCP connections at port 80, answers those that ask by
// HTTP, and tells at port 81 how many there were.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

type counted struct {
	net.Listener
	n atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func main() {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":80")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := &counted{Listener: l}
	tell := http.NewServeMux()
	tell.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.n.Load()) })
	answer := http.NewServeMux()
	answer.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	go func() {
		s := &http.Server{Addr: ":81", Handler: tell, ReadHeaderTimeout: time.Second}
		fmt.Fprintln(os.Stderr, s.ListenAndServe())
		os.Exit(1)
	}()
	s := &http.Server{Handler: answer, ReadHeaderTimeout: time.Second}
	fmt.Fprintln(os.Stderr, s.Serve(c))
	os.Exit(1)
}
