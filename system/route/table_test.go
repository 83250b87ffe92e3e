package route

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	musterv1 "muster/proto/muster/v1"
)

// fixture is a table over addresses that the test sets, and what was told.
type fixture struct {
	*Table
	at   map[place]*musterv1.Located
	told []string
}

func newFixture() *fixture {
	f := &fixture{at: map[place]*musterv1.Located{}}
	f.Table = NewTable(f.find, func(u *musterv1.AddressUpdate) {
		text := fmt.Sprintf("%d: %d=%s/%d", u.Who.Rank, u.Located.Proc.Rank, u.Located.Address, u.Located.Proc.Incarnation)
		if u.Refused {
			text += " refused"
		}
		f.told = append(f.told, text)
	})
	return f
}

func (f *fixture) find(p *musterv1.ProcRef) *musterv1.Located {
	if l := f.at[placeOf(p)]; l != nil {
		return l
	}
	return &musterv1.Located{Proc: proc(p.Rank, 0)}
}

func (f *fixture) set(rank uint32, incarnation uint64, address string) {
	f.at[place{"w", rank}] = &musterv1.Located{Proc: proc(rank, incarnation), Address: address}
}

// heard is what was told since.
func (f *fixture) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := f.told
	f.told = nil
	return told
}

func proc(rank uint32, incarnation uint64) *musterv1.ProcRef {
	return &musterv1.ProcRef{World: "w", Role: musterv1.Role_ROLE_WORKER, Rank: rank, Incarnation: incarnation}
}

// First contact is told once, a change is told, and what did not change is not.
func TestTable_TellsWhatIsNew(t *testing.T) {
	f := newFixture()
	f.set(1, 7, "tcp:b:1")
	f.Meet(proc(0, 3), proc(1, 7))
	f.Meet(proc(0, 3), proc(1, 7))
	require.Equal(t, []string{"0: 1=tcp:b:1/7"}, f.heard())
	f.look(place{"w", 1})
	require.Empty(t, f.heard())
	f.set(1, 9, "tcp:b:1")
	f.look(place{"w", 1})
	f.Meet(proc(0, 3), proc(1, 9))
	require.Equal(t, []string{"0: 1=tcp:b:1/9"}, f.heard(), "the incarnation is news")
	delete(f.at, place{"w", 1})
	f.look(place{"w", 1})
	require.Equal(t, []string{"0: 1=/0"}, f.heard(), "that it is gone is news")
	f.set(1, 11, "")
	f.look(place{"w", 1})
	require.Empty(t, f.heard(), "it still can be reached nowhere")
	f.set(1, 11, "tcp:b:2")
	f.look(place{"w", 1})
	require.Equal(t, []string{"0: 1=tcp:b:2/11"}, f.heard())
}

// A session begins with what its member knows, and is told only what differs. What it asks for it is told in any case.
func TestTable_SayAndAsk(t *testing.T) {
	f := newFixture()
	f.set(1, 7, "tcp:b:1")
	f.set(2, 8, "tcp:c:1")
	f.Say(&musterv1.Interest{Who: proc(0, 3), Known: []*musterv1.Located{
		{Proc: proc(1, 7), Address: "tcp:b:1"}, {Proc: proc(2, 5), Address: "tcp:c:0"},
	}, Ask: []*musterv1.ProcRef{proc(3, 0)}})
	require.Equal(t, []string{"0: 2=tcp:c:1/8", "0: 3=/0"}, f.heard())
	require.Equal(t, 3, f.Len())
	f.Say(&musterv1.Interest{Who: proc(0, 3), Forget: []*musterv1.ProcRef{proc(1, 0), proc(9, 0)}})
	f.set(1, 9, "tcp:b:2")
	f.look(place{"w", 1})
	require.Empty(t, f.heard())
	require.Equal(t, 2, f.Len())
}

// What a member was interested in is forgotten with its session; another incarnation of it is somebody else.
func TestTable_EndForgets(t *testing.T) {
	f := newFixture()
	f.set(1, 7, "tcp:b:1")
	f.Meet(proc(0, 3), proc(1, 7))
	f.Meet(proc(0, 4), proc(1, 7))
	f.End([]*musterv1.HelloMember{{Proc: proc(0, 3)}, {Proc: proc(5, 5)}})
	require.Equal(t, 1, f.Len())
	f.End([]*musterv1.HelloMember{{Proc: proc(0, 4)}})
	require.Zero(t, f.Len())
	require.Empty(t, f.interests)
	require.Empty(t, f.byPlace)
}

// What one member is interested in is bounded. Who asks for more is told so; a post is relayed all the same.
func TestTable_Bounded(t *testing.T) {
	f := newFixture()
	for rank := range uint32(maxInterests) {
		f.Meet(proc(0, 3), proc(rank+1, 0))
	}
	require.Empty(t, f.heard())
	f.set(maxInterests+1, 7, "tcp:b:1")
	f.Meet(proc(0, 3), proc(maxInterests+1, 7))
	require.Empty(t, f.heard())
	f.Say(&musterv1.Interest{Who: proc(0, 3), Ask: []*musterv1.ProcRef{proc(maxInterests+1, 0)}})
	require.Equal(t, []string{fmt.Sprintf("0: %d=/0 refused", maxInterests+1)}, f.heard())
	require.Equal(t, maxInterests, f.Len())
	f.Meet(proc(1, 3), proc(maxInterests+1, 7))
	require.Len(t, f.heard(), 1, "another member has room of its own")
}

// Run tells what has moved: procs, whole worlds, and where too much has moved to be noted, everybody is looked at.
func TestTable_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		go f.Run(t.Context())
		f.Meet(proc(0, 3), proc(1, 0))
		f.Meet(proc(0, 3), proc(2, 0))
		f.set(1, 7, "tcp:b:1")
		f.set(2, 8, "tcp:c:1")
		f.Moved([]*musterv1.ProcRef{proc(1, 7), proc(9, 1)}, nil)
		synctest.Wait()
		require.Equal(t, []string{"0: 1=tcp:b:1/7"}, f.heard())
		f.Moved(nil, []string{"other", "w"})
		synctest.Wait()
		require.Equal(t, []string{"0: 2=tcp:c:1/8"}, f.heard())
		f.set(2, 9, "tcp:c:1")
		many := make([]*musterv1.ProcRef, maxMoved+1)
		for i := range many {
			many[i] = proc(9, 1)
		}
		many[maxMoved] = proc(2, 9)
		f.Moved(many, nil)
		synctest.Wait()
		require.Equal(t, []string{"0: 2=tcp:c:1/9"}, f.heard())
	})
}

// Between two simulated addresses the way is told, on first contact and later.
func TestTable_Sim(t *testing.T) {
	f := newFixture()
	f.set(0, 3, "sim:tcp:a:1")
	f.set(1, 7, "sim:tcp:b:1")
	f.Meet(proc(0, 3), proc(1, 7))
	f.set(1, 7, "sim:tcp:b:2")
	f.look(place{"w", 1})
	require.Equal(t, []string{"0: 1=sim:tcp:a:1,tcp:b:1/7", "0: 1=sim:tcp:a:1,tcp:b:2/7"}, f.heard())
}
