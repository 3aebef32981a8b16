package audit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// kept is the part of containerd's metadata that is compared; its buckets are
// described in core/metadata/buckets.go of containerd.
type kept struct {
	blobs, snapshots map[string]bool
	targets          []string          // of images
	leases           map[string]string // with the chain that a lease holds
	names            map[string]string // of snapshots, with what the snapshotter calls them
}

// namespace and driver of the engine's images.
const namespace = "hoy"

func (c *comparison) content() {
	k := kept{blobs: map[string]bool{}, snapshots: map[string]bool{}, leases: map[string]string{}, names: map[string]string{}}
	c.view("image/meta.db", func(tx *bolt.Tx) {
		each(tx, func(b, _ []byte) { k.blobs[string(b)] = true }, "v1", namespace, "content", "blob")
		each(tx, func(n, _ []byte) {
			each(tx, func(f, v []byte) {
				if string(f) == "digest" {
					k.targets = append(k.targets, string(v))
				}
			}, "v1", namespace, "images", string(n), "target")
		}, "v1", namespace, "images")
		each(tx, func(id, _ []byte) {
			k.leases[string(id)] = ""
			each(tx, func(l, v []byte) {
				if string(l) == "hoy/chain" {
					k.leases[string(id)] = string(v)
				}
			}, "v1", namespace, "leases", string(id), "labels")
		}, "v1", namespace, "leases")
		each(tx, func(s, _ []byte) {
			each(tx, func(f, v []byte) {
				if string(f) == "name" {
					k.names[string(v)] = string(s)
				}
			}, "v1", namespace, "snapshots", "overlayfs", string(s))
		}, "v1", namespace, "snapshots", "overlayfs")
	})
	for id, chain := range k.leases {
		if chain == "" {
			c.fault("image store: lease %s belongs to no one", id)
		}
	}
	var blobs []string
	for b := range k.blobs {
		blobs = append(blobs, strings.TrimPrefix(b, "sha256:"))
	}
	c.same("blobs", blobs, entries(c.Data+"/image/content/blobs/sha256"))
	c.reachable(k)
	c.snapshots(k)
}

// reachable follows documents from the images, and finds blobs that nothing refers to.
func (c *comparison) reachable(k kept) {
	seen := map[string]bool{}
	var follow func(digest string)
	follow = func(digest string) {
		if seen[digest] || !k.blobs[digest] {
			return // of an index, other platforms' content is not there
		}
		seen[digest] = true
		path := filepath.Join(c.Data, "image/content/blobs/sha256", strings.TrimPrefix(digest, "sha256:"))
		if fi, err := os.Stat(path); err != nil || fi.Size() > 1<<20 {
			return
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return
		}
		type descriptor struct{ Digest string }
		var doc struct {
			Config            descriptor
			Layers, Manifests []descriptor
		}
		if json.Unmarshal(data, &doc) != nil {
			return // a layer, or a configuration of the same field names with other types
		}
		for _, d := range append(append(doc.Layers, doc.Manifests...), doc.Config) {
			follow(d.Digest)
		}
	}
	for _, t := range k.targets {
		if !k.blobs[t] {
			c.fault("image store: the image %s has no manifest", t)
		}
		follow(t)
	}
	// A container keeps its image's documents, though the image may have lost its name.
	for _, r := range c.containers {
		follow(r.Image)
		if r.ImageManifestDescriptor != nil {
			follow(r.ImageManifestDescriptor.Digest.String())
		}
	}
	for b := range k.blobs {
		if !seen[b] {
			c.fault("blobs: nothing refers to %s", b)
		}
	}
}

// snapshots compares metadata, the snapshotter's own records and its directories.
func (c *comparison) snapshots(k kept) {
	if _, err := os.Stat(c.Data + "/image/overlayfs"); err != nil {
		return // another driver
	}
	var names, numbers []string
	c.view("image/overlayfs/metadata.db", func(tx *bolt.Tx) {
		each(tx, func(s, _ []byte) {
			names = append(names, string(s))
			each(tx, func(f, v []byte) {
				if string(f) == "id" {
					numbers = append(numbers, uvarint(v))
				}
			}, "v1", "snapshots", string(s))
		}, "v1", "snapshots")
	})
	var want []string
	for n := range k.names {
		want = append(want, n)
	}
	c.same("snapshots", want, names)
	c.same("directories of snapshots", numbers, entries(c.Data+"/image/overlayfs/snapshots"))
}
