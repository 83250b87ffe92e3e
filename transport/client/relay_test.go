package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

func (s *fakeSession) receipt(p *musterv1.Post, delivery musterv1.Delivery) error {
	by := &musterv1.ProcRef{World: p.GetTo().GetProc().GetWorld(), Role: musterv1.Role_ROLE_WORKER, Rank: p.GetTo().GetProc().GetRank(), Incarnation: 9}
	if delivery == musterv1.Delivery_DELIVERY_AWAY {
		by = nil
	}
	return s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Receipt{Receipt: &musterv1.Receipt{
		From: p.GetFrom().GetProc(), Stream: p.GetStream(), Seq: p.GetSeq(), By: by, Delivery: delivery,
	}}})
}

// postTo is a message of another proc's for joinW's member.
func postTo(stream, seq uint64, actor, payload string) *musterv1.SessionResponse {
	return &musterv1.SessionResponse{Body: &musterv1.SessionResponse_Post{Post: &musterv1.Post{
		Stream: stream, Seq: seq, From: &musterv1.Endpoint{Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: 7, Incarnation: 8}, Actor: "a"},
		To: &musterv1.Endpoint{Proc: me(501), Actor: actor}, Payload: []byte(payload),
	}}}
}

func addressOf(rank uint32, incarnation uint64, address string) *musterv1.SessionResponse {
	return &musterv1.SessionResponse{Body: &musterv1.SessionResponse_Address{Address: &musterv1.AddressUpdate{
		Who: me(501), Located: &musterv1.Located{
			Proc: &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Incarnation: incarnation}, Address: address,
		},
	}}}
}

// relaying is a member whose leader gives every message to each.
func relaying(t *testing.T, cfg MemberConfig, each func(*fakeSession, *musterv1.SessionRequest) error) *Member {
	f := newFakes(t, "n1")
	f.nodes["n1"].admit(501)
	f.lead("n1", 100, 2, "n1")
	f.nodes["n1"].session = func(s *fakeSession) error {
		return s.serve(100, 2, func(m *musterv1.SessionRequest) error { return each(s, m) })
	}
	return joinW(t, f.client(t, "n1"), cfg)
}

// One post to each addressee is under way at a time, and posts to different ones do not wait for each other. What is not there yet is
// tried again after a growing pause, what nothing is heard of after two seconds, in this session or the next.
func TestPost_OneUnderWayPerAddressee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard timeline
		began := time.Now()
		copies := map[uint64]int{}
		m := relaying(t, MemberConfig{}, func(s *fakeSession, message *musterv1.SessionRequest) error {
			p := message.GetPost()
			if p == nil {
				return nil
			}
			copies[p.GetSeq()]++
			heard.add("%ds %s to %d", time.Since(began)/time.Second, p.GetPayload(), p.GetTo().GetProc().GetRank())
			switch n := copies[p.GetSeq()]; {
			case string(p.GetPayload()) == "a1" && n == 1:
				return nil // lost
			case string(p.GetPayload()) == "a1" && n == 2:
				return fmt.Errorf("the session breaks")
			case string(p.GetPayload()) == "a2" && n < 3:
				return s.receipt(p, musterv1.Delivery_DELIVERY_AWAY)
			}
			return s.receipt(p, musterv1.Delivery_DELIVERY_DELIVERED)
		})
		time.Sleep(time.Second)
		post := func(rank int, payload string) *Posted {
			return m.Post(Post{To: fmt.Sprintf("w[%d].x", rank), Payload: []byte(payload)})
		}
		posted := []*Posted{post(1, "a1"), post(1, "a2"), post(2, "b1"), post(1, "a3"), post(2, "b2")}
		for _, p := range posted {
			require.NoError(t, p.Wait(t.Context()))
		}
		require.Equal(t, []string{"1s a1 to 1", "1s b1 to 2", "1s b2 to 2", "3s a1 to 1", "3s a1 to 1", "3s a2 to 1", "3s a2 to 1", "3s a2 to 1", "3s a3 to 1"},
			heard.all())
		require.Empty(t, m.posts.lanes)
		require.Empty(t, m.posts.bySeq)
		require.Zero(t, m.posts.bytes)
	})
}

// Receipts of others, of strangers' streams and of what was never posted settle nothing.
func TestPost_ForeignReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := relaying(t, MemberConfig{}, func(s *fakeSession, message *musterv1.SessionRequest) error {
			p := message.GetPost()
			if p == nil {
				return nil
			}
			for _, change := range []func(r *musterv1.Receipt){
				func(r *musterv1.Receipt) { r.Stream++ }, func(r *musterv1.Receipt) { r.Seq++ }, func(r *musterv1.Receipt) { r.By.Rank++ },
			} {
				r := &musterv1.Receipt{Stream: p.GetStream(), Seq: p.GetSeq(), By: &musterv1.ProcRef{World: "w", Rank: 1}, Delivery: musterv1.Delivery_DELIVERY_DELIVERED}
				change(r)
				if err := s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Receipt{Receipt: r}}); err != nil {
					return err
				}
			}
			return nil
		})
		began := time.Now()
		err := m.Post(Post{To: "w[1].x"}).Wait(t.Context())
		var back *Undeliverable
		require.ErrorAs(t, err, &back)
		require.Equal(t, musterv1.Delivery_DELIVERY_UNANSWERED, back.Reason)
		require.True(t, back.MayHaveArrived)
		require.ErrorContains(t, err, "post to w[1].x[0]: undeliverable: nobody has answered in time; it may have arrived")
		require.Equal(t, 10*time.Second, time.Since(began), "the delivery timeout")
	})
}

