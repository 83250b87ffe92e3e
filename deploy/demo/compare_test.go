package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

func exampleView() *musterv1.ViewResponse {
	return &musterv1.ViewResponse{
		ExecutionId: "e", Phase: musterv1.Phase_PHASE_RUNNING, Number: 9, ClockNs: 99,
		Worlds: []*musterv1.WorldView{{
			World: "words", Generation: 3,
			Condition: &musterv1.Condition{Status: musterv1.Status_STATUS_LIVE, SinceNs: 5, Reason: "all there"},
			Procs: []*musterv1.ProcView{
				{Proc: &musterv1.ProcRef{World: "words", Incarnation: 4}, Health: musterv1.Health_HEALTH_ALIVE, ReportAgeNs: 1},
				{Proc: &musterv1.ProcRef{World: "words", Rank: 1, Incarnation: 5}, Health: musterv1.Health_HEALTH_EXPIRED, Cause: "silent"},
			},
		}},
	}
}

// TestCompare shows what is a difference and what is only time.
func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*musterv1.ViewResponse)
		want   string // empty: no difference
	}{
		"nothing":     {func(*musterv1.ViewResponse) {}, ""},
		"time":        {func(v *musterv1.ViewResponse) { v.Number++; v.ClockNs++; v.Worlds[0].Procs[0].ReportAgeNs++ }, ""},
		"incarnation": {func(v *musterv1.ViewResponse) { v.Worlds[0].Procs[0].Proc.Incarnation++ }, "words[0] was"},
		"health":      {func(v *musterv1.ViewResponse) { v.Worlds[0].Procs[1].Health = musterv1.Health_HEALTH_ALIVE }, "words[1] was"},
		"cause":       {func(v *musterv1.ViewResponse) { v.Worlds[0].Procs[1].Cause = "" }, "words[1] was"},
		"reason":      {func(v *musterv1.ViewResponse) { v.Worlds[0].Condition.Reason = "" }, "world words was"},
		"since":       {func(v *musterv1.ViewResponse) { v.Worlds[0].Condition.SinceNs++ }, "world words was"},
		"execution":   {func(v *musterv1.ViewResponse) { v.ExecutionId = "f" }, "system was"},
		"proc gone":   {func(v *musterv1.ViewResponse) { v.Worlds[0].Procs = v.Worlds[0].Procs[:1] }, "words[1] is not there any more"},
		"world gone":  {func(v *musterv1.ViewResponse) { v.Worlds = nil }, "world words is not there any more"},
		"world new": {func(v *musterv1.ViewResponse) {
			v.Worlds = append(v.Worlds, &musterv1.WorldView{World: "more"})
		}, "world more was not there before"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := exampleView(), exampleView()
			test.change(after)
			kept := proto.CloneOf(after)
			err := compare(before, after)
			require.True(t, proto.Equal(kept, after), "the views themselves are left alone")
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}
