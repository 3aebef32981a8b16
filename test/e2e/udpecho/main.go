// Command udpecho answers each UDP packet to port 9 with its own content; the
// network's tests run it in a container.
package main

import (
	"context"
	"net"
)

func main() {
	c, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", ":9")
	if err != nil {
		panic(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			panic(err)
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			panic(err)
		}
	}
}
