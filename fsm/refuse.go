package fsm

import (
	"fmt"
	"time"

	musterv1 "muster/proto/muster/v1"
)

func nanoseconds(ns int64) time.Duration { return time.Duration(ns) }

// maxText bounds what people are told.
const maxText = 1024

// maxLines bounds the last lines that are kept of a program.
const maxLines = 4096

func clip(text string) string { return clipTo(text, maxText) }

func clipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for cut > 0 && text[cut]&0xC0 == 0x80 { // not within a rune
		cut--
	}
	return text[:cut] + "…"
}

func refuse(reason musterv1.Reason, format string, args ...any) *musterv1.Outcome {
	return refuseField(reason, "", format, args...)
}

func refuseField(reason musterv1.Reason, field, format string, args ...any) *musterv1.Outcome {
	return &musterv1.Outcome{Body: &musterv1.Outcome_Refusal{Refusal: &musterv1.Refusal{
		Reason: reason, Field: field, Message: clip(fmt.Sprintf(format, args...)),
	}}}
}

// refuseNumber is refuse with the number to ask again with; it is the format's only argument, too.
func (s *State) refuseNumber(reason musterv1.Reason, format string, number uint64) *musterv1.Outcome {
	o := refuse(reason, format, number)
	o.GetRefusal().Number = number
	return o
}
