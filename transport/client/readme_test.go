package client_test

import (
	"context"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"muster/transport/client"
)

func talk(ctx context.Context, muster *client.Client) error {
	me, err := muster.Join(ctx, client.MemberConfig{World: "train", Rank: 1, Actors: map[string]client.MessageHandler{
		"chat": func(_ context.Context, m client.Message) { log.Printf("%v says %s", m.From, m.Payload) },
	}})
	if err != nil {
		return err
	}
	post := client.Post{From: "chat", To: "train[0].chat", Payload: []byte("hello")}
	if err := me.Post(post).Wait(ctx); err != nil {
		return err // a *client.Undeliverable says why the message came back
	}
	route, err := me.Resolve(ctx, "train[0]") // waits until it has an address
	if err != nil {
		return err
	}
	defer route.Close()
	changed := route.Changed()
	log.Printf("rank 0 is at %s", route.Location().Address)
	<-changed // it is somewhere else by now
	return nil
}

// The README's example of posts is the function above: it compiles.
func TestReadme_Talk(t *testing.T) {
	require.NotNil(t, talk)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	this, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	_, code, found := strings.Cut(string(readme), "```go\nfunc talk(")
	require.True(t, found)
	code, _, _ = strings.Cut(code, "```")
	require.Contains(t, string(this), "func talk("+code)
}
