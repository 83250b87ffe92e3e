package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest/process"
)

// The programs of the story.
const (
	hello = `#!/bin/sh
echo "I am rank $RANK of $WORLD_SIZE"
`
	train = `#!/bin/sh
echo "rank $RANK of $WORLD_SIZE, learning rate $LR: $*"
exec sleep 1000
`
	eval = `#!/bin/sh
sleep 1
if [ ! -e data.txt ]; then
	echo "data.txt is not there" >&2
	exit 17
fi
`
)

// tutorial is the story that is told, and what runs while it is.
type tutorial struct {
	*page
	servers map[string]*process.Program
	hosts   map[string]*process.Program
}

func (s *tutorial) play() {
	s.write("train.sh", hello)
	s.write("srv/train/train.sh", train)
	s.write("srv/eval/eval.sh", eval)
	for _, chapter := range []func(){
		s.alone, s.cluster, s.worlds, s.machines, s.look, s.watch, s.failure, s.stop, s.save, s.settings, s.alarms, s.rejoin, s.transfer, s.migrate, s.bench, s.everything,
	} {
		chapter()
	}
	s.end()
}

// alone is what needs no server.
func (s *tutorial) alone() {
	s.verb("version")
	s.run("muster version")
	s.run("muster version -o json")

	s.verb("run")
	s.run("cat train.sh")
	s.sorted("muster run -n 8 -- ./train.sh")
	s.prose("The lines of different ranks come in any order; here they are sorted. When a rank fails, the others are ended, and the command\n" +
		"exits with that rank's code:")
	s.onThisMachine(17, `muster run -n 2 -- sh -c 'test $RANK = 0 && exec sleep 1000; echo no data; exit 17'`)

	s.verb("dev")
	dev, said := s.launch("muster dev", `^A cluster of 3 nodes(.*\n)+.*muster status$`, "--port", s.port())
	s.put("muster dev", said)
	require.Zero(s.t, dev.Stop())
}

// onThisMachine is exits for a line that prints the name of this machine.
func (s *tutorial) onThisMachine(want int, line string) {
	code, out := s.shell(line)
	require.Equal(s.t, want, code, out)
	s.put(line, regexp.MustCompile(`(rank \d+ on )\S+`).ReplaceAllString(out, "${1}node-a"))
	s.put("echo $?", fmt.Sprintln(code))
}

// cluster starts three servers.
func (s *tutorial) cluster() {
	s.verb("server")
	for _, name := range []string{"n1", "n2", "n3"} {
		s.server(name)
	}
	s.export("127.0.0.1:7380,127.0.0.1:7381,127.0.0.1:7382")

	s.lead("n1")
	s.verb("status")
	s.until("muster status", settled)
}

// server starts a node over the data that it has, and puts that down.
func (s *tutorial) server(name string) {
	program, said := s.launch(serverLine(name), listening, "--election-timeout", "2s") // a busy machine costs no leader
	s.servers[name] = program
	s.put(serverLine(name)+" &", said)
}

const listening = `^.*listening: .*$`

func serverLine(name string) string {
	return "muster server --node " + name + " --peers n1=127.0.0.1:7380,n2=127.0.0.1:7381,n3=127.0.0.1:7382 --data-dir /var/lib/muster/" + name
}

// lead waits until a node leads. Which one does at first is chance: another one is started again, which hands leadership over.
func (s *tutorial) lead(name string) {
	leads := regexp.MustCompile(`(?m)^(n\d) +leader `)
	for deadline := time.Now().Add(scriptPatience); ; time.Sleep(50 * time.Millisecond) {
		_, out := s.shell("muster status")
		leader := leads.FindStringSubmatch(out)
		if leader != nil && leader[1] == name {
			return
		}
		require.True(s.t, time.Now().Before(deadline), "waited for %s to lead\n%s", name, out)
		if leader != nil && settled(out) {
			require.Zero(s.t, s.servers[leader[1]].Stop())
			s.servers[leader[1]], _ = s.launch(serverLine(leader[1]), listening)
		}
	}
}

// settled says that n1 leads or another does, and that all nodes have the same state.
func settled(status string) bool {
	rows := regexp.MustCompile(`(?m)^n\d +(?:leader|follower) .* ([0-9a-f]{12}) +0 +dev +-$`).FindAllStringSubmatch(status, -1)
	return len(rows) == 3 && rows[0][1] == rows[1][1] && rows[1][1] == rows[2][1] && !strings.Contains(status, "Alarms")
}

