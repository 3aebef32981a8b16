package audit

import (
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// published reads the elements of the firewall's maps, in the words of container.
func (c *comparison) published() []string {
	var found []string
	conn := &nftables.Conn{}
	table := &nftables.Table{Name: c.Name, Family: nftables.TableFamilyIPv4}
	for _, name := range []string{"published", "published_any"} {
		set, err := conn.GetSetByName(table, name)
		if err != nil {
			c.fault("firewall map %s: %v", name, err)
			continue
		}
		elements, err := conn.GetSetElements(set)
		if err != nil {
			c.fault("firewall map %s: %v", name, err)
		}
		for _, el := range elements {
			found = append(found, forward(name, el))
		}
	}
	return found
}

// forward is a map's element as text. Each part of a key or value takes four
// bytes or a multiple, see nf_tables(4) on concatenations.
func forward(set string, el nftables.SetElement) string {
	key, ip := el.Key, "any"
	if set == "published" {
		ip = fmt.Sprintf("%d.%d.%d.%d", key[0], key[1], key[2], key[3])
		key = key[4:]
	}
	proto := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[key[0]]
	port := func(b []byte) int { return int(b[0])<<8 | int(b[1]) }
	to := el.Val
	return fmt.Sprintf("%s %s %d to %d.%d.%d.%d:%d", ip, proto, port(key[4:]), to[0], to[1], to[2], to[3], port(to[4:]))
}
