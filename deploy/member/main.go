// Command member is a program that does nothing but be a member of a world: something to join, kill and stop while trying Muster
// out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	servers := "127.0.0.1:7380"
	if s := os.Getenv("MUSTER_SERVERS"); s != "" {
		servers = s
	}
	world := flag.String("world", "", "world to join; default what the host that started this program says")
	rank := flag.Uint("rank", 0, "rank to join as, with -world")
	address := flag.String("address", "", "where this program would listen, scheme:rest")
	flag.StringVar(&servers, "servers", servers, "servers, separated by commas; default from MUSTER_SERVERS")
	flag.Parse()
	if *rank >= id.MaxProcs {
		return fmt.Errorf("-rank %d: must be below %d", *rank, id.MaxProcs)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := client.New(client.Config{Servers: strings.Split(servers, ",")})
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Join(ctx, client.MemberConfig{
		World: *world, Rank: uint32(*rank), Address: *address,
		OnRejoin: func(p *musterv1.ProcRef) { log.Printf("joined again as incarnation %d", p.Incarnation) },
	})
	if err != nil {
		return err
	}
	log.Printf("joined %s[%d] as incarnation %d", m.Proc().GetWorld(), m.Proc().GetRank(), m.Incarnation())
	select {
	case <-m.Done():
		var stopped *client.Stopped
		if errors.As(m.Err(), &stopped) {
			log.Print(m.Err())
			return nil
		}
		return m.Err()
	case <-ctx.Done():
		log.Print("ended without leaving: its lease will tell")
		return nil
	}
}
