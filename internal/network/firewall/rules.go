package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names of what the table holds.
const (
	mapBound   = "published"     // address . protocol . port → address . port
	mapAny     = "published_any" // protocol . port → address . port
	chainDNAT  = "publish"
	ifNameSize = 16
)

// 32-bit registers follow each other inside the 128-bit ones: a concatenated key
// that starts at NFT_REG_1 goes on in NFT_REG32_01 and NFT_REG32_02.
const (
	reg      = unix.NFT_REG_1
	regPart2 = unix.NFT_REG32_01
	regPart3 = unix.NFT_REG32_02
)

// layout is the table's fixed part: everything but the elements of the maps.
type layout struct {
	table      *nftables.Table
	bound, any *nftables.Set
}

func newLayout(name string) *layout {
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	target := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	return &layout{
		table: t,
		bound: &nftables.Set{Table: t, Name: mapBound, IsMap: true, Concatenation: true, DataType: target,
			KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)},
		any: &nftables.Set{Table: t, Name: mapAny, IsMap: true, Concatenation: true, DataType: target,
			KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)},
	}
}

// write puts the whole table, without elements, in the connection's batch. What
// the table held before is replaced in the same transaction.
func (l *layout) write(c *nftables.Conn, bridge string, subnet netip.Prefix) error {
	c.AddTable(l.table) // so that the deletion finds one
	c.DelTable(l.table)
	c.AddTable(l.table)
	for _, s := range []*nftables.Set{l.bound, l.any} {
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
	}
	l.writePublish(c)
	l.writeNAT(c, bridge, subnet)
	l.writeFilter(c, bridge)
	return nil
}

func (l *layout) rule(c *nftables.Conn, chain *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	c.AddRule(&nftables.Rule{Table: l.table, Chain: chain, Exprs: all})
}

func (l *layout) base(c *nftables.Conn, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Name: name, Table: l.table, Type: kind, Hooknum: hook, Priority: priority})
}

// writePublish redirects what is sent to one of the host's own addresses and a published port.
func (l *layout) writePublish(c *nftables.Conn) {
	publish := c.AddChain(&nftables.Chain{Name: chainDNAT, Table: l.table})
	for _, hook := range []struct {
		name string
		at   *nftables.ChainHook
	}{{"prerouting", nftables.ChainHookPrerouting}, {"output", nftables.ChainHookOutput}} {
		chain := l.base(c, hook.name, nftables.ChainTypeNAT, hook.at, nftables.ChainPriorityNATDest)
		l.rule(c, chain, localDestination(), verdict(expr.VerdictJump, chainDNAT))
	}
	destination := expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: regPart2, Specified: true}
	address := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	l.rule(c, publish, []expr.Any{
		address,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regPart2},
		destinationPort(regPart3),
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: mapBound, SetID: l.bound.ID},
		&destination,
	})
	l.rule(c, publish, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		destinationPort(regPart2),
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: mapAny, SetID: l.any.ID},
		&destination,
	})
}

// writeNAT hides containers behind the host, and loopback and neighbours behind
// the bridge's address where they come through a published port: answers must
// come back the way the request went.
func (l *layout) writeNAT(c *nftables.Conn, bridge string, subnet netip.Prefix) {
	chain := l.base(c, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	masquerade := []expr.Any{&expr.Masq{}}
	l.rule(c, chain, sourceIn(subnet), outInterface(bridge, expr.CmpOpNeq), masquerade)
	l.rule(c, chain, sourceIn(netip.MustParsePrefix("127.0.0.0/8")), outInterface(bridge, expr.CmpOpEq), masquerade)
	l.rule(c, chain, sourceIn(subnet), outInterface(bridge, expr.CmpOpEq), connectionHas(expr.CtKeySTATUS, ipsDstNAT), masquerade)
}

// writeFilter lets in what was asked for and keeps the rest out.
func (l *layout) writeFilter(c *nftables.Conn, bridge string) {
	// The bridge may route to and from loopback addresses (route_localnet), for
	// connections that start on the host. A container must not use that to
	// reach what listens on the host's loopback.
	raw := l.base(c, "raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	l.rule(c, raw, inInterface(bridge, expr.CmpOpEq), destinationIn(loopback), verdict(expr.VerdictDrop, ""))
	l.rule(c, raw, inInterface(bridge, expr.CmpOpEq), sourceIn(loopback), verdict(expr.VerdictDrop, ""))

	forward := l.base(c, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	accept := verdict(expr.VerdictAccept, "")
	l.rule(c, forward, outInterface(bridge, expr.CmpOpNeq), accept)
	l.rule(c, forward, connectionHas(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	l.rule(c, forward, inInterface(bridge, expr.CmpOpEq), accept)
	l.rule(c, forward, connectionHas(expr.CtKeySTATUS, ipsDstNAT), accept)
	l.rule(c, forward, verdict(expr.VerdictDrop, ""))
}

// ipsDstNAT is IPS_DST_NAT of include/uapi/linux/netfilter/nf_conntrack_common.h.
const ipsDstNAT = 1 << 5

func localDestination() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func destinationPort(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

func inInterface(name string, op expr.CmpOp) []expr.Any {
	return interfaceIs(expr.MetaKeyIIFNAME, name, op)
}

func outInterface(name string, op expr.CmpOp) []expr.Any {
	return interfaceIs(expr.MetaKeyOIFNAME, name, op)
}

func interfaceIs(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	padded := make([]byte, ifNameSize)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: padded}}
}

func sourceIn(p netip.Prefix) []expr.Any      { return addressIn(12, p) }
func destinationIn(p netip.Prefix) []expr.Any { return addressIn(16, p) }

// addressIn compares the address at that offset of the IPv4 header.
func addressIn(offset uint32, p netip.Prefix) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(uint64(1)<<(32-p.Bits())-1))
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: p.Masked().Addr().AsSlice()},
	}
}

// connectionHas holds where any of the bits is set in the connection's state or status.
func connectionHas(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: reg, Key: key},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}