// What waits is bounded; what is posted beyond it, or by a member that has ended, comes back at once, and so does what waits when it ends.
func TestPost_BoundedAndClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := relaying(t, MemberConfig{}, func(*fakeSession, *musterv1.SessionRequest) error { return nil })
		var posted []*Posted
		for range maxPosts {
			posted = append(posted, m.Post(Post{To: "w[1].x"}))
		}
		over := m.Post(Post{To: "w[1].x"})
		<-over.Done()
		require.ErrorContains(t, over.Err(), "wait already")
		require.NoError(t, posted[0].Err(), "nothing is known yet")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, posted[0].Wait(ctx), context.DeadlineExceeded)
		require.NoError(t, m.Leave(t.Context()))
		for i, p := range posted {
			<-p.Done()
			var back *Undeliverable
			require.ErrorAs(t, p.Err(), &back)
			require.Equal(t, i == 0, back.MayHaveArrived)
			require.ErrorContains(t, p.Err(), "the sender has ended: it has left")
		}
		require.ErrorContains(t, m.Post(Post{To: "w[1].x"}).Err(), "the member has ended")
		_, err := m.Handle("late", func(context.Context, Message) {})
		require.ErrorContains(t, err, "the member has ended")
	})
}

// A leader that does not relay is sent nothing of it, and posts come back in time.
func TestPost_LeaderOfAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, "n1")
		f.nodes["n1"].admit(501)
		f.lead("n1", 100, 2, "n1")
		f.nodes["n1"].session = func(s *fakeSession) error {
			for message := range s.received {
				if message.GetHello() != nil {
					_ = s.Send(&musterv1.SessionResponse{Body: &musterv1.SessionResponse_Welcome{Welcome: &musterv1.Welcome{Epoch: 100, RaftTerm: 2}}})
				}
				if message.GetPost() != nil || message.GetInterest() != nil {
					t.Errorf("it was sent %v", message)
				}
			}
			return nil
		}
		m := joinW(t, f.client(t, "n1"), MemberConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		posted := m.Post(Post{To: "w[1].x"})
		_, err := m.Resolve(ctx, "w[1]")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		<-posted.Done()
		var back *Undeliverable
		require.ErrorAs(t, posted.Err(), &back)
		require.False(t, back.MayHaveArrived)
	})
}

// A message is handled once, however many copies come, in the order in which its sender posted; each copy gets its receipt.
func TestHandle_OnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled, receipts timeline
		handle := func(what string) MessageHandler {
			return func(_ context.Context, m Message) { handled.add("%s: %v to %v: %s", what, m.From, m.To, m.Payload) }
		}
		sent := make(chan *musterv1.SessionResponse)
		m := relaying(t, MemberConfig{Actors: map[string]MessageHandler{"x": handle("x")}}, func(s *fakeSession, message *musterv1.SessionRequest) error {
			if r := message.GetReceipt(); r != nil {
				receipts.add("%d %v", r.GetSeq(), r.GetDelivery())
			}
			if message.GetHello() != nil {
				go func() {
					for r := range sent {
						_ = s.Send(r)
					}
				}()
			}
			return nil
		})
		defer close(sent)
		for _, r := range []*musterv1.SessionResponse{
			postTo(1, 1, "x", "one"), postTo(1, 1, "x", "one"), postTo(1, 2, "y", "to nobody"), postTo(1, 4, "x", "four"),
			postTo(1, 1, "x", "one"), postTo(2, 1, "x", "of a new process"),
		} {
			sent <- r
			synctest.Wait()
		}
		stop, err := m.Handle("y", handle("y"))
		require.NoError(t, err)
		_, err = m.Handle("y[0]", handle("y"))
		require.ErrorContains(t, err, "handled already")
		_, err = m.Handle("no name", handle("y"))
		require.Error(t, err)
		sent <- postTo(1, 5, "y", "five")
		synctest.Wait()
		stop()
		stop()
		sent <- postTo(1, 6, "y", "six")
		synctest.Wait()
		require.Equal(t, []string{
			"x: w[7].a[0] to w[3].x[0]: one", "x: w[7].a[0] to w[3].x[0]: four", "x: w[7].a[0] to w[3].x[0]: of a new process",
			"y: w[7].a[0] to w[3].y[0]: five",
		}, handled.all())
		time.Sleep(time.Second)
		require.Equal(t, []string{
			"1 DELIVERY_DELIVERED", "1 DELIVERY_DELIVERED", "2 DELIVERY_NO_HANDLER", "4 DELIVERY_DELIVERED", "1 DELIVERY_DELIVERED",
			"1 DELIVERY_DELIVERED", "5 DELIVERY_DELIVERED", "6 DELIVERY_NO_HANDLER",
		}, receipts.all())
		require.NoError(t, m.Leave(t.Context()))
	})
}

