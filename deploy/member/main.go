// Command member is a program that does nothing but be a member of a world: something to join, talk to, kill and stop while trying
// Muster out.
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
	"time"

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
	detached := flag.Bool("detached", false, "be in the address book only: no rank of the world, never supervised")
	flag.StringVar(&servers, "servers", servers, "servers, separated by commas; default from MUSTER_SERVERS")
	var greetings greetings
	flag.Var(&greetings, "post", "post a text to another such program, WORLD/RANK=TEXT; may be repeated")
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
	cfg := client.MemberConfig{
		World: *world, Rank: uint32(*rank), Address: *address,
		OnRejoin: func(p *musterv1.ProcRef) { log.Printf("joined again as incarnation %d", p.Incarnation) },
		Actors: map[string]client.MessageHandler{"chat": func(_ context.Context, m client.Message) {
			log.Printf("%v says: %s", m.From, m.Payload)
		}},
		OnAddress: func(at client.Location) {
			log.Printf("%v is at %q (incarnation %d)", at.Proc, at.Address, at.Incarnation)
		},
	}
	if *detached {
		cfg.Mode = musterv1.Mode_MODE_DETACHED
	}
	m, err := c.Join(ctx, cfg)
	if err != nil {
		return err
	}
	log.Printf("joined %s[%d] as incarnation %d", m.Proc().GetWorld(), m.Proc().GetRank(), m.Incarnation())
	if err := greetings.post(ctx, m); err != nil {
		return err
	}
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

// greetings are the values of -post.
type greetings []greeting

type greeting struct {
	to   id.ProcID
	text string
}

func (g *greetings) String() string { return fmt.Sprint(*g) }

func (g *greetings) Set(value string) error {
	proc, text, _ := strings.Cut(value, "=")
	to, err := id.ParseProcArg(proc)
	if err != nil {
		return err
	}
	*g = append(*g, greeting{to, text})
	return nil
}

// post posts all of them, and says what became of each.
func (g greetings) post(ctx context.Context, m *client.Member) error {
	for _, greeting := range g {
		err := greeting.post(ctx, m)
		var back *client.Undeliverable
		switch {
		case errors.As(err, &back):
			log.Print(back)
		case err != nil:
			return err
		default:
			log.Printf("%v has heard it", greeting.to)
		}
	}
	return nil
}

// post waits for its addressee to be there.
func (g greeting) post(ctx context.Context, m *client.Member) error {
	to := id.ActorID{Proc: g.to, Actor: "chat"}
	for {
		err := m.Post(client.Post{From: "chat", To: to.String(), Payload: []byte(g.text)}).Wait(ctx)
		var back *client.Undeliverable
		if !errors.As(err, &back) || !mayCome(back.Reason) {
			return err
		}
		log.Printf("%v; trying again", back)
		select {
		case <-time.After(time.Second):
		case <-m.Done():
			return m.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mayCome: nobody is there yet.
func mayCome(reason musterv1.Delivery) bool {
	switch reason {
	case musterv1.Delivery_DELIVERY_UNKNOWN_WORLD, musterv1.Delivery_DELIVERY_UNKNOWN_PROC, musterv1.Delivery_DELIVERY_NOT_JOINED:
		return true
	}
	return false
}
