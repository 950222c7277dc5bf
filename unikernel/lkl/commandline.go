// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lkl-nomad/nomad-driver-lkl/unikernel"
	"github.com/lkl-nomad/nomad-driver-lkl/unikernel/cmdline"
)

// BootVariable is the environment variable that holds the command line of the
// guest's kernel.
const BootVariable = "LKL_BOOT_CMDLINE"

const (
	// maxBootVariable is the maximum length of BootVariable's value, in bytes.
	// Legacy guests silently ignore a longer one.
	maxBootVariable = 255
	// firstDeviceFD is the guest's file descriptor of the first device in the
	// manifest. Lower descriptors are the console.
	firstDeviceFD = 3
)

// CommandLine returns the command line of the guest u, byte by byte: the
// environment, "--config" and the configuration, "--" and the arguments. A
// guest without a configuration attaches neither disks nor interfaces.
//
// Its error names every mistake and wraps cmdline.ErrWord, cmdline.ErrTooLong
// or ErrConfig.
func CommandLine(u *unikernel.Info, config *Config, env map[string]string, args []string) (string, error) {
	var b cmdline.Builder
	if u.LongCommandLine() {
		b.MaxLength = cmdline.MaxLongLength
	}
	if config != nil {
		addDescriptors(&b, u.Manifest, config.Interfaces)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		what := fmt.Sprintf("variable %q", name)
		if err := checkVariable(name, env[name]); err != nil {
			b.Refuse(what, "%w", err)
			continue
		}
		b.Add(what, escape(name+"="+env[name]))
	}
	if config != nil {
		encoded, err := config.Encode(u.Features)
		if err != nil {
			b.Refuse("", "%w", err)
		}
		b.Add("the option", "--config")
		b.Add("the LKL configuration", escape(encoded))
	}
	b.Add("the separator", "--")
	for i, arg := range args {
		b.Add(cmdline.Argument(i, arg), escape(arg))
	}
	return b.CommandLine()
}

// addDescriptors adds the guest's file descriptor of each interface, which
// legacy guests need.
func addDescriptors(b *cmdline.Builder, manifest []unikernel.Device, interfaces []Interface) {
	for _, n := range interfaces {
		i := slices.Index(manifest, unikernel.Device{Name: n.Name, Type: unikernel.Net})
		if i < 0 {
			b.Refuse("", "%w: interface %q: the unikernel's manifest has no net device of this name", ErrConfig, n.Name)
			continue
		}
		b.Add("the file descriptor of "+n.Name, fmt.Sprintf("__RUMP_FDINFO_NET_%s=%d", n.Name, firstDeviceFD+i))
	}
}

// checkVariable refuses a variable that the guest would misread or ignore.
func checkVariable(name, value string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it has no name", cmdline.ErrWord)
	case strings.Contains(name, "="):
		return fmt.Errorf(`%w: its name contains a "="`, cmdline.ErrWord)
	case strings.HasPrefix(name, "-"):
		return fmt.Errorf(`%w: the guest takes a word that begins with "-" for an option`, cmdline.ErrWord)
	case strings.HasPrefix(name, "__RUMP_"), strings.HasPrefix(name, "9PFS_"):
		return fmt.Errorf("%w: the guest reserves the name for its devices", cmdline.ErrWord)
	case name == BootVariable && len(value) > maxBootVariable:
		return fmt.Errorf("%w: %d bytes, %d more than %d", cmdline.ErrTooLong, len(value), len(value)-maxBootVariable, maxBootVariable)
	}
	return nil
}

// escape escapes a word for the guest's parser, which works like buildargv of
// GNU libiberty: a backslash keeps the next byte as it is.
func escape(word string) string {
	if word == "" {
		return `""`
	}
	var b strings.Builder
	for i := range len(word) {
		if strings.IndexByte(cmdline.WhiteSpace+`\'"`, word[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(word[i])
	}
	return b.String()
}