// worlds creates worlds; nothing of them runs yet.
func (s *tutorial) worlds() {
	s.verb("world create")
	s.run("cat /srv/train/train.sh")
	s.run("muster world create train --procs 4 --procs-per-host 2 --label team=vision --env LR=0.1 --cwd /srv/train -- ./train.sh --epochs 3")
	s.run("muster world create grid --shape 2,3 --lease 3s --report-interval 500ms --label team=vision")
	s.prose("To ask for something else under the same name is refused:")
	s.exits(1, "muster world create grid --shape 3,3")

	s.verb("world label")
	s.run("muster world label train owner=ada")
	s.prose("Labels are added, never overwritten:")
	s.exits(1, "muster world label train team=audio")

	s.verb("explain")
	s.run("muster explain train")
}

// machines starts the agents of two machines, one after the other, so that each has the same ranks every time.
func (s *tutorial) machines() {
	s.verb("host")
	for _, name := range []string{"a", "b"} {
		s.host(name, "train")
	}
	s.verb("world wait")
	s.run("muster world wait train --for live --timeout 10m")
	s.prose("What has not come when the time is over is told with exit code 4:")
	s.exits(4, "muster world wait grid --for live --timeout 3s")
}

func (s *tutorial) host(name, world string) {
	line := "muster host --world " + world + " --machine node-" + name + " --state-dir /var/lib/muster/" + name
	program, said := s.launch(line, `^.* joined: .*$`)
	s.hosts[name] = program
	s.put(line+" &", said)
}

// look shows what there is, in several ways.
func (s *tutorial) look() {
	s.verb("ps")
	s.run("muster ps train")
	s.run("muster ps train/0")
	s.verb("world list")
	s.run("muster world list")
	s.verb("world get")
	s.run("muster world get train")
	s.verb("view")
	s.run("muster view --world train --label team=vision")
	s.verb("logs")
	s.until("muster logs train/1 --state-dir /var/lib/muster/a", says("learning rate"))
	s.prose("With `-f` it goes on with what is written from then on.")
}

// watch reads what has happened behind the number that view told.
func (s *tutorial) watch() {
	s.verb("watch")
	s.prose("A program lists first, and then watches from the number that the list told, so that it misses nothing:")
	s.run("muster view --world grid")
	_, told, _ := strings.Cut(s.last, "as of number ")
	number := stateNumber.FindString(told)
	require.NotEmpty(s.t, number, s.last)
	s.prose("Another world is created, and a third machine runs it. What happens is told until Ctrl-C, or until `--timeout` is over:")
	s.run("muster world create eval --procs 1 --on-failure keep --cwd /srv/eval -- ./eval.sh")
	s.host("c", "eval")
	s.until("muster watch eval -o json --from "+number+" --timeout 2s", says(`"KIND_WORLD_STATUS".*STATUS_UNHEALTHY`))
}

// failure follows a rank that fails, and is started again when what it lacked is there.
func (s *tutorial) failure() {
	s.verb("world restart")
	s.prose("The only rank of eval has failed, as `watch` has told. `explain` tells its code and last lines. When what it lacked is there, it\n" +
		"is started again:")
	s.run("cat /srv/eval/eval.sh")
	s.run("muster explain eval/0")
	s.run("touch /srv/eval/data.txt")
	s.run("muster world restart eval")
	s.run("muster world wait eval --for completed")
	s.prose("Its agent has ended with the world, with exit code 0.")
	require.Zero(s.t, s.hosts["c"].Ended())

	s.verb("world history")
	s.run("muster world history eval")
}

func (s *tutorial) stop() {
	s.verb("world stop")
	s.run(`muster world stop train --reason "new data" --proc-timeout 10s --wait`)
	s.prose("Both agents have ended with exit code 0, since nothing has failed. A world that has ended can still be read:")
	for _, name := range []string{"a", "b"} {
		require.Zero(s.t, s.hosts[name].Ended())
	}
	s.run("muster world list --ended")
}

func (s *tutorial) save() {
	s.verb("state save")
	s.run("muster state save muster.state")
	s.verb("world delete")
	s.run("muster world delete eval")
	s.exits(1, "muster world get eval")
	s.verb("state restore")
	s.run("muster state restore muster.state")
	s.prose("What was deleted is there again:")
	s.run("muster world list --ended")
}

func (s *tutorial) settings() {
	s.verb("cluster settings")
	s.run("muster cluster settings")
	s.verb("cluster set")
	s.run("muster cluster set lease=20s delivery-timeout=20s")
	s.prose("What collides is refused, and nothing is changed:")
	s.exits(1, "muster cluster set lease=1m")
}

func (s *tutorial) alarms() {
	s.verb("alarm list")
	s.prose("The nodes know that they were started with other flags than the settings that are in force now:")
	s.until("muster alarm list", func(out string) bool {
		return strings.Count(out, "\n") == 3 && strings.Count(out, "with other settings than those in force") == 3
	})
	s.run("muster cluster set lease=10s delivery-timeout=10s >/dev/null")
	s.until("muster alarm list", says(`^No alarm is on`))
	s.verb("alarm release")
	s.prose("Nothing is held back here:")
	s.exits(1, "muster alarm release")
}

