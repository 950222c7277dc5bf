// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/lkl-nomad/nomad-driver-lkl/image/registry"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/bytesize"
)

const (
	// redrawEvery limits how often a bar is drawn on a terminal.
	redrawEvery = 100 * time.Millisecond
	// reportEvery limits how often a line is written to a pipe or a file.
	reportEvery = 5 * time.Second
	// minBar is the least useful width of the bar between its brackets.
	minBar = 10
)

// A progress shows the progress of one long operation. On a terminal it redraws a bar.
// Elsewhere it writes a line every few seconds. Its methods may be called concurrently.
type progress struct {
	w     io.Writer
	title string
	width int // of the terminal, in columns; 0: not a terminal
	now   func() time.Time

	mu    sync.Mutex
	stage string
	next  time.Time // of the next output
	drawn bool      // a bar is on the terminal
}

// newProgress returns the progress of the operation with the title, shown on w.
func newProgress(w io.Writer, title string) *progress {
	p := &progress{w: w, title: printable(title), width: terminalWidth(w), now: time.Now}
	if p.width == 0 {
		// Short operations need no line.
		p.next = p.now().Add(reportEvery)
	}
	return p
}

// terminalWidth returns the columns of the terminal w, or 0 if w is not a terminal
// that can move its cursor.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col == 0: // such as a serial console
		return 80
	}
	return int(size.Col)
}

// update shows that done bytes of total are processed. It skips updates of the same stage
// that follow the last output too soon. total may be 0 if it is unknown.
func (p *progress) update(stage string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	isNew := stage != p.stage && p.width > 0
	if now.Before(p.next) && !isNew {
		return
	}
	p.stage = stage
	amount := stage
	switch {
	case total > 0:
		amount += " " + bytesize.Format(min(done, total)) + " of " + bytesize.Format(total)
	case done > 0:
		amount += " " + bytesize.Format(done)
	}
	if p.width == 0 {
		p.next = now.Add(reportEvery)
		fmt.Fprintf(p.w, "%s: %s\n", p.title, amount)
		return
	}
	p.next = now.Add(redrawEvery)
	p.drawn = true
	fmt.Fprint(p.w, "\r"+bar(p.title, amount, p.width-1, done, total)+"\x1b[K")
}

// note prints a line about the operation, above the bar.
func (p *progress) note(text string) {
	p.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s: %s\n", p.title, printable(text))
}

// noteRetries returns a context in which each failed attempt at a registry is a note.
func (p *progress) noteRetries(ctx context.Context) context.Context {
	return registry.WithRetryFunc(ctx, func(r registry.Retry) { p.note(r.String()) })
}

// clear removes the bar, so that other output can follow.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// bar returns one line of at most width columns: the title, a bar if the total is
// known and there is space, and the amount. The amount is the most important part.
func bar(title, amount string, width int, done, total int64) string {
	amount = shorten(amount, width)
	free := width - utf8.RuneCountInString(amount) - 1
	if free < minBar {
		return amount
	}
	title = shorten(title, max(minBar, free-minBar-len(" []")))
	free -= utf8.RuneCountInString(title)
	inner := free - len(" []")
	if total <= 0 || inner < minBar {
		return title + strings.Repeat(" ", max(free, 0)+1) + amount
	}
	full := int(int64(inner) * min(max(done, 0), total) / total)
	return title + " [" + strings.Repeat("#", full) + strings.Repeat(".", inner-full) + "] " + amount
}

// shorten returns s in at most width columns. It keeps the end, because the end of an
// image's name distinguishes images.
func shorten(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	if width < 4 {
		return string(runes[len(runes)-max(width, 0):])
	}
	return "..." + string(runes[len(runes)-width+3:])
}
