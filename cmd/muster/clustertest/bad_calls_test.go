package clustertest

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	musterv1 "muster/proto/muster/v1"
)

// malformedCalls are refused before they reach the log.
func malformedCalls() []badCall {
	calls := []badCall{
		malformed("upsert without meta", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Meta = nil }), "meta.id", "0 bytes: draw 16"),
		malformed("upsert with a short id", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Meta.Id = q.Meta.Id[:15] }), "meta.id", "15 bytes: draw 16"),
		malformed("upsert without spec", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec = nil }), "spec.world", "1 to 63 runes"),
		malformed("no shape", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape = nil }), "spec.shape", "missing"),
		malformed("open and dimensions", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape.Open = true }), "spec.shape", "exclude"),
		malformed("a zero dimension", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape.Dims = []uint32{2, 0} }), "spec.shape", "at least 1"),
		malformed("over 2^24 procs", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape.Dims = []uint32{1 << 12, 1<<12 + 1} }), "spec.shape", "16777216"),
		malformed("so many that they overflow", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.Shape.Dims = []uint32{1 << 31, 1 << 31, 1 << 31}
		}), "spec.shape", "16777216"),
		malformed("17 dimensions", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape.Dims = make([]uint32, 17) }), "spec.shape", "at most 16"),
		malformed("no procs per host", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.ProcsPerHost = 0 }), "spec.procs_per_host", "at least 1"),
		malformed("65 labels", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Labels = manyLabels(65, 1000) }), "labels", "65 labels: at most 64"),
		malformed("labels over 4 KiB", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Labels = manyLabels(1, 4097) }), "labels", "4096"),
		malformed("labels over 4 KiB together", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Labels = manyLabels(17, 17*241) }), "labels", "at most 4096"),
		malformed("a label without key", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Labels = []*musterv1.Label{{Value: "v"}} }), "labels", "empty key"),
		malformed("a key with =", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Labels = []*musterv1.Label{{Key: "a=b"}} }), "labels", `holds "="`),
		malformed("a key twice", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Labels = []*musterv1.Label{{Key: "a", Value: "1"}, {Key: "b"}, {Key: "a", Value: "1"}}
		}), "labels", `"a" is given twice`),
		malformed("a negative timeout", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Timeouts = &musterv1.Timeouts{LeaseNs: -1} }), "spec.timeouts.lease_ns", "negative"),
		malformed("an unknown policy", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.OnFailure = 9 }), "spec.on_failure", "9"),
		malformed("no program", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.Exec = &musterv1.Exec{} }), "spec.exec.program", "is empty"),
		malformed("over 128 KiB", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.Exec = &musterv1.Exec{Program: strings.Repeat("p", 128<<10)}
		}), "request", "at most 131072"),

		malformed("stop without meta", stopCall(func(q *musterv1.StopRequest) { q.Meta = nil }), "meta.id", "16"),
		malformed("stop nothing", stopCall(func(q *musterv1.StopRequest) { q.Worlds = nil }), "worlds", "empty"),
		malformed("stop worlds and everything", stopCall(func(q *musterv1.StopRequest) { q.Everything = true }), "worlds", "exclude"),
		malformed("stop 1,001 worlds", stopCall(func(q *musterv1.StopRequest) { q.Worlds = strings.Split(strings.Repeat("w,", 1000)+"w", ",") }), "worlds", "at most 1000"),
		// The answer, with every name in it, is a record of the state: one too large would be in no snapshot.
		malformed("stop names over 128 KiB", stopCall(func(q *musterv1.StopRequest) { q.Worlds = manyWorlds(1000) }), "request", "at most 131072"),
		malformed("a negative proc timeout", stopCall(func(q *musterv1.StopRequest) { q.ProcTimeoutNs = -1 }), "proc_timeout_ns", "0 to a year"),
		malformed("an endless proc timeout", stopCall(func(q *musterv1.StopRequest) { q.ProcTimeoutNs = 1 << 62 }), "proc_timeout_ns", "0 to a year"),
		malformed("a reason over 1 KiB", stopCall(func(q *musterv1.StopRequest) { q.Reason = strings.Repeat("r", 1025) }), "reason", "at most 1024"),

		malformed("view 1,001 worlds", viewCall(&musterv1.ViewRequest{Worlds: make([]string, 1001)}), "worlds", "at most 1000"),
		malformed("view by 65 labels", viewCall(&musterv1.ViewRequest{ProcLabels: manyLabels(65, 1000)}), "proc_labels", "at most 64"),
		malformed("an invented page token", viewCall(&musterv1.ViewRequest{PageToken: "next"}), "page_token", "next_page_token"),
		malformed("a page token that is too long", viewCall(&musterv1.ViewRequest{PageToken: strings.Repeat("t", 100<<10)}), "page_token", "next_page_token"),

		malformed("join without nonce", joinCall(func(q *musterv1.JoinRequest) { q.Nonce = nil }), "nonce", "0 bytes: draw 16"),
		malformed("a long nonce", joinCall(func(q *musterv1.JoinRequest) { q.Nonce = make([]byte, 17) }), "nonce", "17 bytes: draw 16"),
		malformed("an unknown role", joinCall(func(q *musterv1.JoinRequest) { q.Role = 3 }), "role", "3"),
		malformed("an unknown mode", joinCall(func(q *musterv1.JoinRequest) { q.Mode = -1 }), "mode", "-1"),
		malformed("no key", joinCall(func(q *musterv1.JoinRequest) { q.Key = "" }), "key", "empty"),
		malformed("a long key", joinCall(func(q *musterv1.JoinRequest) { q.Key = strings.Repeat("k", 257) }), "key", "at most 256"),
		malformed("a long machine", joinCall(func(q *musterv1.JoinRequest) { q.Machine = strings.Repeat("m", 257) }), "machine", "at most 256"),
		malformed("an address without scheme", joinCall(func(q *musterv1.JoinRequest) { q.Address = "10.0.0.1" }), "address", "scheme:rest"),
		malformed("a long address", joinCall(func(q *musterv1.JoinRequest) { q.Address = "tcp:" + strings.Repeat("a", 253) }), "address", "256 bytes"),
		malformed("rank 2^24", joinCall(func(q *musterv1.JoinRequest) { q.Rank = 1 << 24 }), "rank", "below 16777216"),
		malformed("a member's labels over 4 KiB", joinCall(func(q *musterv1.JoinRequest) { q.Labels = manyLabels(17, 17*241) }), "labels", "at most 4096"),
		malformed("leave with rank 2^24", leaveCall(&musterv1.ProcRef{World: "old", Rank: 1 << 24}), "proc.rank", "below 16777216"),
		malformed("leave as nobody", leaveCall(nil), "proc.world", "1 to 63 runes"),

		malformed("a worker that wants any rank", joinCall(func(q *musterv1.JoinRequest) { q.AssignRank = true }), "assign_rank", "for hosts"),
		malformed("a host with an order of a rank", joinCall(func(q *musterv1.JoinRequest) {
			q.Role, q.HeldOrder = musterv1.Role_ROLE_HOST, 1
		}), "held_order", "a host runs"),

		malformed("restore without meta", restoreCall(&musterv1.RestoreStateRequest{Data: []byte("MUSTER01")}), "meta.id", "16"),
		malformed("rejoin of a node with a name of 1 MiB", rejoinCall(strings.Repeat("n", 1<<20)), "node", "at most 256"),
		malformed("register as somebody else", registerCall("n2", "n3-00000000"), "node.server_id", "n2"),
	}
	for name, says := range badNames {
		calls = append(calls,
			malformed("upsert "+name, upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.World = name }), "spec.world", says),
			malformed("stop "+name, stopCall(func(q *musterv1.StopRequest) { q.Worlds = []string{"old", name} }), "worlds", says),
			malformed("view "+name, viewCall(&musterv1.ViewRequest{Worlds: []string{name}}), "worlds", says),
			malformed("join "+name, joinCall(func(q *musterv1.JoinRequest) { q.World = name }), "world", says),
			malformed("leave "+name, leaveCall(&musterv1.ProcRef{World: name}), "proc.world", says),
			malformed("supervision of "+name, supervisionCall(name), "world", says),
			malformed("explain "+name, explainCall(name), "world", says),
		)
	}
	return calls
}