// rejoin has n2 lose its disk.
func (s *tutorial) rejoin() {
	s.verb("cluster rejoin")
	s.prose("The machine of n2 has broken down. The server is started on a new one, whose disk is empty:")
	s.servers["n2"].Kill()
	require.NoError(s.t, os.RemoveAll(filepath.Join(s.dir, stateDir, "n2")))
	s.server("n2")
	s.until("muster alarm list", func(out string) bool { // all three have found out
		return strings.Count(out, "\n") == 3 && strings.Count(out, "is empty and in no cluster") == 2 && strings.Contains(out, "seen on n1 and n3")
	})
	s.run("muster cluster rejoin n2 --timeout 1m")
	s.until("muster alarm list", says(`^No alarm is on`))
}

// transfer has n3 lead, and n1 again.
func (s *tutorial) transfer() {
	s.verb("cluster transfer-leader")
	s.lead("n1")
	s.run("muster cluster transfer-leader n3")
	s.run("muster cluster transfer-leader n1")
	s.prose("It comes to nothing where the node leads already:")
	s.run("muster cluster transfer-leader n1")
}

// migrate has n3 keep its log in segments.
func (s *tutorial) migrate() {
	s.verb("server migrate-log")
	s.lead("n1")
	require.Zero(s.t, s.servers["n3"].Stop())
	s.run("muster server migrate-log --data-dir /var/lib/muster/n3 --to wal")
	program, said := s.launch(serverLine("n3")+" --log-store wal", listening, "--election-timeout", "2s")
	s.servers["n3"] = program
	s.put(serverLine("n3")+" --log-store wal &", said)
}

// bench measures for a moment.
func (s *tutorial) bench() {
	s.verb("bench failover")
	s.prose("Times and counts are those of the machine; here they are zeros.")
	s.measured("muster bench failover --mode transfer --trials 1")
	s.verb("bench soak")
	s.measured("muster bench soak --duration 2s")
	s.verb("bench joins")
	s.prose("This and what follows load the cluster that runs. How far they are is told each second; of each histogram one line is shown here.")
	s.measured("muster bench joins --count 100")
	s.verb("bench reports")
	s.measured("muster bench reports --sessions 10 --procs 1 --duration 1s")
	s.verb("bench fleet")
	s.measured("muster bench fleet --procs 200 --sessions 4 --interval 2s --duration 3s")
	s.verb("bench reads")
	s.measured("muster bench reads --callers 4 --procs 50 --duration 500ms")
	s.verb("bench watch")
	s.measured("muster bench watch --watchers 5 --rate 50 --duration 1s")
	s.verb("bench state")
	s.prose("With `--restore`, which has all sessions of the cluster join again:")
	s.measured("muster bench state --procs 500 --restore")
}

// measured shows what a measurement prints without what differs from machine to machine, or between two runs.
func (s *tutorial) measured(line string) {
	_, out := s.shell(line)
	for _, r := range [][2]string{
		{`(?m)^(without|muster:) .*\n`, ""}, // there was a slow write on the disk, or an election
		{`-?\d+\.\d+`, "0.0"}, {`(_ms":)-?[\d.]+`, "${1}0.0"}, {`(slow_disk":|writes":|elections: )\d+`, "${1}0"},
		{`\d+ writes`, "0 writes"}, {`(?m)^(\[[#.]+\] +\d+ % )?\d+ \D+, \d+ in the last second\n`, ""}, {`\d+ (joins|reports|gets|pages|stale reads|events came|bytes)`, "0 $1"}, {`\d+ a second`, "0 a second"},
		{`("(?:joins|reports|per_second|joins_per_second|reads|failed|events|delivered|bytes)":)\d+`, "${1}0"}, {`(_s":)[\d.]+`, "${1}0.0"},
		{`(?m)(?:^ +[\d.-]+ ms \| .*\n)+`, "       0-0 ms | ######################################## 0\n"}, {`(seconds":)[\d.]+`, "${1}0.0"}, {`: n\d, `, ": n1, "}, {`(?m)  +`, "  "},
	} {
		out = regexp.MustCompile(r[0]).ReplaceAllString(out, r[1])
	}
	s.put(line, out)
}

// everything ends and begins again.
func (s *tutorial) everything() {
	s.verb("stop")
	s.run(`muster stop --all --reason "the power goes" --wait`)
	s.exits(1, "muster world create later --procs 1")
	s.verb("start")
	s.run("muster start")
	s.run("muster world create later --procs 1")
}
