package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/client"
)

func newWatch(c *cli) *cobra.Command {
	var from string
	var kinds []string
	cmd := &cobra.Command{
		Use:   "watch [WORLD …]",
		Short: "Tell what happens, as it happens",
		Long: `Tell what happens, as it happens, in all worlds or those named, until Ctrl-C.

With -o json each event is one line: an object with number, kind, clock_ns, wall_ms (Unix milliseconds), world, generation, ranks (base64 of
the packed ranks), rank_list (such as "3, 5-7"), role, status and text. Fields may be added, never changed or removed. Numbers ascend, and
--from goes on behind one: keep the last one you have dealt with. A watch survives any number of leader changes without a gap. It ends with
1 when what was asked for is not held any more, or the state was restored, and says from which number to go on after having listed again.`,
		Example: `  muster watch train
  muster watch --kind world-status --kind proc-expired
  muster watch eval -o json --from 1763900000000123 --timeout 2s`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			req := &musterv1.WatchRequest{Worlds: args}
			var err error
			if from != "now" {
				if req.From, err = strconv.ParseUint(from, 10, 64); err != nil || req.From == 0 {
					return usagef("--from %q: give now, or the number of an event", from)
				}
			}
			if req.Kinds, err = parseKinds(kinds); err != nil {
				return err
			}
			w := &watcher{out: cmd.OutOrStdout(), json: c.output == "json"}
			return c.patiently(cmd, func(ctx, soon context.Context, cluster *client.Cluster) error {
				if _, err := cluster.Status(soon, &musterv1.StatusRequest{Local: true}); err != nil {
					return err
				}
				err := cluster.Watch(ctx, req, w.tell)
				if cmd.Context().Err() != nil || errors.Is(err, context.DeadlineExceeded) && cmd.Flags().Changed("timeout") {
					return nil // it was to end some time
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "now", "the number behind which to begin, or now")
	cmd.Flags().StringArrayVar(&kinds, "kind", nil, "only events of this kind, such as world-status; may be given more than once")
	return cmd
}

// parseKinds reads world-status and its like.
func parseKinds(texts []string) ([]musterv1.Event_Kind, error) {
	var out []musterv1.Event_Kind
	for _, text := range texts {
		kind, ok := musterv1.Event_Kind_value["KIND_"+strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]
		if !ok || kind == 0 {
			var names []string
			for _, name := range musterv1.Event_Kind_name {
				if name != musterv1.Event_KIND_UNSPECIFIED.String() {
					names = append(names, strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "KIND_"), "_", "-")))
				}
			}
			slices.Sort(names)
			return nil, usagef("--kind %q: give one of %s", text, strings.Join(names, ", "))
		}
		out = append(out, musterv1.Event_Kind(kind))
	}
	return out, nil
}

// watcher prints events, a line each.
type watcher struct {
	out  io.Writer
	json bool
}

func (w *watcher) tell(answer *musterv1.WatchResponse) error {
	for _, e := range answer.GetEvents() {
		line := eventLine(e)
		if w.json {
			var err error
			if line, err = eventJSON(e); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w.out, line); err != nil {
			return err
		}
	}
	return nil
}

// eventLine: 2026-11-23T09:22:33.123Z 1763900000000123 train: rank 3 ended: on node-b: exited with code 17.
func eventLine(e *musterv1.Event) string {
	line := time.UnixMilli(e.GetWallMs()).UTC().Format("2006-01-02T15:04:05.000Z") + " " + strconv.FormatUint(e.GetNumber(), 10) + " "
	if e.GetWorld() != "" {
		line += e.GetWorld() + ": "
	}
	return line + eventText(e)
}

// eventJSON is one line; see the help of watch.
func eventJSON(e *musterv1.Event) (string, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
	if err != nil {
		return "", err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson varies its white space on purpose
		return "", err
	}
	if len(e.GetRanks()) > 0 {
		line.Truncate(line.Len() - 1)
		fmt.Fprintf(&line, `,"rank_list":%q}`, runsText(e.GetRanks()))
	}
	return line.String(), nil
}

func newWorldHistory(c *cli) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "history WORLD",
		Short: "Tell what is still known of a world, over its generations",
		Example: `  muster world history eval
  muster world history train -o json`,
		Args: exactly("one world"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := worlds(args); err != nil {
				return err
			}
			return c.cluster(cmd, func(ctx context.Context, cluster *client.Cluster) error {
				answer, err := cluster.History(ctx, &musterv1.HistoryRequest{World: args[0], Stale: stale})
				if err != nil {
					return err
				}
				p := c.printer(cmd)
				return p.message(answer, func() error { return history(p, answer) })
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "what the server asked has, without asking the leader; may be old")
	return cmd
}

func history(p printer, answer *musterv1.HistoryResponse) error {
	if age := stalenessText(answer.GetStaleness()); age != "" {
		if err := p.line("(%s)", age); err != nil {
			return err
		}
	}
	for i, g := range answer.GetGenerations() {
		w := g.GetWorld()
		head := fmt.Sprintf("generation %d: %s", w.GetGeneration(), statusText(w))
		if reason := w.GetCondition().GetReason(); reason != "" {
			head += ": " + oneLine(reason)
		}
		if i > 0 {
			head = "\n" + head
		}
		if err := p.line("%s", head); err != nil {
			return err
		}
		for _, cause := range w.GetEarlierCauses() {
			if err := p.line("  %s earlier trouble, since over: %s", wallText(cause.GetAtUnixMs()), oneLine(cause.GetText())); err != nil {
				return err
			}
		}
		for _, e := range g.GetEvents() {
			if err := p.line("  %s %s", wallText(e.GetWallMs()), eventText(e)); err != nil {
				return err
			}
		}
	}
	return nil
}

func wallText(unixMs int64) string { return time.UnixMilli(unixMs).UTC().Format("2006-01-02 15:04:05") }
