// Package boltfile looks after files of bbolt from outside: it reads one without
// trusting a byte of it, keeps a copy of it, and puts the copy in the place of a
// file that is damaged, before bbolt opens it. bbolt itself ends the process
// where a page is not what it expects.
package boltfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"slices"
)

// The format of bbolt's files, version 2: go.etcd.io/bbolt/internal/common.
const (
	magic      = 0xED0CDAED
	version    = 2
	pageHeader = 16
	element    = 16
	metaSize   = 64 // with its checksum, the last 8 bytes

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	flagBucket   = 0x01 // of a leaf's element
	bucketHeader = 16
	noFreelist   = ^uint64(0)
	manyFree     = 0xFFFF

	maxDepth  = 64
	maxErrors = 16
)

var order = binary.LittleEndian

// State is what a sound file holds: two files with the same content have the
// same Hash. TxID counts its transactions.
type State struct {
	TxID uint64   `json:"txid"`
	Hash [32]byte `json:"hash"`
}

// Visit takes a key with its value and the names of the buckets around it. The
// slices are parts of the file's data.
type Visit func(buckets []string, key, value []byte)

type meta struct {
	pageSize       int
	root, freelist uint64
	// end is the number of the first page that is not used yet.
	end, txid uint64
}

// walker reads one file.
type walker struct {
	data  []byte
	meta  meta
	seen  map[uint64]bool
	visit Visit
	errs  []error
}

// Walk calls visit for all that can be read and returns the state, or what is
// wrong with the file. It takes any bytes.
func Walk(data []byte, visit Visit) (State, error) {
	w := &walker{data: data, seen: map[uint64]bool{0: true, 1: true}}
	var err error
	if w.meta, err = w.findMeta(); err != nil {
		return State{}, err
	}
	sum := sha256.New()
	w.visit = func(buckets []string, key, value []byte) {
		for _, name := range buckets {
			hashPart(sum, []byte(name))
		}
		hashPart(sum, key)
		hashPart(sum, value)
		if visit != nil {
			visit(buckets, key, value)
		}
	}
	if want := w.meta.end * uint64(w.meta.pageSize); uint64(len(data)) < want {
		w.fault("it has %d bytes of %d", len(data), want)
	}
	w.page(w.meta.root, nil, 0)
	w.freelist()
	return State{TxID: w.meta.txid, Hash: [32]byte(sum.Sum(nil))}, errors.Join(w.errs...)
}

// hashPart writes the length too, so that parts cannot run into each other.
func hashPart(h hash.Hash, part []byte) {
	var size [4]byte
	order.PutUint32(size[:], uint32(len(part)))
	_, _ = h.Write(size[:])
	_, _ = h.Write(part)
}

func (w *walker) fault(format string, args ...any) {
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, fmt.Errorf(format, args...))
	}
}

// findMeta takes the newer of the two meta pages. Both are whole in a file that
// no one has harmed: each was written and synced once.
func (w *walker) findMeta() (best meta, err error) {
	first, err := readMeta(w.data, 0)
	if err != nil {
		w.fault("meta page 0: %w", err)
		// Without it the size of pages is not known: try what machines have.
		for size := 4096; size <= 65536; size *= 2 {
			if second, err := readMeta(w.data, size); err == nil && second.pageSize == size {
				return second, nil
			}
		}
		return best, errors.Join(w.errs...)
	}
	second, err := readMeta(w.data, first.pageSize)
	switch {
	case err != nil:
		w.fault("meta page 1: %w", err)
	case second.txid > first.txid:
		return second, nil
	}
	return first, nil
}

func readMeta(data []byte, at int) (m meta, err error) {
	if at < 0 || len(data) < at+pageHeader+metaSize {
		return m, errors.New("is not there")
	}
	page, b := data[at:], data[at+pageHeader:at+pageHeader+metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8])
	switch {
	case order.Uint16(page[8:]) != flagMeta, order.Uint32(b) != magic, order.Uint32(b[4:]) != version:
		return m, errors.New("is none")
	case order.Uint64(b[metaSize-8:]) != sum.Sum64():
		return m, errors.New("has another checksum than its content")
	}
	m = meta{
		pageSize: int(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		end: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}
	if m.pageSize < 1024 || m.pageSize > 1<<20 || m.end > 1<<40 {
		return m, fmt.Errorf("tells of pages of %d bytes, %d of them", m.pageSize, m.end)
	}
	return m, nil
}

