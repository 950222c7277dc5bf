// SPDX-License-Identifier: MPL-2.0

package hostcheck

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// A Status is the outcome of a check.
type Status string

const (
	// OK means that the facility works.
	OK Status = "ok"
	// Info is a fact about the host that needs no action.
	Info Status = "info"
	// Skipped means that the check could not be made.
	Skipped Status = "skipped"
	// Warning means that tasks run, but with a restriction that the finding names.
	Warning Status = "warning"
	// Failed means that tasks, or some kinds of tasks, cannot run.
	Failed Status = "failed"
)

// A Finding is the result of a check.
type Finding struct {
	Status Status `json:"status"`
	Detail string `json:"detail"`
	// Fix contains the commands that mend a fault, one per line. It may be empty.
	Fix string `json:"fix,omitempty"`
}

func ok(format string, args ...any) Finding { return Finding{OK, fmt.Sprintf(format, args...), ""} }

func info(format string, args ...any) Finding { return Finding{Info, fmt.Sprintf(format, args...), ""} }

func skipped(format string, args ...any) Finding {
	return Finding{Skipped, fmt.Sprintf(format, args...), ""}
}

func warning(fix, format string, args ...any) Finding {
	return Finding{Warning, fmt.Sprintf(format, args...), fix}
}

func failed(fix, format string, args ...any) Finding {
	return Finding{Failed, fmt.Sprintf(format, args...), fix}
}

// A Check examines one facility of the host. It changes nothing.
type Check struct {
	Group, Name string

	needsRoot bool
	run       func(context.Context) Finding
}

// checkTimeout bounds each check. Some run programs of the host, or wait for a server.
const checkTimeout = 30 * time.Second

// Run makes the check.
func (c Check) Run(ctx context.Context) Finding {
	if c.needsRoot && os.Geteuid() != 0 {
		return skipped("needs root")
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.run(ctx)
}

// severity lists the statuses from the best to the worst.
var severity = []Status{OK, Info, Skipped, Warning, Failed}

// Worst returns the worse of two statuses. It returns b if a is empty.
func Worst(a, b Status) Status {
	if slices.Index(severity, a) > slices.Index(severity, b) {
		return a
	}
	return b
}
