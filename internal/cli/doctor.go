// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/hostcheck"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/statedir"
)

const doctorUsage = `usage: PROGRAM doctor [--json] [OPTION ...]

Checks whether this host can run unikernels as tasks of Nomad, and prints the
commands that mend what does not work, for Debian. It changes nothing, but the
kernel may load modules that a check uses.

  --json                  print one JSON object
  --state-dir DIR         state_dir of the plugin (` + statedir.Default + `)
  --cni-path DIR          cni_path of the agent (/opt/cni/bin)
  --cni-config-dir DIR    cni_config_dir of the agent (/opt/cni/config)
  --registry HOST         log in to this registry; may be repeated
  --image REFERENCE       look for this image in its registry; may be repeated

No registry is contacted without --registry or --image.

` + registryUsage + `
The outcome of a check:
  ok       it works
  info     a fact that needs no action
  skipped  the check was not possible, for example without root
  warning  tasks run, but with the restriction that the line names
  failed   tasks, or those with a root disk, live directories or a network, cannot run

Exit status:
  0  no check has failed; there may be warnings
  1  a check has failed
  2  the command line is not valid
  4  the output cannot be written
`

// A diagnosis is the output of doctor --json.
type diagnosis struct {
	Status hostcheck.Status `json:"status"` // the worst one
	Checks []checkResult    `json:"checks"`
}

// A checkResult is the outcome of one check.
type checkResult struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	hostcheck.Finding
}

// doctorFlags are the options of doctor.
type doctorFlags struct {
	asJSON bool
	host   hostcheck.Options
	login  registryFlags
}

func (d *doctorFlags) define(flags *flag.FlagSet) {
	flags.BoolVar(&d.asJSON, "json", false, "")
	flags.StringVar(&d.host.StateDir, "state-dir", statedir.Default, "")
	flags.StringVar(&d.host.CNIPath, "cni-path", "", "")
	flags.StringVar(&d.host.CNIConfig, "cni-config-dir", "", "")
	d.login.define(flags)
	registries := &d.host.Registries
	flags.Func("registry", "", func(host string) error {
		registries.Hosts = append(registries.Hosts, host)
		return nil
	})
	flags.Func("image", "", func(name string) error {
		ref, err := reference.Parse(name)
		if err == nil && ref.IsLocal() {
			err = errors.New("the image is not in a registry")
		}
		registries.Images = append(registries.Images, ref)
		return err
	})
}

// check checks the options that depend on each other, and completes the registries.
func (d *doctorFlags) check(stdin io.Reader) (err error) {
	if !filepath.IsAbs(d.host.StateDir) {
		return fmt.Errorf("--state-dir %q must be an absolute path", d.host.StateDir)
	}
	registries, references := &d.host.Registries, []reference.Reference(nil)
	for _, host := range registries.Hosts {
		ref, err := reference.Parse(host + "/x")
		if err != nil {
			return fmt.Errorf("--registry %q is not the host of a registry, such as \"registry.example.com:5000\"", host)
		}
		references = append(references, ref)
	}
	if err := d.login.check(); err != nil {
		return err
	}
	if registries.Client, err = d.login.client(append(references, registries.Images...)); err != nil {
		return err
	}
	registries.Credentials, err = d.login.credentials(stdin)
	return err
}

func doctorCommand(e *Env, args []string) int {
	var options doctorFlags
	flags := newFlags()
	options.define(flags)
	operands, status, done := e.parse(flags, args)
	switch {
	case done:
		return status
	case len(operands) > 0:
		return e.usageError(fmt.Errorf("unexpected argument %q", operands[0]))
	}
	if err := options.check(e.Stdin); err != nil {
		return e.usageError(err)
	}
	checks := hostcheck.Checks(options.host)
	output := e.Stdout
	if options.asJSON {
		output = io.Discard
	}
	report, err := examine(newProgress(e.Stderr, "doctor").noteRetries(context.Background()), checks, output)
	if err == nil && options.asJSON {
		encoder := json.NewEncoder(e.Stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(report)
	}
	switch {
	case err != nil:
		return e.fail(exitUnwritten, err)
	case report.Status == hostcheck.Failed:
		return exitFailed
	}
	return exitOK
}

// examine makes the checks, and writes each outcome at once: some checks wait for servers.
func examine(ctx context.Context, checks []hostcheck.Check, w io.Writer) (diagnosis, error) {
	widths, group := map[string]int{}, ""
	for _, c := range checks {
		widths[c.Group] = max(widths[c.Group], len(c.Name))
	}
	report := diagnosis{}
	for _, c := range checks {
		result := checkResult{c.Group, c.Name, c.Run(ctx)}
		report.Checks = append(report.Checks, result)
		report.Status = hostcheck.Worst(result.Status, report.Status)
		var text strings.Builder
		if c.Group != group {
			if group != "" {
				text.WriteString("\n")
			}
			fmt.Fprintf(&text, "%s\n", c.Group)
			group = c.Group
		}
		result.write(&text, widths[c.Group])
		if _, err := io.WriteString(w, text.String()); err != nil {
			return report, err
		}
	}
	_, err := io.WriteString(w, report.summary())
	return report, err
}

// write writes a line with aligned columns, and the commands below it.
func (r checkResult) write(w io.Writer, width int) {
	const status = 7 // the longest one
	detail := strings.ReplaceAll(r.Detail, "\n", "; ")
	fmt.Fprintf(w, "  %-*s  %-*s  %s\n", status, r.Status, width, r.Name, detail)
	for command := range strings.Lines(r.Fix) {
		fmt.Fprintf(w, "  %-*s  %-*s  fix: %s\n", status, "", width, "", strings.TrimSpace(command))
	}
}

// summary counts the outcomes.
func (d diagnosis) summary() string {
	count := map[hostcheck.Status]int{}
	for _, c := range d.Checks {
		count[c.Status]++
	}
	plural := "s"
	if count[hostcheck.Warning] == 1 {
		plural = ""
	}
	return fmt.Sprintf("\n%d checks: %d failed, %d warning%s, %d skipped\n",
		len(d.Checks), count[hostcheck.Failed], count[hostcheck.Warning], plural, count[hostcheck.Skipped])
}
