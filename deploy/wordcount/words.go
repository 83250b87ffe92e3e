package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// wordCounts is how often each word occurs.
type wordCounts map[string]uint64

// sourceFiles lists the Go files below dir, sorted, so that everybody who asks has the same list.
func sourceFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(name, ".go") {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the source: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no Go files below %s", dir)
	}
	slices.Sort(files)
	return files, nil
}

// share is what one of n ranks counts: every nth file, so that big directories are spread.
func share(files []string, rank, n int) []string {
	var own []string
	for i := rank; i < len(files); i += n {
		own = append(own, files[i])
	}
	return own
}

// countFiles counts the words of files.
func countFiles(ctx context.Context, files []string) (wordCounts, error) {
	counts := wordCounts{}
	for _, name := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("counting words: %w", err)
		}
		counts.addText(text)
	}
	return counts, nil
}

// addText counts the words of a text: runs of letters, digits and underscores.
func (c wordCounts) addText(text []byte) {
	for word := range bytes.FieldsFuncSeq(text, func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		c[string(word)]++
	}
}

// merge adds another count to this one.
func (c wordCounts) merge(other wordCounts) {
	for word, n := range other {
		c[word] += n
	}
}

// total is how many words there are, repeated ones each time.
func (c wordCounts) total() uint64 {
	total := uint64(0)
	for _, n := range c {
		total += n
	}
	return total
}
