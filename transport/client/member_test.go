package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	musterv1 "muster/proto/muster/v1"
	"muster/transport/rpcstatus"
)

func me(incarnation uint64) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 3, Incarnation: incarnation}
}

func joinW(t *testing.T, c *Client, cfg MemberConfig) *Member {
	cfg.World, cfg.Rank, cfg.Key = "w", 3, "machine-a"
	m, err := c.Join(t.Context(), cfg)
	require.NoError(t, err)
	return m
}

// A member says hello, which is a report, and then reports each interval, in the packed form; leaving ends it and everything it runs (the
// bubble ends).
func TestMember_ReportsAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		f.lead("n1", 100, 2, "n1")
		var heard timeline
		began := time.Now()
		n1.session = func(s *fakeSession) error {
			return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
				switch {
				case message.GetHello() != nil:
					hello := message.GetHello()
					heard.add("%v hello %s epoch %d, %d", time.Since(began), hello.GetOwner(), hello.GetEpoch(), hello.GetMembers()[0].GetProc().GetIncarnation())
				case message.GetReport() != nil:
					alive := message.GetReport().GetAlive()[0]
					heard.add("%v report %d %s %v", time.Since(began), message.GetReport().GetSeq(), alive.GetWorld(), alive.GetRuns())
				}
				return nil
			})
		}
		c := f.client(t, "n1")
		c.numbers.observe(7)
		m := joinW(t, c, MemberConfig{Labels: map[string]string{"b": "2", "a": "1"}})
		time.Sleep(5 * time.Second)
		require.Equal(t, uint64(501), m.Incarnation())
		require.Equal(t, began.Add(4*time.Second+testLease), m.Lease())
		require.NoError(t, m.Leave(t.Context()))
		<-m.Done()
		require.NoError(t, m.Err())
		require.NoError(t, m.Leave(t.Context()), "leaving twice")

		require.Equal(t, []string{
			"0s hello machine-a epoch 100, 501", "2s report 1 w [3 1]", "4s report 2 w [3 1]",
		}, heard.all())
		join := n1.joinsSeen()[0]
		require.Len(t, join.GetNonce(), 16)
		require.Equal(t, uint64(7), join.GetIssued())
		require.Equal(t, "a", join.GetLabels()[0].GetKey())
		require.NotEmpty(t, join.GetMachine())
		require.Equal(t, musterv1.Mode_MODE_MANAGED_BY_SYSTEM, join.GetMode())
		require.True(t, proto.Equal(me(501), n1.leaves[0].GetProc()))
		require.Equal(t, uint64(501), n1.leaves[0].GetIssued())
	})
}

// STALE has nobody behind it but a living process, which takes the number and asks again under the same nonce.
func TestJoin_StaleAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
			if req.GetIssued() < 800 {
				return nil, rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_STALE, Message: "newer", Number: 800})
			}
			return joined(req, 801), nil
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		require.Equal(t, uint64(801), m.Incarnation())
		joins := n1.joinsSeen()
		require.Len(t, joins, 2)
		require.Equal(t, joins[0].GetNonce(), joins[1].GetNonce())
		require.NoError(t, m.Leave(t.Context()))
	})
}

// The lease counts from when a report was sent, not from when its acknowledgement came.
func TestMember_LeaseCountsFromSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
			time.Sleep(300 * time.Millisecond)
			return joined(req, 501), nil
		}
		f.lead("n1", 100, 2, "n1")
		n1.session = func(s *fakeSession) error {
			for message := range s.received {
				time.Sleep(100 * time.Millisecond)
				if message.GetHello() != nil {
					_ = s.welcome(100, 2, 500)
				}
				if report := message.GetReport(); report.GetSeq() == 1 {
					time.Sleep(400 * time.Millisecond)
					_ = s.ack(1)
				}
			}
			return nil
		}
		began := time.Now()
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		require.Equal(t, began.Add(testLease), m.Lease(), "from the sending of the join")
		time.Sleep(150 * time.Millisecond)
		require.Equal(t, began.Add(300*time.Millisecond+testLease), m.Lease(), "from the sending of the hello")
		time.Sleep(2100 * time.Millisecond)
		require.Equal(t, began.Add(testInterval+testLease), m.Lease(), "from the sending of report 1")
		require.NoError(t, m.Leave(t.Context()))
	})
}

