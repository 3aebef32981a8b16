// Package firewall keeps the one nftables table that belongs to the engine:
// published ports as elements of maps, so that their number costs nothing per
// packet and one transaction per container; masquerading; and the rule that
// containers are reached through published ports only.
//
// An accept in this table does not lift a drop in another one: see Blockers.
package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// chunk bounds the elements of one netlink message, whose attributes hold at most 64 KiB.
const chunk = 256

// Forward is one published port. An unspecified HostIP stands for each of the host's addresses.
type Forward struct {
	HostIP   netip.Addr
	HostPort uint16
	// Proto is IPPROTO_TCP or IPPROTO_UDP.
	Proto  uint8
	Target netip.AddrPort
}

type key struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

func (f Forward) key() key {
	k := key{f.HostIP, f.Proto, f.HostPort}
	if !k.addr.IsValid() || k.addr.IsUnspecified() {
		k.addr = netip.IPv4Unspecified()
	}
	return k
}

// Options of New.
type Options struct {
	// Table is the table's name, Bridge that of the link, Subnet the containers' network.
	Table, Bridge string
	Subnet        netip.Prefix
	// NetNS is where the table lives; nil is the process's own.
	NetNS *os.File
	// In runs a function in that namespace; nil calls it where it is.
	In  func(func() error) error
	Log *slog.Logger
}

// Table is the engine's table. One goroutine writes it: requests that arrive
// while a transaction runs share the next one.
type Table struct {
	opt Options
	// writer is the connection that run writes through. It is kept open: the
	// kernel waits for an RCU grace period when one that has deleted something
	// is closed.
	writer   *nftables.Conn
	requests chan request
	stopped  chan struct{}
	stop     context.CancelFunc
	// baseline is how the kernel shows the fixed part of the table as it was
	// made; run alone uses it.
	baseline []string
	watched  *watcher
}

type request struct {
	add, remove []Forward
	// all replaces the whole content.
	all bool
	// look is called with the content and changes nothing of it.
	look func(state map[key]Forward) error
	done chan error
}

// New starts the writer. The kernel's table is not touched before Replace.
func New(opt Options) *Table {
	ctx, stop := context.WithCancel(context.Background())
	t := &Table{opt: opt, requests: make(chan request, 64), stopped: make(chan struct{}), stop: stop}
	go t.run(ctx)
	return t
}

// Close ends the writer. The table stays in the kernel.
func (t *Table) Close() {
	t.stop()
	<-t.stopped
}

// Replace makes the table anew with exactly these forwards, in one transaction:
// no packet sees it half done.
func (t *Table) Replace(ctx context.Context, all []Forward) error {
	return t.do(ctx, request{add: all, all: true})
}

// Add publishes. Either all forwards take effect or none.
func (t *Table) Add(ctx context.Context, f []Forward) error { return t.do(ctx, request{add: f}) }

// Remove takes forwards out; one that is not there is no error.
func (t *Table) Remove(ctx context.Context, f []Forward) error { return t.do(ctx, request{remove: f}) }

// do hands the request over and waits. Once it is handed over it is carried out
// whatever becomes of ctx, so the answer is always waited for.
func (t *Table) do(ctx context.Context, r request) error {
	r.done = make(chan error, 1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.stopped:
		return errClosed
	case t.requests <- r:
	}
	select {
	case err := <-r.done:
		return err
	case <-t.stopped:
		return errClosed
	}
}

var errClosed = fmt.Errorf("firewall: closed: %w", errdefs.ErrUnavailable)

// run is the only user of state and of the kernel's table.
func (t *Table) run(ctx context.Context) {
	defer close(t.stopped)
	defer t.hangUp()
	state := map[key]Forward{}
	made := false
	var gone <-chan struct{}
	if w, err := t.watchIn(); err != nil {
		t.opt.Log.Warn("a reload of the host's firewall will not be noticed before the next change of ports", "error", err)
	} else {
		defer w.socket.Close()
		gone, t.watched = w.gone, w
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-gone:
			if made {
				t.repair(state)
			}
		case r := <-t.requests:
			group := []request{r}
			for more := true; more; {
				select {
				case r := <-t.requests:
					group = append(group, r)
				default:
					more = false
				}
			}
			t.serve(state, group)
			made = true
		}
	}
}

// serve tries the group in one transaction, and each alone where that fails.
func (t *Table) serve(state map[key]Forward, group []request) {
	if len(group) > 1 && !slices.ContainsFunc(group, func(r request) bool { return r.all || r.look != nil }) {
		var joint request
		for _, r := range group {
			joint.add = append(joint.add, r.add...)
			joint.remove = append(joint.remove, r.remove...)
		}
		// What one request removes another may add: only disjoint ones are joined.
		if disjoint(joint) && t.apply(state, joint) == nil {
			for _, r := range group {
				r.done <- nil
			}
			return
		}
	}
	for _, r := range group {
		if r.look != nil {
			r.done <- r.look(state)
			continue
		}
		r.done <- t.apply(state, r)
	}
}

func disjoint(r request) bool {
	seen := map[key]bool{}
	for _, f := range slices.Concat(r.add, r.remove) {
		if seen[f.key()] {
			return false
		}
		seen[f.key()] = true
	}
	return true
}

