package hostagent

import (
	"io"
	"os"
	"strings"
)

const (
	lastLines     = 20
	lastLineBytes = 4 << 10
)

// lastLinesOf reads the last lines that were written to a file from an offset on: at most 20 and 4 KiB, however long the file is.
func lastLinesOf(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size <= from {
		return ""
	}
	start := max(from, size-lastLineBytes)
	buf := make([]byte, size-start)
	n, err := f.ReadAt(buf, start)
	if err != nil && err != io.EOF {
		return ""
	}
	text := strings.ToValidUTF8(string(buf[:n]), "�")
	text = strings.ReplaceAll(text, "\x00", "�")
	lines := strings.SplitAfter(text, "\n")
	if start > from && len(lines) > 1 {
		lines = lines[1:] // begun before what was read
	}
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	text = strings.Join(lines[max(0, len(lines)-lastLines):], "")
	for len(text) > lastLineBytes { // replacing bytes may have made it longer
		text = strings.ToValidUTF8(text[len(text)-lastLineBytes:], "")
	}
	return text
}
