package diagram

import (
	"cmp"
	"slices"

	"golang.org/x/text/width"
)

// The measures of the drawing, in pixels. Boxes begin at multiples of rowHeight, so that the lines from one
// side of the space between them and those from the other are at different heights.
const (
	fontSize   = 13
	rowHeight  = 22
	headHeight = 30
	padding    = 10  // inside of a box, left and right
	columnGap  = 14  // between marks, name and type
	boxGap     = 30  // between boxes, at least
	lane       = 12  // between lines that run down side by side
	footLength = 28  // what the end of a line needs
	margin     = 22  // around it all
	minWidth   = 960 // that the tables without references may fill
)

// drawing is the model with its places.
type drawing struct {
	width, height int
	boxes         []*box
	links         []*link
}

// box is a table with its place. One without a table keeps a place free for a line that passes.
type box struct {
	table               *Table
	x, y, width, height int
	names, types        int // where these begin, from x
	layer               int
	free                int     // where the line passes, from y; not at a height that a line from a table has
	targets             []*link // to it, from above
}

// link is a reference between boxes, drawn from left to right. A table that refers to itself is on both ends.
type link struct {
	reference       *Reference
	owner, target   *box
	way             []*box // from the left one to the right one, with the free places between
	path            []point
	ownerEnd, toEnd end
}

type point struct{ x, y int }

type end struct {
	point
	outward int // where the line goes: 1 is to the right, -1 to the left
}

// textWidth is how wide a text is at most, in a monospace font whose characters are 0.63 em wide or less.
func textWidth(text string) int {
	cells := 0
	for _, r := range text {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			cells += 2
		default:
			cells++
		}
	}
	return (cells*fontSize*63 + 99) / 100
}

func newBox(t *Table) *box {
	marks, names, types := 0, 0, 0
	for _, c := range t.Columns {
		marks = max(marks, textWidth(c.markText()))
		names = max(names, textWidth(c.Name))
		types = max(types, textWidth(c.typeText()))
	}
	b := &box{table: t, height: headHeight + rowHeight*len(t.Columns) + padding/2}
	b.names = padding + marks + columnGap
	b.types = b.names + names + columnGap
	b.width = max(b.types+types, padding+textWidth(t.Name)) + padding
	return b
}

// lay puts what is referred to on the left and what refers on the right, and the tables without references below.
func (m *Model) lay() *drawing {
	d := &drawing{width: minWidth}
	byName := make(map[string]*box)
	for i := range m.Tables {
		b := newBox(&m.Tables[i])
		d.boxes = append(d.boxes, b)
		byName[b.table.Name] = b
	}
	linked := make(map[*box]bool)
	for _, owner := range d.boxes {
		for i := range owner.table.References {
			r := &owner.table.References[i]
			target, ok := byName[r.Table]
			if !ok {
				continue
			}
			l := &link{reference: r, owner: owner, target: target}
			d.links = append(d.links, l)
			target.targets = append(target.targets, l)
			linked[owner], linked[target] = true, true
		}
	}
	for _, b := range d.boxes {
		b.height = max(b.height, headHeight+rowHeight*len(b.targets))
	}
	layers := d.layers(linked)
	bottom := d.place(layers)
	for _, b := range d.boxes {
		d.width = max(d.width, b.x+b.width+margin)
	}
	x, y, lowest := margin, bottom, bottom
	for _, b := range d.boxes {
		if linked[b] {
			continue
		}
		if x > margin && x+b.width+margin > d.width {
			x, y = margin, onGrid(lowest+boxGap)
		}
		b.x, b.y = x, y
		x += b.width + boxGap
		lowest = max(lowest, y+b.height)
	}
	d.width, d.height = 0, lowest+margin
	for _, b := range d.boxes {
		d.width = max(d.width, b.x+b.width+margin)
	}
	for _, l := range d.links {
		for _, p := range l.path {
			d.width = max(d.width, p.x+margin)
		}
	}
	return d
}

func onGrid(y int) int { return (y + rowHeight - 1) / rowHeight * rowHeight }

// layers sorts the linked boxes from left to right, and gives each link its way.
func (d *drawing) layers(linked map[*box]bool) [][]*box {
	const unknown, asked = -2, -1
	for _, b := range d.boxes {
		b.layer = unknown
	}
	var find func(b *box) int
	find = func(b *box) int {
		if b.layer == unknown {
			b.layer = asked // and remains less than any while it is, which ends a circle
			layer := 0
			for _, l := range d.links {
				if l.owner == b && l.target != b {
					layer = max(layer, find(l.target)+1)
				}
			}
			b.layer = layer
		}
		return b.layer
	}
	var layers [][]*box
	put := func(b *box) {
		for len(layers) <= b.layer {
			layers = append(layers, nil)
		}
		layers[b.layer] = append(layers[b.layer], b)
	}
	for _, b := range d.boxes {
		if linked[b] {
			find(b)
			put(b)
		}
	}
	for i, l := range d.links {
		from, to := l.target, l.owner
		if from.layer > to.layer {
			from, to = to, from
		}
		l.way = []*box{from}
		for layer := from.layer + 1; layer < to.layer; layer++ {
			free := &box{layer: layer, free: []int{0, 4, 11}[i%3]}
			put(free)
			l.way = append(l.way, free)
		}
		l.way = append(l.way, to)
	}
	for _, layer := range layers[min(1, len(layers)):] { // near what they are linked to
		wish := make(map[*box]int)
		for _, b := range layer {
			wish[b] = d.wish(b, layers[b.layer-1])
		}
		slices.SortStableFunc(layer, func(a, b *box) int { return cmp.Compare(wish[a], wish[b]) })
	}
	return layers
}

