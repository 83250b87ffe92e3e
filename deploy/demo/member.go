package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

// What a member process says on its standard output, a line each, when it has come so far.
const (
	saidJoined   = "joined"
	saidRejoined = "joined again"
	saidStopped  = "stopped"
)

// memberMain is the program "demo member": it joins a world with the SDK and stays a member until it is told to stop.
func memberMain(args []string) error {
	flags := flag.NewFlagSet("member", flag.ContinueOnError)
	servers := flags.String("servers", "", "addresses of the servers, separated by commas")
	world := flags.String("world", "", "world to join")
	rank := flags.Uint("rank", 0, "rank in it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	muster, err := client.New(client.Config{
		Servers: strings.Split(*servers, ","),
		Logger:  hclog.New(&hclog.LoggerOptions{Name: fmt.Sprintf("%s[%d]", *world, *rank), Level: hclog.Debug, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	defer muster.Close()
	member, err := muster.Join(context.Background(), client.MemberConfig{
		World: *world, Rank: uint32(*rank), OnRejoin: func(*musterv1.ProcRef) { fmt.Println(saidRejoined) },
	})
	if err != nil {
		return err
	}
	fmt.Println(saidJoined)
	<-member.Done()
	var stopped *client.Stopped
	if !errors.As(member.Err(), &stopped) {
		return fmt.Errorf("ended without being stopped: %w", member.Err())
	}
	fmt.Println(saidStopped)
	return nil
}
