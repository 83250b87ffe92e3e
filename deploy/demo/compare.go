package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
)

// compare is an error that names every difference between two views. Left out is only what goes on by itself: the clock, the
// number, and how long ago the last reports came.
func compare(want, got *musterv1.ViewResponse) error {
	wanted, found := facts(want), facts(got)
	names := maps.Clone(wanted)
	maps.Copy(names, found)
	var differences []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch w, f := wanted[name], found[name]; {
		case w == nil:
			differences = append(differences, fmt.Sprintf("%s was not there before: %v", name, text(f)))
		case f == nil:
			differences = append(differences, fmt.Sprintf("%s is not there any more: %v", name, text(w)))
		case !proto.Equal(w, f):
			differences = append(differences, fmt.Sprintf("%s was\n    %s\n  and is\n    %s", name, text(w), text(f)))
		}
	}
	if len(differences) > 0 {
		return fmt.Errorf("%d differences:\n  %s", len(differences), strings.Join(differences, "\n  "))
	}
	return nil
}

// facts is what a view says, piece by piece.
func facts(view *musterv1.ViewResponse) map[string]proto.Message {
	view = proto.CloneOf(view)
	pieces := map[string]proto.Message{"system": view}
	view.ClockNs, view.Number = 0, 0
	for _, world := range view.GetWorlds() {
		pieces["world "+world.GetWorld()] = world
		for _, proc := range world.GetProcs() {
			proc.ReportAgeNs = 0
			ref := proc.GetProc()
			pieces[fmt.Sprintf("%s %s[%d]", ref.GetRole(), ref.GetWorld(), ref.GetRank())] = proc
		}
		world.Procs = nil
	}
	view.Worlds = nil
	return pieces
}

// text is a message on one line.
func text(message proto.Message) string {
	return prototext.MarshalOptions{}.Format(message)
}

// forgetSince takes out of a view since when its worlds are what they are: a restore moves all times of the file.
func forgetSince(view *musterv1.ViewResponse) *musterv1.ViewResponse {
	view = proto.CloneOf(view)
	for _, world := range view.GetWorlds() {
		world.Condition.SinceNs = 0
	}
	return view
}
