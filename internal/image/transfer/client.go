// Package transfer pulls images from registries and pushes them there: layers in
// parallel, broken connections continued, everything checked by digest.
package transfer

import "hoy/internal/image/remote"

// Client pulls and pushes. It is safe for concurrent use.
type Client struct{ *remote.Client }

// NewClient makes a client; see remote.NewClient for the arguments.
func NewClient(insecure, mirrors []string) (*Client, error) {
	c, err := remote.NewClient(insecure, mirrors)
	if err != nil {
		return nil, err
	}
	return &Client{Client: c}, nil
}
