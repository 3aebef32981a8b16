package link

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
)

func BenchmarkNamespace(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	outer, err := Open(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer outer.Close()
	ns, err := outer.Namespace(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	h, err := Open(ns)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	br, err := h.EnsureBridge(Bridge{Name: "br0", Address: netip.MustParsePrefix("172.16.0.1/16"), MTU: 1500})
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range []*Veth{nil, {Name: "veth0", Bridge: br.Index, MTU: 1500, MAC: []byte{2, 0, 0, 0, 0, 1},
		Address: netip.MustParsePrefix("172.16.0.2/16"), Gateway: netip.MustParseAddr("172.16.0.1")}} {
		name := "loopback"
		if v != nil {
			name = "veth"
		}
		for _, keep := range []bool{true, false} {
			sub := name + "/destroyed meanwhile"
			if keep {
				sub = name + "/kept"
			}
			b.Run(sub, func(b *testing.B) {
				var all []*os.File
				for i := range b.N {
					w := v
					if v != nil {
						c := *v
						c.Name = fmt.Sprintf("%c%d-%x", sub[len(sub)-2], b.N, i)
						w = &c
					}
					f, err := h.Namespace(nil, w)
					if err != nil {
						b.Fatal(err)
					}
					if keep {
						all = append(all, f)
					} else {
						_ = f.Close()
					}
				}
				b.StopTimer()
				for _, f := range all {
					_ = f.Close()
				}
			})
		}
	}
}
