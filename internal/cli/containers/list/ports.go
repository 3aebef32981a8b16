package list

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// span is a run of neighbouring ports that lead to neighbouring ports.
type span struct {
	ip, proto    string
	public, port uint16
	last         uint16 // the last container port; the host's runs along
}

// Ports writes the published and the exposed ports as ps does, neighbours folded
// into ranges: "0.0.0.0:8000-8002->80-82/tcp, 443/tcp".
func Ports(ports []container.PortSummary) string {
	list := make([]span, 0, len(ports))
	for _, p := range ports {
		s := span{proto: p.Type, public: p.PublicPort, port: p.PrivatePort, last: p.PrivatePort}
		if p.PublicPort != 0 && p.IP.IsValid() {
			s.ip = p.IP.String()
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.port, b.port), strings.Compare(a.ip, b.ip), cmp.Compare(a.public, b.public), strings.Compare(a.proto, b.proto))
	})
	return join(fold(list))
}

// fold merges each port into the span that it continues.
func fold(list []span) []span {
	var spans []span
	for _, s := range list {
		i := slices.IndexFunc(spans, func(open span) bool {
			if open.ip != s.ip || open.proto != s.proto || open.last+1 != s.port || open.last == 65535 {
				return false
			}
			if open.public == 0 || s.public == 0 {
				return open.public == s.public
			}
			return s.public-open.public == s.port-open.port
		})
		if i >= 0 {
			spans[i].last = s.port
			continue
		}
		spans = append(spans, s)
	}
	return spans
}

func join(spans []span) string {
	texts := make([]string, 0, len(spans))
	for _, s := range spans {
		text := numbers(s.port, s.last) + "/" + s.proto
		if s.public != 0 {
			host := numbers(s.public, s.public+(s.last-s.port))
			if s.ip != "" {
				host = net.JoinHostPort(s.ip, host)
			}
			text = host + "->" + text
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", ")
}

func numbers(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
