// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lkl-nomad/nomad-driver-lkl/image/build"
	"github.com/lkl-nomad/nomad-driver-lkl/image/reference"
	"github.com/lkl-nomad/nomad-driver-lkl/image/source"
	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/safeopen"
	"github.com/lkl-nomad/nomad-driver-lkl/internal/spdx"
)

// sbomSuffix replaces the last extension of a kernel's name.
const sbomSuffix = ".spdx.json"

// parse reads the options. If done is true, the command must exit with the status.
func (b *imageBuild) parse(e *Env, args []string) (status int, done bool) {
	flags := newFlags()
	output := b.define(flags)
	operands, status, done := e.parse(flags, args)
	if done {
		return status, true
	}
	err := b.registry.check()
	switch {
	case err != nil:
	case len(operands) > 0:
		err = fmt.Errorf("unexpected argument %q", operands[0])
	case b.options.Kernel == "":
		err = errors.New("--kernel is required")
	case *output == "":
		err = errors.New("-o is required, such as -o oci-archive:image.tar")
	case b.sbom != "" && b.noSBOM:
		err = errors.New("--sbom and --no-sbom exclude each other")
	default:
		err = b.check(*output)
	}
	if err != nil {
		return e.usageError(err), true
	}
	return exitOK, false
}

// define declares the options, and returns the value of the output.
func (b *imageBuild) define(flags *flag.FlagSet) *string {
	var output string
	o, c := &b.options, &b.options.Config
	flags.StringVar(&o.Kernel, "kernel", "", "")
	flags.StringVar(&o.Root, "root", "", "")
	flags.StringVar(&output, "o", "", "")
	flags.StringVar(&output, "output", "", "")
	flags.StringVar(&o.Name, "name", "", "")
	flags.Func("entrypoint", "", words(&c.Entrypoint))
	flags.Func("cmd", "", words(&c.Cmd))
	flags.Func("env", "", func(v string) error {
		if name, _, ok := strings.Cut(v, "="); name == "" || !ok {
			return errors.New("it must have the form NAME=VALUE")
		}
		c.Env = append(c.Env, v)
		return nil
	})
	flags.StringVar(&c.WorkingDir, "workdir", "", "")
	flags.StringVar(&c.User, "user", "", "")
	flags.Func("stop-signal", "", func(v string) error {
		c.StopSignal = v
		_, err := spec.ParseSignal(v)
		return err
	})
	flags.Func("expose", "", func(v string) error { return expose(&c.ExposedPorts, v) })
	flags.Func("label", "", pairs(&c.Labels))
	flags.Func("annotation", "", pairs(&o.Annotations))
	flags.StringVar((*string)(&o.Compression), "compression", string(build.Gzip), "")
	flags.BoolVar(&o.KeepOwners, "keep-owners", false, "")
	flags.StringVar(&b.sbom, "sbom", "", "")
	flags.BoolVar(&b.noSBOM, "no-sbom", false, "")
	flags.BoolVar(&b.json, "json", false, "")
	b.registry.define(flags)
	return &output
}

// check completes the options, and finds values that are not valid.
func (b *imageBuild) check(output string) error {
	var err error
	if b.output, err = reference.Parse(output); err != nil {
		return err
	}
	if b.options.Time, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if b.options.Name == "" {
		b.options.Name = "/" + filepath.Base(b.options.Kernel)
	}
	switch c := b.options.Compression; {
	case c != build.Gzip && c != build.Zstd:
		return fmt.Errorf("--compression %q is unknown: use gzip or zstd", string(c))
	case c != build.Gzip && b.output.Transport() == reference.DockerArchive:
		return errors.New("a docker archive takes only --compression gzip")
	}
	return nil
}

// words returns a function that adds a word, or the words of a list in JSON.
func words(list *[]string) func(string) error {
	return func(v string) error {
		if !strings.HasPrefix(v, "[") {
			*list = append(*list, v)
			return nil
		}
		var more []string
		if err := json.Unmarshal([]byte(v), &more); err != nil {
			return fmt.Errorf("it is not a list of strings in JSON: %w", err)
		}
		*list = append(*list, more...)
		return nil
	}
}

// pairs returns a function that adds a value to a map.
func pairs(values *map[string]string) func(string) error {
	return func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		if key == "" || !ok {
			return errors.New("it must have the form NAME=VALUE")
		}
		if *values == nil {
			*values = map[string]string{}
		}
		(*values)[key] = value
		return nil
	}
}

// expose adds a port, such as "80", "80/tcp" or "53/udp".
func expose(ports *map[string]struct{}, v string) error {
	number, protocol, ok := strings.Cut(v, "/")
	if !ok {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || protocol != "tcp" && protocol != "udp" {
		return errors.New("it must be a port, such as 80, 80/tcp or 53/udp")
	}
	if *ports == nil {
		*ports = map[string]struct{}{}
	}
	(*ports)[strconv.FormatUint(n, 10)+"/"+protocol] = struct{}{}
	return nil
}

// sourceDate returns the time of SOURCE_DATE_EPOCH, in seconds since 1970.
func sourceDate(value string) (time.Time, error) {
	if value == "" {
		return time.Unix(0, 0), nil
	}
	const maxSeconds = 253402300799 // 9999-12-31
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > maxSeconds {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds since 1970", value)
	}
	return time.Unix(n, 0), nil
}

// readSBOM returns the SPDX document to attach.
func (b *imageBuild) readSBOM() ([]byte, error) {
	path := b.sbom
	if path == "" {
		kernel := b.options.Kernel
		path = strings.TrimSuffix(kernel, filepath.Ext(kernel)) + sbomSuffix
	}
	content, err := readSmall(path)
	switch {
	case b.sbom == "" && errors.Is(err, fs.ErrNotExist):
		return b.minimalSBOM()
	case err != nil:
		return nil, fmt.Errorf("SBOM: %w", err)
	}
	if err := spdx.Check(content); err != nil {
		return nil, fmt.Errorf("SBOM %s: %w", path, err)
	}
	return content, nil
}

// readSmall reads a file that fits in a manifest.
func readSmall(path string) ([]byte, error) {
	f, err := safeopen.Open(path, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, source.MaxManifestSize))
	if err == nil && len(content) == source.MaxManifestSize {
		err = fmt.Errorf("%s has %d bytes or more, which is too large", path, source.MaxManifestSize)
	}
	return content, err
}

// minimalSBOM returns a document that lists the kernel file alone.
func (b *imageBuild) minimalSBOM() ([]byte, error) {
	f, err := safeopen.Open(b.options.Kernel, os.O_RDONLY, safeopen.Regular)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	name := filepath.Base(b.options.Kernel)
	contents := spdx.Contents{
		Name: name, Files: []spdx.File{{Name: name, SHA256: hex.EncodeToString(sum.Sum(nil))}}, Created: b.options.Time,
	}
	return contents.Marshal()
}