// wish is the mean position of the neighbours of a box in the layer on its left, times 100.
func (d *drawing) wish(b *box, before []*box) int {
	sum, n := 0, 0
	for _, l := range d.links {
		if at := slices.Index(l.way, b); at > 0 && l.way[at-1] != b {
			sum += 100 * slices.Index(before, l.way[at-1])
			n++
		}
	}
	return sum / max(n, 1)
}

// place gives the boxes of the layers and the lines between them their places, and returns where they end.
func (d *drawing) place(layers [][]*box) (bottom int) {
	for _, layer := range layers {
		y := onGrid(margin)
		for _, b := range layer {
			b.y = y
			y = onGrid(y + b.height + boxGap)
		}
		bottom = max(bottom, y)
	}
	if bottom == 0 {
		bottom = onGrid(margin)
	}
	for _, b := range d.boxes {
		slices.SortStableFunc(b.targets, func(a, c *link) int {
			return cmp.Or(cmp.Compare(min(a.owner.layer, b.layer+1), min(c.owner.layer, b.layer+1)), cmp.Compare(a.way[1].y, c.way[1].y), cmp.Compare(a.ownerRow(), c.ownerRow()))
		})
	}
	x := margin
	for n, layer := range layers {
		widest := 0
		for _, b := range layer {
			widest = max(widest, b.width)
		}
		for _, b := range layer {
			b.x, b.width = x, widest
		}
		x += widest + d.channel(n, x+widest)
	}
	return bottom
}

// channel lays the lines on the right of a layer, from x on, and returns how wide that is.
func (d *drawing) channel(layer, x int) int {
	type segment struct {
		*link
		from, to int // heights
		loop     bool
	}
	var segments []segment
	for _, l := range d.links {
		for i, b := range l.way[:len(l.way)-1] {
			if b.layer == layer {
				segments = append(segments, segment{l, l.height(b), l.height(l.way[i+1]), l.owner == l.target})
				if l.owner == l.target {
					segments[len(segments)-1].to = l.ownerRow()
				}
			}
		}
	}
	if len(segments) == 0 {
		return boxGap
	}
	// Loops first, then lines up, the upper ones first, then lines down, the lower ones first: they cross least.
	order := func(s segment) (group, height int) {
		switch {
		case s.loop:
			return 0, s.to
		case s.to < s.from:
			return 1, s.from
		}
		return 2, -s.from
	}
	slices.SortStableFunc(segments, func(a, b segment) int {
		groupA, heightA := order(a)
		groupB, heightB := order(b)
		return cmp.Or(cmp.Compare(groupA, groupB), cmp.Compare(heightA, heightB))
	})
	wide := 2*footLength + lane*(len(segments)-1)
	for i, s := range segments {
		turn := x + footLength + i*lane
		end := x + wide
		if s.loop {
			end = x
		}
		s.path = append(s.path, point{x, s.from}, point{turn, s.from}, point{turn, s.to}, point{end, s.to})
		s.ends()
	}
	return wide
}

// height is where the link meets a box of its way.
func (l *link) height(b *box) int {
	switch {
	case b.table == nil:
		return b.y + b.free
	case b == l.target:
		at := slices.Index(b.targets, l)
		if at == 0 {
			return b.y + headHeight/2
		}
		return b.y + headHeight + at*rowHeight
	}
	return l.ownerRow()
}

// ownerRow is the middle of the column that refers. Where several links begin at one column, they are apart.
func (l *link) ownerRow() int {
	y := l.owner.y + headHeight + rowHeight/2
	for i, c := range l.owner.table.Columns {
		if c.Name == l.reference.Columns[0] {
			y += i * rowHeight
		}
	}
	for i := range l.owner.table.References {
		other := &l.owner.table.References[i]
		if other == l.reference {
			break
		}
		if other.Columns[0] == l.reference.Columns[0] {
			y += 10
		}
	}
	return y
}

// ends says where the ends of the path are, and on which side of their boxes.
func (l *link) ends() {
	first, last := end{l.path[0], 1}, end{l.path[len(l.path)-1], -1}
	if l.owner == l.target {
		last.outward = 1
	}
	if l.way[0] == l.target {
		l.toEnd, l.ownerEnd = first, last
	} else {
		l.ownerEnd, l.toEnd = first, last
	}
}