// Expired, or restored: the same program is a new incarnation under a new nonce, and nobody has to do anything.
func TestMember_RejoinsWithoutStopping(t *testing.T) {
	for _, kind := range []musterv1.Verdict_Kind{musterv1.Verdict_KIND_EXPIRED, musterv1.Verdict_KIND_REJOIN} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				n1 := f.nodes["n1"]
				n1.admit(501)
				f.lead("n1", 100, 2, "n1")
				n1.session = func(s *fakeSession) error {
					return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
						if message.GetReport().GetSeq() != 2 {
							return nil
						}
						// One on an incarnation that never was is no business of this member's.
						return errors.Join(s.verdict(me(1), musterv1.Verdict_KIND_SUPERSEDED, 0), s.verdict(me(501), kind, 0))
					})
				}
				rejoined := make(chan uint64, 1)
				m := joinW(t, f.client(t, "n1"), MemberConfig{
					TakeOver: true,
					OnRejoin: func(proc *musterv1.ProcRef) { rejoined <- proc.GetIncarnation() },
				})
				require.Equal(t, uint64(502), <-rejoined)
				time.Sleep(10 * time.Second)
				require.Equal(t, uint64(502), m.Incarnation())
				require.NoError(t, m.Err())
				joins := n1.joinsSeen()
				require.Len(t, joins, 2)
				require.NotEqual(t, joins[0].GetNonce(), joins[1].GetNonce())
				require.Equal(t, []bool{true, false}, []bool{joins[0].GetTakeOver(), joins[1].GetTakeOver()})
				require.NoError(t, m.Leave(t.Context()))
			})
		})
	}
}

// Whoever says what it holds says what it was before, too, as much as servers take: a state that is restored may know it as that. Nobody else does.
func TestMember_NamesItsEarlierIncarnations(t *testing.T) {
	var heard timeline
	const last = 801
	for name, test := range map[string]struct {
		cfg  MemberConfig
		want []uint64 // in the third join again
	}{
		"host":                       {MemberConfig{Role: musterv1.Role_ROLE_HOST, Host: newRecorder(&heard)}, []uint64{501, 502}},
		"program":                    {MemberConfig{Incarnation: 400}, []uint64{400, 501, 502}},
		"program that claimed":       {MemberConfig{Incarnation: 501}, []uint64{501, 502}},
		"member that nobody started": {MemberConfig{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				n1 := f.nodes["n1"]
				n1.admit(501)
				f.lead("n1", 100, 2, "n1")
				n1.session = func(s *fakeSession) error {
					return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
						for _, one := range message.GetHello().GetMembers() {
							if one.GetProc().GetIncarnation() != last {
								return s.verdict(one.GetProc(), musterv1.Verdict_KIND_REJOIN, 0)
							}
						}
						return nil
					})
				}
				m := joinW(t, f.client(t, "n1"), test.cfg)
				time.Sleep(time.Minute)
				require.Equal(t, uint64(last), m.Incarnation())
				joins := n1.joinsSeen()
				require.Len(t, joins, 301)
				require.Equal(t, test.want, joins[3].GetEarlier())
				if test.want == nil {
					require.Zero(t, joins[3].GetIncarnation())
					require.Empty(t, joins[300].GetEarlier())
				} else {
					require.Equal(t, uint64(503), joins[3].GetIncarnation())
					require.Equal(t, uint64(800), joins[300].GetIncarnation())
					require.Len(t, joins[300].GetEarlier(), 256)
					require.Equal(t, uint64(544), joins[300].GetEarlier()[0])
					require.Equal(t, uint64(799), joins[300].GetEarlier()[255])
				}
				require.NoError(t, m.Leave(t.Context()))
			})
		})
	}
}

// Expired, and then refused as stale: somebody else has become what this member was, or the state was restored in between. The next session hears which.
func TestMember_StaleBehindExpiry(t *testing.T) {
	for name, verdict := range map[string]musterv1.Verdict_Kind{"superseded": musterv1.Verdict_KIND_SUPERSEDED, "restored": musterv1.Verdict_KIND_REJOIN} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				n1 := f.nodes["n1"]
				joins := 0
				n1.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
					switch joins++; joins {
					case 1:
						return joined(req, 501), nil
					case 2:
						return nil, rpcstatus.Error(&musterv1.Refusal{Reason: musterv1.Reason_REASON_STALE, Message: "newer", Number: 800})
					}
					return joined(req, 801), nil
				}
				f.lead("n1", 100, 2, "n1")
				hellos := 0
				n1.session = func(s *fakeSession) error {
					return s.serve(100, 2, func(message *musterv1.SessionRequest) error {
						if message.GetHello() == nil {
							return nil
						}
						switch hellos++; hellos {
						case 1:
							return s.verdict(me(501), musterv1.Verdict_KIND_EXPIRED, 0)
						case 2:
							return s.verdict(me(501), verdict, 0)
						}
						return nil
					})
				}
				m := joinW(t, f.client(t, "n1"), MemberConfig{})
				time.Sleep(10 * time.Second)
				if verdict == musterv1.Verdict_KIND_REJOIN {
					require.NoError(t, m.Err())
					require.Equal(t, uint64(801), m.Incarnation())
					require.NoError(t, m.Leave(t.Context()))
					return
				}
				<-m.Done()
				var ended *Ended
				require.ErrorAs(t, m.Err(), &ended)
				require.Equal(t, verdict, ended.Kind)
				require.Equal(t, 2, joins, "who is superseded takes nothing back")
			})
		})
	}
}

