package fsmtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster/fsm"
	"muster/fsm/id"
	musterv1 "muster/proto/muster/v1"
)

var update = flag.Bool("update", false, "write what scripts print instead of comparing it")

// Run plays a script and compares what it prints with what it says.
//
// A script is a story: lines that begin with # tell it, other lines are commands, and what a command printed stands below it,
// indented. Commands on one line, separated by " ; ", make one entry. After each entry the state is checked, saved, loaded, and
// held against the original. Names are world/rank or host:world/rank, meaning the incarnation that joined last, or the same with
// @incarnation.
//
//	term                               a new leadership term
//	at 5s                              what follows is stamped 5 s
//	save A · restore A                 the state as it is, under a name; that again, and a term in it
//	join w/0 [key=K nonce=N mode=detached|managing takeover gone=I issued=N address=A]
//	leave w/0
//	upsert w shape=2,3|open [lease=5s report=1s start=… eviction=… proc=2s id=R issued=N replace label=k:v revision=N]
//	report w/0 w/1 … [number=N]        packed
//	fail w/0 actor cause [held=ORDER]  a report with a failed actor
//	says w/0 completed | failed cause  a report of its own end
//	hello w/0 … [order=N epoch=N]
//	confirm w/0 N
//	expire w/0 … · due start|eviction w · due stop N · due ended GENERATION
//	stop w … [id=R issued=N timeout=5s reason=R] · stop everything
//	stopresult w/0 OPERATION
//	join host:w/0 | host:w [key=K inc=N earlier=N,N]    a host; without a rank it is given one; inc: the incarnation it holds, earlier: those before
//	join w/0 inc=N [earlier=N,N] | held=ORDER    a program that a host started, or its host for it
//	upsert w shape=8 per=4 exec [port=P ready=join keep stops]
//	hello host:w/0 … [order=N port=P held=0:ORDER,1:ORDER:CODE]
//	confirm host:w/0 N [port=P]
//	started w/0 ORDER ; exited w/0 ORDER [code=N signal=N failure=words lines=words]
//	held w/0 w/1 … [number=N]               packed, said by the host
//	undeliverable host:w/0 ORDER
//	restart w [all | rank …] · delete w · start EXECUTION
//	explain w | w/0 · targets OPERATION
//	stale …                            the commands sealed in the term before
//	foreign …                          the commands sealed for a state of another epoch
//	set name:value … · release · brake on|off|arm SILENT/AGENTS
//	orders w/0 · view [ended] · events [GENERATION] · supervision [all] w · status
func Run(t *testing.T, path string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{Machine: NewMachine(), present: map[string]*musterv1.ProcRef{}, saved: map[string]*file{}}
	var out bytes.Buffer
	for n, line := range strings.Split(strings.TrimRight(string(src), "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		printed, err := s.line(line)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", path, n+1, line, err)
		}
		for _, l := range strings.Split(strings.TrimRight(printed, "\n"), "\n") {
			if l != "" {
				out.WriteString("    " + l + "\n")
			}
		}
		if err := s.roundTrip(); err != nil {
			t.Fatalf("%s:%d: %s: %v", path, n+1, line, err)
		}
	}
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := out.String(); got != string(src) {
		t.Errorf("%s: printed otherwise than it says; first difference:\n%s", path, firstDifference(string(src), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n  says:   %s\n  prints: %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines against %d", len(w), len(g))
}

type script struct {
	*Machine
	present map[string]*musterv1.ProcRef
	nonces  int
	ids     int
	saved   map[string]*file
}

// roundTrip checks the state, and that it survives being saved.
func (s *script) roundTrip() error {
	if err := s.State.Check(); err != nil {
		return err
	}
	if s.State.Epoch() == 0 {
		return nil
	}
	file, err := Encode(s.State)
	if err != nil {
		return err
	}
	loaded, err := fsm.Decode(bytes.NewReader(file))
	if err != nil {
		return err
	}
	again, err := Encode(loaded)
	if err != nil || !bytes.Equal(file, again) {
		return fmt.Errorf("the state does not survive a save (%v)", err)
	}
	s.State = loaded // the story goes on with the loaded one
	return nil
}

func (s *script) line(line string) (string, error) {
	words := strings.Fields(line)
	switch words[0] {
	case "term":
		s.Start(nil)
		return "", nil
	case "at":
		d, err := time.ParseDuration(words[1])
		s.ClockNs = int64(d)
		return "", err
	case "save":
		return "", s.save(words[1])
	case "restore":
		return s.restore(words[1])
	case "view":
		return s.view(len(words) > 1), nil
	case "events":
		return s.events(words[1:]), nil
	case "orders":
		var b strings.Builder
		for _, o := range s.State.Orders(s.ref(words[1])) {
			fmt.Fprintf(&b, "order %d to %s: %s\n", o.Id, printRef(o.Proc), printOrder(o))
		}
		return b.String(), nil
	case "explain":
		return s.explain(words[1]), nil
	case "targets":
		n, _ := strconv.ParseUint(words[1], 10, 64)
		var b strings.Builder
		for _, t := range s.State.ViewStop(&musterv1.ViewStopRequest{Operation: n}).GetTargets() {
			fmt.Fprintf(&b, "%s accepted %t done %t %s\n", printRef(t.Proc), t.Accepted, t.Done, t.Outcome)
		}
		return b.String(), nil
	case "supervision":
		r := s.State.Supervision(words[len(words)-1], len(words) > 2).Answer()
		out := r.Known.String() + "\n"
		for _, p := range r.Procs {
			out += printProc(p)
		}
		return out, nil
	case "status":
		st := s.State.Status()
		return fmt.Sprintf("%s, number %d, clock %v, %d worlds, %d procs, %d unhealthy, %d ended", fsm.PhaseName(st.Phase),
			st.Number, time.Duration(st.ClockNs), st.Worlds, st.Procs, st.Unhealthy, st.EndedWorlds), nil
	}
	stale, foreign := words[0] == "stale", words[0] == "foreign"
	line = strings.TrimPrefix(strings.TrimPrefix(line, "stale "), "foreign ")
	var commands []*musterv1.Command
	for _, one := range strings.Split(line, " ; ") {
		c, err := s.command(strings.Fields(one))
		if err != nil {
			return "", err
		}
		commands = append(commands, c)
	}
	e := s.Seal(commands...)
	if stale {
		e.RaftTerm--
	}
	if foreign {
		e.Epoch--
	}
	return s.print(s.Append(e)), nil
}

func (s *script) save(name string) (err error) {
	s.saved[name], err = fileOf(s.State)
	return err
}

func (s *script) restore(name string) (string, error) {
	f := s.saved[name]
	if f == nil {
		return "", fmt.Errorf("nothing was saved as %s", name)
	}
	id := []byte(name)
	out := s.Apply(
		&musterv1.Command{Body: &musterv1.Command_RestoreBegin{RestoreBegin: &musterv1.RestoreBegin{Meta: s.meta(nil), RestoreId: id, Header: f.header}}},
		&musterv1.Command{Body: &musterv1.Command_RestoreChunk{RestoreChunk: &musterv1.RestoreChunk{RestoreId: id, Seq: 1, Records: f.records}}},
		&musterv1.Command{Body: &musterv1.Command_RestoreCommit{RestoreCommit: &musterv1.RestoreCommit{RestoreId: id, Trailer: f.trailer}}})
	restored := out[len(out)-1].GetRestore()
	if restored == nil {
		return "", fmt.Errorf("not restored: %v", out)
	}
	s.Start(nil)
	return fmt.Sprintf("restored %d worlds, %d procs, epoch %d\n", restored.Worlds, restored.Procs, restored.Number), nil
}

func (s *script) print(a fsm.Applied) string {
	var b strings.Builder
	if a.Dropped {
		b.WriteString("dropped\n")
	}
	for _, o := range a.Outcomes {
		switch o := o.Body.(type) {
		case *musterv1.Outcome_Refusal:
			r := o.Refusal
			fmt.Fprintf(&b, "refused %s: %s\n", strings.TrimPrefix(r.Reason.String(), "REASON_"), r.Message)
		case *musterv1.Outcome_Join:
			s.present[place(o.Join.Proc)] = o.Join.Proc
			fmt.Fprintf(&b, "joined %s, lease %v, number %d\n", printRef(o.Join.Proc), time.Duration(o.Join.Timeouts.LeaseNs), o.Join.Number)
		case *musterv1.Outcome_Leave:
			fmt.Fprintf(&b, "left %t\n", o.Leave.Removed)
		case *musterv1.Outcome_UpsertWorld:
			u := o.UpsertWorld
			fmt.Fprintf(&b, "generation %d, changed %t, %s, label revision %d\n", u.Generation, u.Changed, fsm.StatusName(u.Condition.Status), u.LabelRevision)
		case *musterv1.Outcome_Stop:
			fmt.Fprintf(&b, "operation %d\n", o.Stop.Operation)
			for _, w := range o.Stop.Worlds {
				fmt.Fprintf(&b, "  %s %s %d\n", w.World, strings.TrimPrefix(w.Result.String(), "RESULT_"), w.Operation)
			}
		case *musterv1.Outcome_Restart:
			fmt.Fprintf(&b, "restarts %d\n", o.Restart.Ranks)
		case *musterv1.Outcome_DeleteWorld:
			fmt.Fprintf(&b, "forgot %d\n", o.DeleteWorld.Generations)
		case *musterv1.Outcome_Start:
			fmt.Fprintf(&b, "execution %s\n", o.Start.ExecutionId)
		case *musterv1.Outcome_Set:
			for _, one := range fsm.ListSettings(o.Set.Settings) {
				fmt.Fprintf(&b, "%s %d\n", one.Name, one.Value)
			}
		case *musterv1.Outcome_ReleaseAlarm:
			fmt.Fprintf(&b, "brake %s\n", fsm.BrakeName(o.ReleaseAlarm.Brake.State))
		case *musterv1.Outcome_Verdicts:
			for _, v := range o.Verdicts.Verdicts {
				fmt.Fprintf(&b, "verdict %s %s", printRef(v.Proc), strings.TrimPrefix(v.Kind.String(), "KIND_"))
				if v.HeldOrder != 0 {
					fmt.Fprintf(&b, " (order %d)", v.HeldOrder)
				}
				if v.Status != 0 {
					fmt.Fprintf(&b, " %s", fsm.StatusName(v.Status))
				}
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

func place(p *musterv1.ProcRef) string {
	if p.Role == musterv1.Role_ROLE_HOST {
		return fmt.Sprintf("host:%s/%d", p.World, p.Rank)
	}
	return fmt.Sprintf("%s/%d", p.World, p.Rank)
}

func printRef(p *musterv1.ProcRef) string { return fmt.Sprintf("%s@%d", place(p), p.Incarnation) }

// ref reads world/rank or world/rank@incarnation.
func (s *script) ref(word string) *musterv1.ProcRef {
	name, inc, explicit := strings.Cut(word, "@")
	if p := s.present[name]; p != nil && !explicit {
		return p
	}
	role := musterv1.Role_ROLE_WORKER
	if strings.HasPrefix(name, "host:") {
		role, name = musterv1.Role_ROLE_HOST, strings.TrimPrefix(name, "host:")
	}
	world, rank, _ := strings.Cut(name, "/")
	r, _ := strconv.ParseUint(rank, 10, 32)
	n, _ := strconv.ParseUint(inc, 10, 64)
	return &musterv1.ProcRef{World: world, Role: role, Rank: uint32(r), Incarnation: n}
}

func (s *script) view(ended bool) string {
	v, err := s.State.View(&musterv1.ViewRequest{IncludeEnded: ended})
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, w := range v.Worlds {
		fmt.Fprintf(&b, "%s generation %d %s since %v: %s (%d of %d joined, %d healthy)\n", w.World, w.Generation,
			fsm.StatusName(w.Condition.Status), time.Duration(w.Condition.SinceNs), w.Condition.Reason, w.Joined, w.Wanted, w.Healthy)
		for _, p := range w.Procs {
			b.WriteString(printProc(p))
		}
	}
	return b.String()
}

func printProc(p *musterv1.ProcView) string {
	out := fmt.Sprintf("  %s %s, silent for %v", printRef(p.Proc), fsm.HealthName(p.Health), time.Duration(p.ReportAgeNs))
	if a := p.Assignment; a != nil {
		out += fmt.Sprintf(", %s by order %d", strings.ToLower(strings.TrimPrefix(a.State.String(), "STATE_")), a.Order)
		if a.Claimed {
			out += ", claimed"
		}
	}
	if p.Cause != "" {
		out += ": " + p.Cause
	}
	for _, f := range p.FailedActors {
		out += fmt.Sprintf("; %s failed: %s", f.Actor, f.Cause)
	}
	return out + "\n"
}

func (s *script) events(words []string) string {
	generation := uint64(0)
	if len(words) > 0 {
		generation, _ = strconv.ParseUint(words[0], 10, 64)
	}
	var b strings.Builder
	for _, e := range s.State.Events(generation, 0) {
		fmt.Fprintf(&b, "%d %s", e.Number, strings.TrimPrefix(e.Kind.String(), "KIND_"))
		if e.World != "" {
			fmt.Fprintf(&b, " %s", e.World)
		}
		for rank := range id.Ranks(e.Ranks) {
			fmt.Fprintf(&b, " %d", rank)
		}
		if e.Status != 0 {
			fmt.Fprintf(&b, " %s", fsm.StatusName(e.Status))
		}
		fmt.Fprintf(&b, ": %s\n", e.Text)
	}
	return b.String()
}