// refusedCalls are refused when they are applied. reused is the meta of a request that was answered before.
func refusedCalls(reused *musterv1.RequestMeta) []badCall {
	contradicts := func(name string, call func(context.Context, grpc.ClientConnInterface) error, field, says string) badCall {
		return badCall{name, call, codes.FailedPrecondition, musterv1.Reason_REASON_CONTRADICTS, field, says}
	}
	old := func(change func(*musterv1.UpsertWorldRequest)) func(context.Context, grpc.ClientConnInterface) error {
		return upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.World = "old"
			change(q)
		})
	}
	return []badCall{
		contradicts("another shape", old(func(q *musterv1.UpsertWorldRequest) { q.Spec.Shape.Dims[0] = 3 }), "spec.shape", "world old exists"),
		contradicts("other procs per host", old(func(q *musterv1.UpsertWorldRequest) { q.Spec.ProcsPerHost = 9 }), "spec.procs_per_host", "procs_per_host differs"),
		contradicts("other timeouts", old(func(q *musterv1.UpsertWorldRequest) { q.Spec.Timeouts = &musterv1.Timeouts{StartNs: 1e9} }), "spec.timeouts", "timeouts differs"),
		contradicts("a label overwritten", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.World, q.Labels = "labelled", []*musterv1.Label{{Key: "team", Value: "audio"}}
		}), "labels", `"vision" already`),
		contradicts("another revision", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.World, q.LabelRevision, q.Labels = "labelled", 1, []*musterv1.Label{{Key: "new"}}
		}), "label_revision", "not 1"),
		contradicts("a revision of nothing", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.LabelRevision = 1 }), "label_revision", "does not exist"),
		contradicts("members outside the shape", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.World = "waiting" }), "spec.shape", "ranks 0 to 1: 5"),
		{"more labels than a world holds", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.World, q.Labels = "labelled", manyLabels(64, 1000)
		}), codes.InvalidArgument, musterv1.Reason_REASON_INVALID, "labels", "65 labels"},
		{"timeouts that collide", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.Timeouts = &musterv1.Timeouts{ReportIntervalNs: 5e9, LeaseNs: 4e9}
		}), codes.InvalidArgument, musterv1.Reason_REASON_INVALID, "spec.timeouts", "report interval 5s and lease 4s collide"},
		{"an eviction timeout below never", upsertCall(func(q *musterv1.UpsertWorldRequest) {
			q.Spec.Timeouts = &musterv1.Timeouts{EvictionNs: -2}
		}), codes.InvalidArgument, musterv1.Reason_REASON_INVALID, "spec.timeouts", "-1ns for never"},
		{"an ended world", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Spec.World = "gone" }),
			codes.FailedPrecondition, musterv1.Reason_REASON_WORLD_ENDED, "", "replace ended"},
		{"join an ended world", joinCall(func(q *musterv1.JoinRequest) { q.World = "gone" }),
			codes.FailedPrecondition, musterv1.Reason_REASON_WORLD_ENDED, "", "generation"},
		{"an id used before", upsertCall(func(q *musterv1.UpsertWorldRequest) { q.Meta = reused }),
			codes.InvalidArgument, musterv1.Reason_REASON_REQUEST_ID_REUSED, "meta.id", "draw a new one"},
		{"a rank outside the shape", joinCall(func(q *musterv1.JoinRequest) { q.Rank = 2 }),
			codes.OutOfRange, musterv1.Reason_REASON_RANK_OUT_OF_RANGE, "rank", "ranks 0 to 1"},
		{"a rank that is held", joinCall(func(q *musterv1.JoinRequest) { q.World, q.Rank, q.Issued = "waiting", 5, 1<<62 }),
			codes.AlreadyExists, musterv1.Reason_REASON_ALREADY_EXISTS, "", `on machine "machine"`},
		{"explain a world that there is not", explainCall("nowhere"), codes.NotFound, musterv1.Reason_REASON_NOT_FOUND, "world", "no world nowhere"},
		{"a stop that there is not", viewStopCall(1), codes.NotFound, musterv1.Reason_REASON_NOT_FOUND, "operation", "no stop operation 1"},
		{"a node that there is not", rejoinCall("n9"), codes.NotFound, musterv1.Reason_REASON_NOT_FOUND, "", `"n9"`},
		{"a node that needs no rejoin", rejoinCall("n2"), codes.FailedPrecondition, musterv1.Reason_REASON_CONTRADICTS, "", "nothing to"},
	}
}