// apply brings the kernel and then state up to date. A table that somebody
// flushed is made again from state.
func (t *Table) apply(state map[key]Forward, r request) error {
	next := state
	if r.all {
		next = map[key]Forward{}
	}
	var add, remove []Forward
	for _, f := range r.remove {
		if old, ok := next[f.key()]; ok {
			remove = append(remove, old)
		}
	}
	for _, f := range r.add {
		if old, ok := next[f.key()]; ok && old.Target == f.Target {
			continue
		}
		add = append(add, f)
	}
	var err error
	if !r.all && len(add)+len(remove) > 0 {
		err = t.change(add, remove)
		// A forward that stayed would lead to whoever gets the address next.
		for tries := 0; tries < 3 && passing(err); tries++ {
			err = t.change(add, remove)
		}
	}
	merged := func() map[key]Forward {
		m := maps.Clone(next)
		for _, f := range remove {
			delete(m, f.key())
		}
		for _, f := range add {
			m[f.key()] = f
		}
		return m
	}
	if r.all || errors.Is(err, unix.ENOENT) {
		if !r.all {
			t.opt.Log.Warn("firewall table was changed by someone else; it is made again", "table", t.opt.Table)
		}
		err = t.rebuild(merged())
	}
	if err != nil {
		return fmt.Errorf("firewall table %s: %w", t.opt.Table, err)
	}
	if r.all {
		clear(state)
	}
	for _, f := range remove {
		delete(state, f.key())
	}
	for _, f := range add {
		state[f.key()] = f
	}
	return nil
}

// transaction fills a batch and commits it. After a failure the connection is
// given up: answers may still be on their way.
func (t *Table) transaction(fill func(*nftables.Conn, *layout) error) (err error) {
	if t.writer == nil {
		if t.writer, err = t.conn(nftables.AsLasting()); err != nil {
			t.writer = nil
			return err
		}
	}
	if err = fill(t.writer, newLayout(t.opt.Table)); err == nil {
		err = t.writer.Flush()
	}
	if err != nil {
		t.hangUp()
	}
	return err
}

// passing says whether the kernel may well do the same in the next moment. The
// connection is a new one then.
func passing(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR)
}

func (t *Table) hangUp() {
	if t.writer != nil {
		_ = t.writer.CloseLasting()
		t.writer = nil
	}
}

// in runs f in the table's namespace.
func (t *Table) in(f func() error) error {
	if t.opt.In == nil {
		return f()
	}
	return t.opt.In(f)
}

func (t *Table) conn(opts ...nftables.ConnOption) (*nftables.Conn, error) {
	if t.opt.NetNS != nil {
		opts = append(opts, nftables.WithNetNSFd(int(t.opt.NetNS.Fd())))
	}
	return nftables.New(opts...)
}

func (t *Table) change(add, remove []Forward) error {
	return t.transaction(func(c *nftables.Conn, l *layout) error {
		if err := l.elements(remove, c.SetDeleteElements); err != nil {
			return err
		}
		return l.elements(add, c.SetAddElements)
	})
}

func (t *Table) rebuild(all map[key]Forward) error {
	defer t.takeBaseline()
	return t.transaction(func(c *nftables.Conn, l *layout) error {
		if err := l.write(c, t.opt.Bridge, t.opt.Subnet); err != nil {
			return err
		}
		return l.elements(slices.Collect(maps.Values(all)), c.SetAddElements)
	})
}

// elements sorts the forwards to their maps and hands them over in pieces.
func (l *layout) elements(list []Forward, put func(*nftables.Set, []nftables.SetElement) error) error {
	for _, s := range []*nftables.Set{l.bound, l.any} {
		var elems []nftables.SetElement
		for _, f := range list {
			if f.key().addr.IsUnspecified() == (s == l.any) {
				elems = append(elems, f.element())
			}
		}
		for part := range slices.Chunk(elems, chunk) {
			if err := put(s, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// element encodes key and value: each part is padded to four bytes.
func (f Forward) element() nftables.SetElement {
	k := f.key()
	var e nftables.SetElement
	if !k.addr.IsUnspecified() {
		e.Key = append(e.Key, k.addr.AsSlice()...)
	}
	e.Key = append(e.Key, k.proto, 0, 0, 0)
	e.Key = append(binary.BigEndian.AppendUint16(e.Key, k.port), 0, 0)
	e.Val = append(e.Val, f.Target.Addr().AsSlice()...)
	e.Val = append(binary.BigEndian.AppendUint16(e.Val, f.Target.Port()), 0, 0)
	return e
}

// Destroy ends the writer and removes the table from the kernel; that it is
// absent is no error.
func (t *Table) Destroy() error {
	t.Close()
	c, err := t.conn()
	if err != nil {
		return err
	}
	table := newLayout(t.opt.Table).table
	c.AddTable(table)
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove firewall table %s: %w", t.opt.Table, err)
	}
	return nil
}

// Blockers names the chains of others, as "family table chain", that drop what
// is forwarded unless a rule of theirs accepts it. What they drop, no rule of
// ours can let through.
func (t *Table) Blockers() ([]string, error) {
	chains, err := list(t, (*nftables.Conn).ListChains)
	if err != nil {
		return nil, fmt.Errorf("list firewall chains: %w", err)
	}
	var names []string
	for _, ch := range chains {
		if ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		family := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet"}[ch.Table.Family]
		if family == "" || (family == "ip" && ch.Table.Name == t.opt.Table) {
			continue
		}
		names = append(names, fmt.Sprintf("%s %s %s", family, ch.Table.Name, ch.Name))
	}
	_ = t.in(func() error {
		if legacyDrops() {
			names = append(names, LegacyChain)
		}
		return nil
	})
	slices.Sort(names)
	return names, nil
}

// LegacyChain is what Blockers calls the FORWARD chain of the old iptables, which
// is beside nftables and not in it.
const LegacyChain = "iptables-legacy filter FORWARD"
