package id

import (
	"encoding/binary"
	"errors"
	"iter"
)

// ErrRuns says that packed ranks are malformed: a varint is cut off, a run is empty, or a rank is not below MaxProcs.
var ErrRuns = errors.New("ranks: not ascending runs of (gap, length) varints below 2^24")

// AppendRuns packs ascending, distinct ranks behind dst: for each run the gap since the end of the run before (since 0 for the
// first) and its length, both as unsigned varints. Neighbouring ranks cost nothing, so that "all my procs are alive" is two
// or three bytes.
func AppendRuns(dst []byte, ranks []uint32) []byte {
	end := uint32(0)
	for i := 0; i < len(ranks); {
		start := ranks[i]
		n := 1
		for i+n < len(ranks) && ranks[i+n] == start+uint32(n) {
			n++
		}
		dst = binary.AppendUvarint(dst, uint64(start-end))
		dst = binary.AppendUvarint(dst, uint64(n))
		end = start + uint32(n)
		i += n
	}
	return dst
}

// CheckRuns tells whether runs can be read.
func CheckRuns(runs []byte) error {
	end := uint64(0)
	for len(runs) > 0 {
		gap, n, rest := nextRun(runs)
		if rest == nil || n == 0 || gap > MaxProcs || n > MaxProcs || end+gap+n > MaxProcs {
			return ErrRuns
		}
		end += gap + n
		runs = rest
	}
	return nil
}

// Intervals yields the runs as ranges from, to (exclusive), ascending; of malformed runs, those before the fault. It costs what the
// runs are long, not what they say.
func Intervals(runs []byte) iter.Seq2[uint32, uint32] {
	return func(yield func(from, to uint32) bool) {
		end := uint64(0)
		for len(runs) > 0 {
			gap, n, rest := nextRun(runs)
			if rest == nil || n == 0 || gap > MaxProcs || n > MaxProcs || end+gap+n > MaxProcs {
				return
			}
			if !yield(uint32(end+gap), uint32(end+gap+n)) {
				return
			}
			end += gap + n
			runs = rest
		}
	}
}

// Ranks yields the ranks of runs in ascending order; of malformed runs, those before the fault.
func Ranks(runs []byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for from, to := range Intervals(runs) {
			for r := from; r < to; r++ {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// nextRun reads one run; rest is nil when it is cut off.
func nextRun(runs []byte) (gap, n uint64, rest []byte) {
	gap, a := binary.Uvarint(runs)
	if a <= 0 {
		return 0, 0, nil
	}
	n, b := binary.Uvarint(runs[a:])
	if b <= 0 {
		return 0, 0, nil
	}
	return gap, n, runs[a+b:]
}