// Senders are remembered in bounded memory: the one not heard for the longest is forgotten, and none too early.
func TestInbox_MemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		m := &Member{ctx: ctx, cancel: cancel}
		m.inbox = newInbox(m)
		_, err := m.inbox.listen(listening{actor: "x"}, func(context.Context, Message) {})
		require.NoError(t, err)
		take := func(stream uint64) musterv1.Delivery {
			synctest.Wait()
			return m.inbox.take(postTo(stream, 1, "x", "").GetPost())
		}
		for stream := range uint64(maxSenders) {
			require.Equal(t, musterv1.Delivery_DELIVERY_DELIVERED, take(stream+1))
		}
		require.Equal(t, musterv1.Delivery_DELIVERY_BUSY, take(maxSenders+1))
		require.Equal(t, musterv1.Delivery_DELIVERY_DELIVERED, take(1), "a copy")
		time.Sleep(senderMemory)
		require.Equal(t, musterv1.Delivery_DELIVERY_DELIVERED, take(maxSenders+1))
		require.Len(t, m.inbox.last, maxSenders)
		require.Equal(t, maxSenders, m.inbox.senders.Len())
		m.inbox.close()
		m.handlers.Wait()
	})
}

// A session begins with what its member knows of others; later it says what is new: whom it wants to know, and whom it does not any more.
func TestResolve_WhatIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said timeline
		broken := false
		m := relaying(t, MemberConfig{OnAddress: func(at Location) { said.add("told %v %s %d", at.Proc, at.Address, at.Incarnation) }},
			func(s *fakeSession, message *musterv1.SessionRequest) error {
				if p := message.GetPost(); p != nil {
					if string(p.GetPayload()) == "break" && !broken {
						broken = true
						return fmt.Errorf("the session breaks")
					}
					if string(p.GetPayload()) == "first" {
						if err := s.Send(addressOf(2, 7, "tcp:c:1")); err != nil {
							return err
						}
					}
					return s.receipt(p, musterv1.Delivery_DELIVERY_DELIVERED)
				}
				i := message.GetInterest()
				if i == nil {
					return nil
				}
				said.add("known %d ask %d forget %d", len(i.GetKnown()), len(i.GetAsk()), len(i.GetForget()))
				if len(i.GetAsk()) > 0 {
					return s.Send(addressOf(1, 5, "tcp:b:1"))
				}
				return nil
			})
		route, err := m.Resolve(t.Context(), "w[1]")
		require.NoError(t, err)
		require.Equal(t, Location{Proc: id.ProcID{World: "w", Rank: 1}, Incarnation: 5, Address: "tcp:b:1"}, route.Location())
		second, err := m.Resolve(t.Context(), "w[1]")
		require.NoError(t, err, "it is known already")
		require.NoError(t, m.Post(Post{To: "w[2].x", Payload: []byte("first")}).Wait(t.Context()))
		require.NoError(t, m.Post(Post{To: "w[2].x", Payload: []byte("break")}).Wait(t.Context()))
		time.Sleep(time.Second)
		route.Close()
		route.Close()
		time.Sleep(time.Second)
		second.Close()
		time.Sleep(time.Second)
		lines := said.all()
		require.Equal(t, []string{
			"known 0 ask 1 forget 0", "told w[1] tcp:b:1 5", "told w[2] tcp:c:1 7", "known 2 ask 0 forget 0",
		}, lines[:4])
		require.Equal(t, "known 0 ask 0 forget 1", lines[len(lines)-1])
	})
}

// What is learnt by posting is bounded: the oldest is forgotten here and at the leader.
func TestInterests_LearntIsBounded(t *testing.T) {
	i := newInterests()
	for rank := range uint32(maxLearnt + 3) {
		_, told := i.update(addressOf(rank, 1, "tcp:a:1").GetAddress())
		require.True(t, told)
	}
	require.Len(t, i.known, maxLearnt)
	require.Len(t, i.news().GetForget(), 3)
	require.Nil(t, i.news())

	// An update that was on its way when its place was forgotten: the leader is asked to hold the interest again.
	_, told := i.update(addressOf(0, 2, "tcp:a:2").GetAddress())
	require.True(t, told)
	again := i.news()
	require.Len(t, again.GetAsk(), 1)
	require.Len(t, again.GetForget(), 1, "the next oldest")
	total := 0
	for _, part := range i.begin() {
		require.LessOrEqual(t, len(part.GetKnown()), maxNamed)
		total += len(part.GetKnown())
	}
	require.Equal(t, maxLearnt, total)
}
