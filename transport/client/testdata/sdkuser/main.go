// Command sdkuser is a program of another module that is one rank of a world.
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
	"time"

	"muster/transport/client"
)

func main() {
	servers := flag.String("servers", "127.0.0.1:7380", "addresses of the servers, separated by commas")
	world := flag.String("world", "train", "world to join")
	rank := flag.Uint("rank", 0, "rank in it")
	address := flag.String("address", "", "where this rank listens, scheme:rest")
	flag.Parse()
	if err := work(strings.Split(*servers, ","), *world, uint32(*rank), *address); err != nil {
		log.Fatal(err)
	}
}

func work(servers []string, world string, rank uint32, address string) error {
	muster, err := client.New(client.Config{Servers: servers})
	if err != nil {
		return err
	}
	defer muster.Close()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	member, err := muster.Join(ctx, client.MemberConfig{World: world, Rank: rank, Address: address})
	if err != nil {
		return err
	}
	master, err := muster.Cluster().Address(ctx, world, 0)
	if err != nil {
		return err
	}
	fmt.Printf("rank %d of %s is incarnation %d; rank 0 listens at %s\n", rank, world, member.Incarnation(), master)

	select {
	case <-member.Done():
		var stopped *client.Stopped
		if errors.As(member.Err(), &stopped) {
			return nil // we were asked to
		}
		return member.Err()
	case <-ctx.Done():
		leaving, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return member.Leave(leaving)
	}
}
