package main

import (
	"context"
	"encoding/gob"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWords_SharesMerged counts this package alone and in shares that are merged.
func TestWords_SharesMerged(t *testing.T) {
	files, err := sourceFiles(".")
	require.NoError(t, err)
	require.Greater(t, len(files), 3)
	alone, err := countFiles(t.Context(), files)
	require.NoError(t, err)
	require.Positive(t, alone["package"])

	for ranks := 1; ranks <= len(files)+1; ranks++ {
		merged := wordCounts{}
		for rank := range ranks {
			part, err := countFiles(t.Context(), share(files, rank, ranks))
			require.NoError(t, err)
			merged.merge(part)
		}
		require.Equal(t, alone, merged, "%d ranks", ranks)
	}
}

func TestWords_Split(t *testing.T) {
	counts := wordCounts{}
	counts.addText([]byte("a_b:=x1+élan\n\t// a_b, x1."))
	require.Equal(t, wordCounts{"a_b": 2, "x1": 2, "élan": 1}, counts)
	require.EqualValues(t, 5, counts.total())
}

// TestSourceFiles_Sorted shows that all ranks see the same files in the same order, and no others.
func TestSourceFiles_Sorted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.go", "a/z.go", "a.go", "a.txt"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	files, err := sourceFiles(dir)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "a.go"), filepath.Join(dir, "a/z.go"), filepath.Join(dir, "b.go")}, files)
	_, err = sourceFiles(t.TempDir())
	require.ErrorContains(t, err, "no Go files")
}

// TestCollect_OncePerRank delivers a part twice, one of a rank that does not exist, and garbage: what counts is one part of each rank.
func TestCollect_OncePerRank(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	type result struct {
		counts wordCounts
		err    error
	}
	results := make(chan result, 1)
	go func() {
		counts, err := collect(ctx, listener, part{Counts: wordCounts{"own": 1}}, 3)
		results <- result{counts, err}
	}()
	one := part{Rank: 1, Counts: wordCounts{"own": 1, "one": 1}}
	require.NoError(t, deliver(ctx, address, one))
	require.NoError(t, deliver(ctx, address, one))
	require.ErrorContains(t, deliver(ctx, address, part{Rank: 3, Counts: wordCounts{"much": 1}}), "no rank 3")
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, gob.NewEncoder(conn).Encode("garbage"))
	require.NoError(t, conn.Close())
	require.NoError(t, deliver(ctx, address, part{Rank: 2, Counts: wordCounts{"two": 1}}))

	got := <-results
	require.NoError(t, got.err)
	require.Equal(t, wordCounts{"own": 2, "one": 1, "two": 1}, got.counts)
}
