// SPDX-License-Identifier: MPL-2.0

package unikernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LKLBootVariable is the environment variable with the kernel's own command
// line.
const LKLBootVariable = "LKL_BOOT_CMDLINE"

const (
	// maxBootVariable is the longest value of LKLBootVariable, in bytes, that
	// a guest of 2020 reads; a longer one it ignores without a word.
	maxBootVariable = 255
	// firstGuestFD is the guest's file descriptor of the first device of the
	// manifest: the ones below are the console.
	firstGuestFD = 3
)

// lklCommandLine is the environment, "--config" and the configuration, "--"
// and the arguments; every word escaped.
func lklCommandLine(m *Image, in Invocation) (string, error) {
	var l line
	if in.Config != nil {
		l.addFileDescriptors(m, in.Config)
	}
	for _, name := range slices.Sorted(maps.Keys(in.Env)) {
		value := in.Env[name]
		if err := checkVariable(name, value); err != nil {
			l.wrong(err)
			continue
		}
		l.add("variable "+name, escape(name+"="+value))
	}
	if in.Config != nil {
		config, err := in.Config.MarshalJSON()
		if err != nil {
			l.wrong(err)
		}
		l.add("the option", "--config")
		l.add("the LKL configuration", escape(string(config)))
	}
	l.add("the separator", "--")
	for i, w := range in.Args {
		l.add(argument(i, w), escape(w))
	}
	return l.finish()
}

// addFileDescriptors tells the guest which of its file descriptors each
// interface of the configuration is. The guests of 2020 need it.
func (l *line) addFileDescriptors(m *Image, config *LKLConfig) {
	for _, n := range config.Interfaces {
		i := slices.IndexFunc(m.Manifest, func(d Device) bool { return d.Name == n.Name && d.Type == Net })
		if i < 0 {
			l.wrong(fmt.Errorf("%w: interface %q: the unikernel's manifest has no such net device", ErrConfig, n.Name))
			continue
		}
		l.add("the file descriptor of "+n.Name, fmt.Sprintf("__RUMP_FDINFO_NET_%s=%d", n.Name, firstGuestFD+i))
	}
}

// checkVariable refuses what the guest would take for something else, or not
// at all.
func checkVariable(name, value string) error {
	why := ""
	switch {
	case name == "":
		return fmt.Errorf("a variable without a name: %w", ErrWord)
	case strings.Contains(name, "="):
		why = `its name holds a "="`
	case strings.HasPrefix(name, "-"):
		why = `the guest takes a word that begins with "-" for an option`
	case strings.HasPrefix(name, "__RUMP_"), strings.HasPrefix(name, "9PFS_"):
		why = "the guest takes variables of this name for its devices"
	case name == LKLBootVariable && len(value) > maxBootVariable:
		return fmt.Errorf("variable %s is %w: %d bytes, %d more than %d",
			name, ErrTooLong, len(value), len(value)-maxBootVariable, maxBootVariable)
	}
	if why != "" {
		return fmt.Errorf("variable %q: %w: %s", name, ErrWord, why)
	}
	return nil
}

// escape writes a word such that the guest's splitter, which works as gcc's
// buildargv, finds it again: a backslash takes the next byte as it is.
func escape(word string) string {
	if word == "" {
		return `""`
	}
	var b strings.Builder
	for i := range len(word) {
		if strings.IndexByte(white+`\'"`, word[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(word[i])
	}
	return b.String()
}
