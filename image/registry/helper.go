// SPDX-License-Identifier: MPL-2.0

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sys/unix"
)

const (
	// maxHelperOutput is the largest output of a credential helper in bytes.
	maxHelperOutput = 64 << 10
	// noCredentials is the output of docker's helpers for an unknown registry.
	noCredentials = "credentials not found"
	// tokenUser is the user name by which helpers mark an identity token.
	tokenUser = "<token>"
)

// askHelper runs docker-credential-NAME with docker's protocol: the registry on its input,
// JSON on its output. The zero login means that the helper knows no credentials.
func (s *session) askHelper(ctx context.Context, name string) (login, error) {
	if name == "" {
		return login{}, nil
	}
	program := "docker-credential-" + name
	registry := s.base.Host
	if registry == dockerHubServer {
		registry = dockerHubKey
	}
	output, err := runHelper(ctx, s.client.limits.helper, program, registry)
	if strings.Contains(output, noCredentials) {
		return login{}, nil
	}
	if err != nil {
		return login{}, fmt.Errorf("credential helper %s: %w", program, err)
	}
	var answer struct{ Username, Secret string }
	// The error of the parser can quote the secret.
	if json.Unmarshal([]byte(output), &answer) != nil {
		return login{}, fmt.Errorf(`credential helper %s did not print JSON: run "echo %s | %s get" as the plugin's user`, program, registry, program)
	}
	if answer.Secret == "" {
		return login{}, nil
	}
	if answer.Username == tokenUser {
		return login{authn.AuthConfig{IdentityToken: answer.Secret}, program}, nil
	}
	return login{authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, program}, nil
}

// runHelper returns the output, also with an error. The helper and its children end with
// the context, or after the timeout.
func runHelper(ctx context.Context, timeout time.Duration, program, registry string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	var stdout, stderr limitedBuffer
	if strings.Contains(program, "/") {
		return "", errors.New("the name must not contain a slash")
	}
	command := exec.CommandContext(ctx, program, "get")
	command.Stdin = strings.NewReader(registry)
	command.Stdout, command.Stderr = &stdout, &stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return unix.Kill(-command.Process.Pid, unix.SIGKILL) }
	command.WaitDelay = time.Second // a child that left the process group can hold the pipes
	err := command.Run()
	switch {
	case err == nil && stdout.exceeded:
		return "", fmt.Errorf("it prints more than %d bytes", maxHelperOutput)
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	}
	// Helpers explain errors on their standard output, which must not be shown if it can
	// be credentials.
	explanation := clip(stdout.String())
	if explanation == "" || strings.Contains(explanation, "{") {
		explanation = clip(stderr.String())
	}
	return stdout.String(), fmt.Errorf("%w: %s", err, explanation)
}

// limitedBuffer keeps the first bytes of an output. It does not embed the buffer, whose
// method ReadFrom has no limit.
type limitedBuffer struct {
	content  bytes.Buffer
	exceeded bool
}

func (b *limitedBuffer) String() string { return b.content.String() }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	kept := p[:min(len(p), maxHelperOutput-b.content.Len())]
	b.exceeded = b.exceeded || len(kept) < len(p)
	b.content.Write(kept)
	return len(p), nil
}
