package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The picture, in pixels: panels side by side and below each other, each with room around what it plots.
const (
	panelsAcross            = 2
	panelWidth, panelHeight = 420, 230
	plotLeft, plotRight     = 58, 48
	plotTop, plotBottom     = 44, 44
	// inset keeps the first point and its figure off the axis.
	inset = 28
	// logFrom is the ratio of the greatest figure of a panel to the least from which on its axis is logarithmic.
	logFrom = 50
)

// colours of the lines of a panel.
var colours = []string{"#1f5fa8", "#c2410c"}

// axis places figures between 0 and 1.
type axis struct {
	from, to float64 // logarithms where log
	log      bool
}

func logAxis(least, greatest float64) axis {
	a := axis{math.Log10(least), math.Log10(greatest), true}
	if a.from == a.to {
		a.from, a.to = a.from-1, a.to+1
	}
	return a
}

// axisOf begins at 0, or is logarithmic where the figures differ very much.
func axisOf(values []float64) axis {
	least, greatest := slices.Min(values), slices.Max(values)
	if least > 0 && greatest/least >= logFrom {
		return logAxis(math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(greatest))))
	}
	a := axis{from: min(0, least), to: roundUp(greatest * 1.1)}
	if a.from == a.to {
		a.to = 1
	}
	return a
}

// roundUp is the next figure of one digit, or of 1.5 or 2.5; 0 for what is less.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 0
	}
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 1.5, 2, 2.5, 3, 4, 5, 6, 8} {
		if v <= step*decade {
			return step * decade
		}
	}
	return 10 * decade
}

func (a axis) place(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return (v - a.from) / (a.to - a.from)
}

// ends are the figures at both ends.
func (a axis) ends() [2]float64 {
	if a.log {
		return [2]float64{math.Pow(10, a.from), math.Pow(10, a.to)}
	}
	return [2]float64{a.from, a.to}
}

// scalePicture is an SVG file with a panel for each quantity, by procs.
func scalePicture(all []scaled) string {
	var titles []string
	lines := map[string][]quantity{} // of each panel
	for _, q := range quantities {
		if q.panel == "" {
			continue
		}
		if lines[q.panel] == nil {
			titles = append(titles, q.panel)
		}
		lines[q.panel] = append(lines[q.panel], q)
	}
	rows := (len(titles) + panelsAcross - 1) / panelsAcross
	width, height := panelsAcross*panelWidth, rows*panelHeight
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	for i, title := range titles {
		panel(&out, i%panelsAcross*panelWidth, i/panelsAcross*panelHeight, title, lines[title], all)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// panel draws the lines of one panel, the figures beside their points, the procs below.
func panel(out *strings.Builder, x, y int, title string, lines []quantity, all []scaled) {
	left, right := float64(x+plotLeft), float64(x+panelWidth-plotRight)
	top, bottom := float64(y+plotTop), float64(y+panelHeight-plotBottom)
	across := logAxis(float64(all[0].procs), float64(all[len(all)-1].procs))
	var values []float64
	for _, q := range lines {
		for _, s := range all {
			values = append(values, q.of(s))
		}
	}
	up := axisOf(values)
	atX := func(s scaled) float64 { return left + inset + across.place(float64(s.procs))*(right-left-inset) }
	atY := func(v float64) float64 { return bottom - up.place(v)*(bottom-top) }

	if up.log {
		title += " (log)"
	}
	text(out, left, float64(y+20), "start", "#111111", title, `font-weight="bold" font-size="13"`)
	fmt.Fprintf(out, `<path d="M%.1f %.1fV%.1fH%.1f" fill="none" stroke="#888888"/>`+"\n", left, top, bottom, right)
	for _, v := range up.ends() {
		text(out, left-6, atY(v)+4, "end", "#666666", number(v), "")
	}
	for _, s := range all {
		fmt.Fprintf(out, `<path d="M%.1f %.1fv4" stroke="#888888"/>`+"\n", atX(s), bottom)
		text(out, atX(s), bottom+25, "middle", "#666666", number(float64(s.procs)), "")
	}
	text(out, right, bottom+39, "end", "#666666", "procs (log)", "")
	for i, q := range lines {
		var points []string
		for _, s := range all {
			points = append(points, fmt.Sprintf("%.1f,%.1f", atX(s), atY(q.of(s))))
		}
		fmt.Fprintf(out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colours[i])
		for _, s := range all {
			fmt.Fprintf(out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", atX(s), atY(q.of(s)), colours[i])
			label := atY(q.of(s)) - 8
			if len(lines) > 1 && i == 0 { // the lower of two lines has its figures below
				label = atY(q.of(s)) + 15
			}
			text(out, atX(s), label, "middle", colours[i], number(q.of(s)), `paint-order="stroke" stroke="#ffffff" stroke-width="3"`)
		}
		if len(lines) > 1 {
			text(out, left+float64(70*i), float64(y+34), "start", colours[i], q.name[strings.LastIndexByte(q.name, ' ')+1:], "")
		}
	}
}

func text(out *strings.Builder, x, y float64, anchor, colour, what, more string) {
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" %s>`, x, y, anchor, colour, more)
	_ = xml.EscapeText(out, []byte(what)) // a Builder takes everything
	out.WriteString("</text>\n")
}
