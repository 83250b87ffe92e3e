package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports below those that the system gives to outgoing connections: while a server is down, no connection of anybody can get its
// port as its own end, as it otherwise would now and then, even one that is dialled to that very port.
const firstPort, lastPort = 20000, 32000

// FreeAddresses are n loopback addresses that nobody listens at.
func FreeAddresses(t testing.TB, n int) []string {
	t.Helper()
	var addresses []string
	for tries := 0; len(addresses) < n; tries++ {
		if tries == 1000 {
			t.Fatalf("no %d free ports between %d and %d", n, firstPort, lastPort)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort)))
		if err != nil {
			continue
		}
		defer l.Close() // only now, so that none is given twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}
