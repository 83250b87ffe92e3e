package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"muster/cmd/muster/clustertest/process"
)

var referencePath = filepath.Join("..", "..", "deploy", "reference.md")

// referenceHead is the beginning of the page, with ' for the marks of code.
const referenceHead = `# Every verb, with an example that was run

The examples are one story, read from top to bottom: three servers, three machines, worlds that run, fail and run again, a state that is
saved and restored, a disk that is lost. A test plays it with real processes on one machine, 'go test ./cmd/muster -run TestReference', and
fails when anything else is printed than is here; with '-update' behind it, it writes this page anew. Numbers, ids, times and ages differ
each time and are made the same here; equal ones stay equal.

'muster VERB --help' lists the flags of a verb. All verbs that ask the cluster take '--servers' (by default 'MUSTER_SERVERS', else
127.0.0.1:7380), '--timeout' (10s) and '-o json'. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no cluster answered, 4 timed out,
5 the disk of a server hung.

`

// TestReference plays the story of deploy/reference.md against three servers and the agents that it needs, all of them processes, and holds
// what they print against the page. Run with -update to write the page anew.
func TestReference(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("hosts run on Linux")
	}
	p := newPage(t)
	p.text.WriteString(strings.ReplaceAll(referenceHead, "'", "`"))
	s := &tutorial{page: p, servers: map[string]*process.Program{}, hosts: map[string]*process.Program{}}
	s.play()
	got := strings.TrimSuffix(p.text.String(), "\n")
	if *update {
		require.NoError(t, os.WriteFile(referencePath, []byte(got), 0o644))
	}
	want, err := os.ReadFile(referencePath)
	require.NoError(t, err)
	require.Empty(t, difference(string(want), got),
		"deploy/reference.md (-) is not what was printed now (+); if that is right: go test ./cmd/muster -run TestReference -update")
}

// difference is the first lines in which two pages differ, below what both have; empty where they are equal.
func difference(want, got string) string {
	const around = 5
	before, after := strings.Split(want, "\n"), strings.Split(got, "\n")
	same := 0
	for same < min(len(before), len(after)) && before[same] == after[same] {
		same++
	}
	if same == len(before) && same == len(after) {
		return ""
	}
	excerpt := func(mark string, lines []string, from, to int) string {
		text := ""
		for _, line := range lines[max(0, from):min(len(lines), to)] {
			text += mark + line + "\n"
		}
		return text
	}
	return excerpt("  ", before, same-around, same) + excerpt("- ", before, same, same+around) + excerpt("+ ", after, same, same+around)
}

func TestDifference(t *testing.T) {
	require.Empty(t, difference("a\nb\n", "a\nb\n"))
	require.Equal(t, "  a\n- b\n- \n+ c\n+ \n", difference("a\nb\n", "a\nc\n"))
	require.Equal(t, "  a\n+ b\n", difference("a", "a\nb"))
}

// leaves are the verbs below a command that do something, by their whole names, hidden ones apart.
func leaves(cmd *cobra.Command) map[string]*cobra.Command {
	verbs := map[string]*cobra.Command{}
	for _, sub := range cmd.Commands() {
		if sub.Hidden {
			continue
		}
		maps.Copy(verbs, leaves(sub))
		if !sub.HasSubCommands() || sub.Example != "" {
			verbs[sub.CommandPath()] = sub
		}
	}
	return verbs
}

// recorded are the lines that a page shows as typed, without the & of those that go on.
func recorded(page string) []string {
	var lines []string
	for _, m := range regexp.MustCompile(`(?m)^\$ (.*?)(?: &)?$`).FindAllStringSubmatch(page, -1) {
		lines = append(lines, stateNumber.ReplaceAllString(m[1], "NUMBER"))
	}
	return lines
}

// TestReference_HasEveryVerb: no verb is added without a section in which it is run, nor is one left behind that has gone, and an example of
// each verb's help is one that was run.
func TestReference_HasEveryVerb(t *testing.T) {
	text, err := os.ReadFile(referencePath)
	require.NoError(t, err)
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	verbs := leaves(newRoot(&cli{}))
	require.ElementsMatch(t, slices.Collect(maps.Keys(verbs)), slices.Collect(maps.Keys(sections)), "verbs, and sections of deploy/reference.md")
	for name, verb := range verbs {
		require.NotEmpty(t, verb.Short, name)
		ran := func(line string) bool { return line == name || strings.HasPrefix(line, name+" ") }
		require.True(t, slices.ContainsFunc(recorded(sections[name]), ran), "%s is not run in its section", name)
		shown := func(line string) bool {
			return slices.Contains(recorded(string(text)), stateNumber.ReplaceAllString(line, "NUMBER"))
		}
		require.True(t, slices.ContainsFunc(examples(verb), shown), "no example in the help of %s was run: %s", name, verb.Example)
	}
}

// TestReadme_HasEveryVerb holds the table of verbs in the README against the command line, both ways.
func TestReadme_HasEveryVerb(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## Command line\n")
	section, _, _ = strings.Cut(section, "\n## ")
	require.Contains(t, section, "(deploy/reference.md)")
	root := newRoot(&cli{})
	told := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`.*?) \|`).FindAllStringSubmatch(section, -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			cmd, rest, err := root.Find(strings.Fields(strings.TrimPrefix(span[1], "muster ")))
			require.NoError(t, err, span[1])
			require.NoError(t, cmd.ParseFlags(rest), span[1])
			told[cmd.CommandPath()] = true
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(leaves(root))), slices.Collect(maps.Keys(told)), "verbs, and rows of the README's table")
}
