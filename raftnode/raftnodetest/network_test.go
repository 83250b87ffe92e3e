package raftnodetest

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// connected dials from a to a listener at b and returns both ends.
func connected(t *testing.T, n *Network, l net.Listener) (client, server net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		require.NoError(t, err)
		accepted <- c
	}()
	client, err := n.Dialer("a")(context.Background(), "b")
	require.NoError(t, err)
	return client, <-accepted
}

func TestNetwork_RefusesWhereNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		dial := n.Dialer("a")
		_, err := dial(context.Background(), "b")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		l := n.Listen("b")
		client, server := connected(t, n, l)
		require.NoError(t, l.Close())
		_, err = dial(context.Background(), "b")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		_, err = client.Write([]byte("x"))
		require.NoError(t, err, "what was connected stays so")
		client.Close()
		server.Close()
	})
}

func TestNetwork_CutSwallowsAndHealCloses(t *testing.T) {
	for name, cut := range map[string]func(*Network){
		"cut":     func(n *Network) { n.Cut("b", "a") },
		"isolate": func(n *Network) { n.Isolate("b") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork()
				l := n.Listen("b")
				defer l.Close()
				lossy, lossyEnd := connected(t, n, l)
				whole, wholeEnd := connected(t, n, l)
				cut(n)
				_, err := lossy.Write([]byte("swallowed"))
				require.NoError(t, err)
				require.NoError(t, lossyEnd.SetReadDeadline(time.Now().Add(time.Second)))
				_, err = lossyEnd.Read(make([]byte, 1))
				require.Error(t, err)

				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err = n.Dialer("a")(ctx, "b")
				require.ErrorIs(t, err, context.DeadlineExceeded)

				n.Heal()
				for _, c := range []net.Conn{lossy, lossyEnd} {
					_, err := c.Read(make([]byte, 1))
					require.Error(t, err, "its stream had a hole")
				}
				_, err = whole.Write([]byte("fine"))
				require.NoError(t, err)
				b := make([]byte, 4)
				_, err = io.ReadFull(wholeEnd, b)
				require.NoError(t, err)
				require.Equal(t, "fine", string(b))
				whole.Close()
				wholeEnd.Close()
			})
		})
	}
}

func TestNetwork_CloseOverACutIsHeardAtHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		l := n.Listen("b")
		defer l.Close()
		client, server := connected(t, n, l)
		heard := make(chan error, 1)
		go func() {
			_, err := server.Read(make([]byte, 1))
			heard <- err
		}()
		n.Cut("a", "b")
		require.NoError(t, client.Close())
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		synctest.Wait()
		require.Empty(t, heard)
		n.Heal()
		require.Error(t, <-heard)
	})
}

func TestNetwork_Kill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		l := n.Listen("b")
		client, server := connected(t, n, l)
		n.Kill("b")
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		_, err = server.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = n.Dialer("b")(context.Background(), "a")
		require.ErrorIs(t, err, syscall.ENETDOWN, "the dead dial nobody")
		n.Listen("b").Close()
		_, err = n.Dialer("b")(context.Background(), "a")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		client.Close()
	})
}