// Superseded, ended, unknown: the member ends, with a typed error.
func TestMember_VerdictsThatEnd(t *testing.T) {
	for kind, text := range map[musterv1.Verdict_Kind]string{
		musterv1.Verdict_KIND_SUPERSEDED: "superseded", musterv1.Verdict_KIND_ENDED: "has ended", musterv1.Verdict_KIND_UNKNOWN: "not known",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, "n1")
				f.nodes["n1"].admit(501)
				f.lead("n1", 100, 2, "n1")
				f.nodes["n1"].session = func(s *fakeSession) error {
					<-s.received
					return errors.Join(s.welcome(100, 2, 500), s.verdict(me(501), kind, musterv1.Status_STATUS_FAILED))
				}
				m := joinW(t, f.client(t, "n1"), MemberConfig{})
				<-m.Done()
				var ended *Ended
				require.ErrorAs(t, m.Err(), &ended)
				require.Equal(t, kind, ended.Kind)
				require.Equal(t, musterv1.Status_STATUS_FAILED, ended.Status)
				require.ErrorContains(t, ended, text)
			})
		})
	}
}

// The rank went to somebody else meanwhile: joining again is refused, and the member ends with that refusal.
func TestMember_RejoinRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.join = func(req *musterv1.JoinRequest) (*musterv1.JoinResponse, error) {
			if len(n1.joinsSeen()) > 1 {
				return nil, rpcstatus.New(musterv1.Reason_REASON_ALREADY_EXISTS, "machine-b holds rank 3")
			}
			return joined(req, 501), nil
		}
		f.lead("n1", 100, 2, "n1")
		n1.session = func(s *fakeSession) error {
			<-s.received
			return errors.Join(s.welcome(100, 2, 500), s.verdict(me(501), musterv1.Verdict_KIND_EXPIRED, 0))
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		<-m.Done()
		require.Equal(t, musterv1.Reason_REASON_ALREADY_EXISTS, RefusalOf(m.Err()).GetReason())
	})
}

// Failed actors are told at once, and again until a report that carried them is acknowledged.
func TestMember_ReportFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		var heard timeline
		began := time.Now()
		f.nodes["n1"].session = func(s *fakeSession) error {
			frames := time.NewTicker(250 * time.Millisecond)
			defer frames.Stop()
			for {
				select {
				case message, open := <-s.received:
					if !open {
						return nil
					}
					if message.GetHello() != nil {
						_ = s.welcome(100, 2, 500)
					}
					for _, report := range message.GetReport().GetReports() {
						heard.add("%v %d: %d failed, first %s", time.Since(began), message.GetReport().GetSeq(), len(report.GetFailedActors()), report.GetFailedActors()[0].GetActor())
					}
					if seq := message.GetReport().GetSeq(); seq >= 3 {
						_ = s.ack(seq)
					}
				case <-frames.C:
					_ = s.Send(&musterv1.SessionResponse{})
				}
			}
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		time.Sleep(time.Second)
		require.NoError(t, m.ReportFailure("trainer", errors.New("nan")))
		time.Sleep(4500 * time.Millisecond)
		require.NoError(t, m.ReportFailure("loader[2]", errors.New("eof")))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{
			"1s 1: 1 failed, first trainer", "2s 2: 1 failed, first trainer", "4s 3: 1 failed, first trainer",
			"5.5s 4: 1 failed, first loader",
		}, heard.all())
		require.NoError(t, m.Leave(t.Context()))
	})
}

// No leader for ten minutes: the member goes on, and is there when one comes back. Close ends it at once, without leaving.
func TestMember_NoLeaderThenClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		n1 := f.nodes["n1"]
		n1.admit(501)
		sessions := make(chan bool, 1)
		n1.session = func(s *fakeSession) error {
			if n1.known() == nil {
				return rpcstatus.New(musterv1.Reason_REASON_NO_LEADER, "none")
			}
			sessions <- true
			return s.serve(100, 9, nil)
		}
		c := f.client(t, "n1")
		m := joinW(t, c, MemberConfig{})
		time.Sleep(10 * time.Minute)
		require.NoError(t, m.Err())
		f.lead("n1", 100, 9, "n1")
		<-sessions
		require.NoError(t, c.Close())
		<-m.Done()
		require.ErrorIs(t, m.Err(), ErrClosed)
		require.Empty(t, n1.leaves)
	})
}
