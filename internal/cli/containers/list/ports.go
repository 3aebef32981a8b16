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

// Ports writes the published and the exposed ports as ps does: runs of ports that
// keep their number, then the ports that get another one. With fold those are
// runs too: "0.0.0.0:8000-8002->80-82/tcp".
func Ports(ports []container.PortSummary, fold bool) string {
	list := make([]span, 0, len(ports))
	for _, p := range ports {
		s := span{proto: p.Type, public: p.PublicPort, port: p.PrivatePort, last: p.PrivatePort}
		if p.PublicPort != 0 && p.IP.IsValid() {
			s.ip = p.IP.String()
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.port, b.port), strings.Compare(a.ip, b.ip), cmp.Compare(a.public, b.public), strings.Compare(a.proto, b.proto))
	})
	var open, closed, mapped []span
	for _, s := range list {
		same := s.public == 0 || s.public == s.port
		if !same && !fold {
			mapped = append(mapped, s)
			continue
		}
		i := slices.IndexFunc(open, func(o span) bool {
			return o.ip == s.ip && o.proto == s.proto && o.shift() == s.shift() && (o.public == 0) == (s.public == 0)
		})
		switch {
		case i < 0:
			open = append(open, s)
		case open[i].last+1 == s.port:
			open[i].last = s.port
		case open[i].last != s.port:
			closed = append(closed, open[i])
			open[i] = s
		}
	}
	return join(slices.Concat(closed, open, mapped))
}

// shift is how far the host's number lies from the container's.
func (s span) shift() int {
	if s.public == 0 {
		return 0
	}
	return int(s.public) - int(s.port)
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
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func numbers(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
