// SPDX-License-Identifier: MPL-2.0

// Package ext4 inspects ext4 images in tests. It calls the tools of e2fsprogs itself, so
// that a fault of package disk cannot hide in it.
package ext4

import (
	"bytes"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
)

// Check runs e2fsck on an image without changing it.
func Check(image string) error {
	out, err := exec.Command("e2fsck", "-f", "-n", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("e2fsck %s: %w: %s", image, err, out)
	}
	return nil
}

// Debugfs runs one command of debugfs on an image, without changing it, and returns its
// output. Errors of the command are part of the output: debugfs exits with 0.
func Debugfs(image, command string) (string, error) {
	out, err := exec.Command("debugfs", "-R", command, image).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("debugfs %s: %w: %s", image, err, out)
	}
	return string(out), nil
}

// Quote quotes an argument of a debugfs command.
func Quote(arg string) string { return `"` + strings.ReplaceAll(arg, `"`, `""`) + `"` }

// ReadFile returns the content of a regular file of an image. fs.ErrNotExist: the image
// has no file at this path.
func ReadFile(image, path string) ([]byte, error) {
	cmd := exec.Command("debugfs", "-R", "cat "+Quote(path), image)
	var content, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &content, &messages
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("read %s of %s: debugfs: %w: %s", path, image, err, messages.Bytes())
	}
	// debugfs prints its version to stderr before any errors.
	_, message, _ := strings.Cut(messages.String(), "\n")
	switch message = strings.TrimSpace(message); {
	case strings.Contains(message, "File not found by ext2_lookup"):
		return nil, fmt.Errorf("read %s of %s: %w", path, image, fs.ErrNotExist)
	case message != "":
		return nil, fmt.Errorf("read %s of %s: debugfs: %s", path, image, message)
	}
	return content.Bytes(), nil
}
