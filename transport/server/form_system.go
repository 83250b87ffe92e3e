package server

import (
	"strings"
	"unicode"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

const (
	maxRestarted   = 10000
	maxExecutionID = 64
)

func checkRestart(q *musterv1.RestartRequest) error {
	for _, err := range []error{checkSize(q), checkMeta(q.GetMeta()), checkWorld("world", q.GetWorld())} {
		if err != nil {
			return err
		}
	}
	ranks := q.GetRanks()
	switch {
	case q.GetAll() && len(ranks) > 0:
		return invalid("ranks", "all and ranks exclude each other")
	case len(ranks) > maxRestarted:
		return invalid("ranks", "%d: at most %d; say all, or ask several times", len(ranks), maxRestarted)
	}
	for i, rank := range ranks {
		if rank >= id.MaxProcs {
			return invalid("ranks", "%d: must be below %d", rank, id.MaxProcs)
		}
		if i > 0 && ranks[i-1] >= rank {
			return invalid("ranks", "%d behind %d: must be ascending, each once", rank, ranks[i-1])
		}
	}
	return nil
}

func checkDelete(q *musterv1.DeleteWorldRequest) error {
	for _, err := range []error{checkSize(q), checkMeta(q.GetMeta()), checkWorld("world", q.GetWorld())} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkStart(q *musterv1.StartRequest) error {
	for _, err := range []error{checkSize(q), checkMeta(q.GetMeta())} {
		if err != nil {
			return err
		}
	}
	execution := q.GetExecutionId()
	if len(execution) == 0 || len(execution) > maxExecutionID {
		return invalid("execution_id", "%d bytes: draw 1 to %d printable ones", len(execution), maxExecutionID)
	}
	if strings.ContainsFunc(execution, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return invalid("execution_id", "%q: draw printable characters", execution)
	}
	return nil
}

func checkViewStop(q *musterv1.ViewStopRequest) error {
	if q.GetOperation() == 0 {
		return invalid("operation", "is 0: take it from the answer to a stop, or from the world")
	}
	return nil
}

func checkExplain(q *musterv1.ExplainRequest) error {
	if err := checkWorld("world", q.GetWorld()); err != nil {
		return err
	}
	if _, known := musterv1.Role_name[int32(q.GetRole())]; !known {
		return invalid("role", "%d: no such role", q.GetRole())
	}
	return checkRank(q.GetRank())
}

// maxChanges bounds the settings that one request changes.
const maxChanges = 32

func checkSet(q *musterv1.SetRequest) error {
	for _, err := range []error{checkSize(q), checkMeta(q.GetMeta())} {
		if err != nil {
			return err
		}
	}
	if n := len(q.GetChanges()); n == 0 || n > maxChanges {
		return invalid("changes", "%d: give 1 to %d", n, maxChanges)
	}
	named := map[string]bool{}
	for _, c := range q.GetChanges() {
		if err := checkText("changes.name", c.GetName(), maxKey); err != nil {
			return err
		}
		if named[c.GetName()] {
			return invalid("changes", "%s is given twice", c.GetName())
		}
		named[c.GetName()] = true
	}
	return nil
}

func checkWatch(q *musterv1.WatchRequest) error {
	if err := checkSize(q); err != nil {
		return err
	}
	if n := len(q.GetWorlds()); n > maxWorlds {
		return invalid("worlds", "%d: at most %d", n, maxWorlds)
	}
	for _, w := range q.GetWorlds() {
		if err := checkWorld("worlds", w); err != nil {
			return err
		}
	}
	if n := len(q.GetKinds()); n > maxKinds {
		return invalid("kinds", "%d: at most %d", n, maxKinds)
	}
	return nil
}
