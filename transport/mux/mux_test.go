package mux_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"muster/raftnode/raftnodetest"
	"muster/transport/mux"
)

// inBubble runs f with a Mux over an in-memory listener, in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, m *mux.Mux, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		network := raftnodetest.NewNetwork()
		m := mux.New(network.Listen("server"))
		var conns []net.Conn
		f(t, m, func() net.Conn {
			c, err := network.Dialer("client")(context.Background(), "server")
			require.NoError(t, err)
			conns = append(conns, c)
			return c
		})
		require.NoError(t, m.Close())
		for _, c := range conns {
			c.Close()
		}
	})
}

// accepted accepts one connection and reads n bytes of it.
func accepted(t *testing.T, l net.Listener, n int) string {
	t.Helper()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	b := make([]byte, n)
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b)
}

func TestMux_SortsByFirstByteAndReplaysIt(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		peer, grpc, http := dial(), dial(), dial()
		_, err := peer.Write([]byte("MUSTERP1"))
		require.NoError(t, err)
		_, err = grpc.Write([]byte("PRI * HTTP/2.0"))
		require.NoError(t, err)
		_, err = http.Write([]byte("GET /metrics HTTP/1.1"))
		require.NoError(t, err)
		require.Equal(t, "GET /metrics HTTP/1.1", accepted(t, m.HTTP(), 21))
		require.Equal(t, "PRI * HTTP/2.0", accepted(t, m.GRPC(), 14))
		require.Equal(t, "MUSTERP1", accepted(t, m.Peers(), 8))
	})
}

// TestMux_TellsConnectionsApart, also those of one client, whose ends look the same.
func TestMux_TellsConnectionsApart(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		ends := map[net.Addr]bool{}
		for range 3 {
			_, err := dial().Write([]byte("PRI"))
			require.NoError(t, err)
			c, err := m.GRPC().Accept()
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, "client", c.RemoteAddr().String())
			ends[c.RemoteAddr()] = true
			require.True(t, ends[c.RemoteAddr()], "asked again, it is the same")
		}
		require.Len(t, ends, 3)
	})
}

func TestMux_WrongByteIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		c := dial()
		_, err := c.Write([]byte("HEAD / HTTP/1.1"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestMux_MuteConnectionIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		mute := dial()
		began := time.Now()
		_, err := mute.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestMux_MuteConnectionDoesNotHoldOthersUp(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		dial()
		began := time.Now()
		c := dial()
		_, err := c.Write([]byte("M"))
		require.NoError(t, err)
		require.Equal(t, "M", accepted(t, m.Peers(), 1))
		require.Zero(t, time.Since(began))
	})
}

func TestMux_BoundsSilentConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		for range 1024 {
			dial()
		}
		synctest.Wait()
		began := time.Now()
		_, err := dial().Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 10*time.Millisecond, time.Since(began), "one too many is closed soon")
		time.Sleep(5 * time.Second) // virtual: the mute ones are gone now
		synctest.Wait()
		c := dial()
		_, err = c.Write([]byte("P"))
		require.NoError(t, err)
		require.Equal(t, "P", accepted(t, m.GRPC(), 1))
	})
}

// A crowd that comes all at once, faster than it is taken, and says who it is loses nobody; nor does a node that comes in its middle.
func TestMux_CrowdLosesNobody(t *testing.T) {
	const crowd, middle = 2000, 1500
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		taken := make(chan string, crowd+1)
		take := func(l net.Listener, what string) {
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond)
				taken <- what
			}
		}
		go take(m.GRPC(), "a client")
		go take(m.Peers(), "a node")
		for i := range crowd {
			what := "P"
			if i == middle {
				what = "M"
			}
			c := dial()
			go func() { _, _ = c.Write([]byte(what)) }()
		}
		time.Sleep(time.Second) // virtual: all are taken by then, or never
		count := map[string]int{}
		for range len(taken) {
			count[<-taken]++
		}
		require.Equal(t, map[string]int{"a client": crowd - 1, "a node": 1}, count)
	})
}

func TestMux_ClosedBranchClosesItsConnectionsOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		require.NoError(t, m.GRPC().Close())
		_, err := m.GRPC().Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		grpc, peer := dial(), dial()
		_, err = grpc.Write([]byte("P"))
		require.NoError(t, err)
		_, err = grpc.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		_, err = peer.Write([]byte("M"))
		require.NoError(t, err)
		require.Equal(t, "M", accepted(t, m.Peers(), 1))
	})
}

func TestMux_CloseEndsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, m *mux.Mux, dial func() net.Conn) {
		mute, unaccepted := dial(), dial()
		_, err := unaccepted.Write([]byte("M"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, m.Close())
		for _, c := range []net.Conn{mute, unaccepted} {
			_, err := c.Read(make([]byte, 1))
			require.Error(t, err)
		}
		_, err = m.Peers().Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestMux_OverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := mux.New(l)
	require.Equal(t, l.Addr(), m.Peers().Addr())
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("MUSTERP1"))
	require.NoError(t, err)
	require.Equal(t, "MUSTERP1", accepted(t, m.Peers(), 8))
	require.NoError(t, m.Close())
	_, err = m.GRPC().Accept()
	require.True(t, errors.Is(err, net.ErrClosed))
}