// take gives a page's bytes with those that overflow into the next ones.
func (w *walker) take(id uint64) []byte {
	size := uint64(w.meta.pageSize)
	if id < 2 || id >= w.meta.end || (id+1)*size > uint64(len(w.data)) {
		w.fault("page %d: is not in the file", id)
		return nil
	}
	p := w.data[id*size:]
	n := uint64(order.Uint32(p[12:])) + 1
	if order.Uint64(p) != id {
		w.fault("page %d: calls itself %d", id, order.Uint64(p))
		return nil
	}
	if n > w.meta.end-id || n*size > uint64(len(p)) {
		w.fault("page %d: its %d pages are not in the file", id, n)
		return nil
	}
	for i := range n {
		if w.seen[id+i] {
			w.fault("page %d: is used twice", id+i)
			return nil
		}
		w.seen[id+i] = true
	}
	return p[:n*size]
}

func (w *walker) page(id uint64, buckets []string, depth int) (first []byte) {
	if depth > maxDepth {
		w.fault("page %d: is too deep", id)
		return nil
	}
	p := w.take(id)
	if p == nil {
		return nil
	}
	return w.nodes(fmt.Sprintf("page %d", id), p, buckets, depth)
}

// nodes reads a page that may stand in a bucket's value as well, and returns its first key.
func (w *walker) nodes(name string, p []byte, buckets []string, depth int) (first []byte) {
	count := int(order.Uint16(p[10:]))
	flags := order.Uint16(p[8:])
	if flags != flagBranch && flags != flagLeaf || pageHeader+count*element > len(p) || (flags == flagBranch && count == 0) {
		w.fault("%s: flags %#x with %d entries", name, flags, count)
		return nil
	}
	var last []byte
	for i := range count {
		e := p[pageHeader+i*element:]
		var key, value []byte
		var ok bool
		if flags == flagBranch {
			key, _, ok = span(e, order.Uint32(e), order.Uint32(e[4:]), 0)
		} else {
			key, value, ok = span(e, order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:]))
		}
		if !ok || i > 0 && bytes.Compare(last, key) >= 0 {
			w.fault("%s: entry %d is not in place", name, i)
			continue
		}
		if i == 0 {
			first = key
		}
		last = key
		switch {
		case flags == flagBranch:
			if below := w.page(order.Uint64(e[8:]), buckets, depth+1); below != nil && bytes.Compare(below, key) < 0 {
				w.fault("%s: entry %d begins behind its page", name, i)
			}
		case order.Uint32(e)&flagBucket != 0:
			w.bucket(name, append(slices.Clone(buckets), string(key)), value, depth+1)
		case order.Uint32(e) != 0:
			w.fault("%s: entry %d has flags %#x", name, i, order.Uint32(e))
		default:
			w.visit(buckets, key, value)
		}
	}
	return first
}

// span cuts a key and a value that lie pos bytes behind their entry.
func span(e []byte, pos, ksize, vsize uint32) (key, value []byte, ok bool) {
	end := uint64(pos) + uint64(ksize) + uint64(vsize)
	if pos < element || end > uint64(len(e)) {
		return nil, nil, false
	}
	k := pos + ksize
	return e[pos:k:k], e[k:end:end], true
}

func (w *walker) bucket(name string, buckets []string, value []byte, depth int) {
	if len(value) < bucketHeader {
		w.fault("%s: bucket %q has no header", name, buckets)
		return
	}
	w.visit(buckets, nil, value[8:bucketHeader]) // that it is there, and its sequence
	if root := order.Uint64(value); root != 0 {
		w.page(root, buckets, depth)
		return
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != flagLeaf {
		w.fault("%s: bucket %q has no page", name, buckets)
		return
	}
	w.nodes(fmt.Sprintf("bucket %q", buckets), inline, buckets, depth)
}

// freelist checks the list of free pages: what it names is written over.
func (w *walker) freelist() {
	if w.meta.freelist == noFreelist || len(w.errs) > 0 {
		return
	}
	p := w.take(w.meta.freelist)
	if p == nil {
		return
	}
	if flags := order.Uint16(p[8:]); flags != flagFreelist {
		w.fault("list of free pages: has flags %#x", flags)
		return
	}
	ids, count := p[pageHeader:], uint64(order.Uint16(p[10:]))
	if count == manyFree {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		w.fault("list of free pages: has no room for %d", count)
		return
	}
	for i := range count {
		if id := order.Uint64(ids[i*8:]); id < 2 || id >= w.meta.end || w.seen[id] {
			w.fault("list of free pages: page %d is in use", id)
			return
		}
	}
}
