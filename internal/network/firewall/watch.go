package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// watcher tells of tables that somebody deletes, as a reload of the host's
// firewall does.
type watcher struct {
	socket *os.File
	gone   chan struct{}
	// news is set by each change of any table.
	news atomic.Bool
}

// nftablesGroup is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h.
const nftablesGroup = 7

// watch subscribes to the kernel's news of nftables; it runs in the namespace of the table.
func watch() (*watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (nftablesGroup - 1)}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("netlink bind", err)
	}
	// The descriptor does not block, so the runtime's poller waits for it and Close wakes a reader.
	w := &watcher{socket: os.NewFile(uintptr(fd), "nftables news"), gone: make(chan struct{}, 1)}
	go w.run()
	return w, nil
}

func (w *watcher) run() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.socket.Read(buf)
		w.news.Store(true)
		// News that did not fit may have been of a deletion.
		if errors.Is(err, unix.ENOBUFS) || (err == nil && tellsOfDeletion(buf[:n])) {
			select {
			case w.gone <- struct{}{}:
			default:
			}
			continue
		}
		if err != nil {
			return
		}
	}
}

func tellsOfDeletion(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false
		}
		if binary.NativeEndian.Uint16(b[4:]) == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE {
			return true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false
}

// repair makes the table again from state where it is not there. Our own
// replacing of the table is news of a deletion too, hence the look.
func (t *Table) repair(state map[key]Forward) {
	tables, err := list(t, func(c *nftables.Conn) ([]*nftables.Table, error) {
		return c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	})
	if err != nil {
		t.opt.Log.Error("cannot look at the firewall table", "table", t.opt.Table, "error", err)
		return
	}
	for _, other := range tables {
		if other.Name == t.opt.Table {
			return
		}
	}
	t.opt.Log.Warn("firewall table was removed by someone else; it is made again", "table", t.opt.Table)
	if err := t.rebuild(state); err != nil {
		t.opt.Log.Error("cannot make the firewall table again; published ports do not answer", "table", t.opt.Table, "error", err)
	}
}

// list repeats a listing that others changed while it was made.
func list[T any](t *Table, get func(*nftables.Conn) ([]T, error)) (all []T, err error) {
	for range 20 {
		c, err := t.conn()
		if err != nil {
			return nil, err
		}
		if all, err = get(c); !errors.Is(err, unix.EINTR) {
			return all, err
		}
	}
	return nil, fmt.Errorf("the rules change too fast to be listed: %w", unix.EINTR)
}

// watchIn runs watch in the table's namespace.
func (t *Table) watchIn() (*watcher, error) {
	var w *watcher
	err := t.in(func() (err error) { w, err = watch(); return err })
	if err != nil {
		return nil, fmt.Errorf("watch firewall table: %w", err)
	}
	return w, nil
}
