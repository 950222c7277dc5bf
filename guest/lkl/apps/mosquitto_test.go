// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

const mosquittoConfigFile = "/etc/mosquitto/mosquitto.conf"

// startMosquitto starts Mosquitto in 32 MiB.
func startMosquitto(t *testing.T, root, port string) *guest {
	t.Helper()
	return machine{"lkl-mosquitto.spt", root, port, 32}.start(t, "-c", mosquittoConfigFile)
}

// enterMosquittoNetwork is enterOwnNetwork for a test with Mosquitto's clients.
func enterMosquittoNetwork(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.Tool("mosquitto_pub"), testenv.Tool("mosquitto_sub"))
	return enterOwnNetwork(t, "lkl-mosquitto.spt", testLimit)
}

// mqtt runs mosquitto_pub or mosquitto_sub, and returns its output.
func mqtt(program, input string, args ...string) (string, error) {
	cmd := exec.Command(program, append([]string{"-h", "10.0.0.2"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return string(out), err
}

// publish publishes a retained message.
func publish(t *testing.T, topic, message string) {
	t.Helper()
	_, err := mqtt("mosquitto_pub", message, "-t", topic, "-q", "2", "-r", "-s")
	must.NoError(t, err)
}

// receive returns the next message of a topic.
func receive(t *testing.T, topic string, args ...string) string {
	t.Helper()
	out, err := mqtt("mosquitto_sub", "", append(args, "-t", topic, "-q", "2", "-C", "1", "-W", "60")...)
	must.NoError(t, err)
	return out
}

func TestMosquitto_DeliversMessages(t *testing.T) {
	if !enterMosquittoNetwork(t) {
		return
	}
	_ = startMosquitto(t, buildRoot(t, "lkl-mosquitto", nil), "1883")
	for _, message := range []string{"short", strings.Repeat("message ", 100_000)} {
		publish(t, "topic", "replaced")
		publish(t, "topic", message)
		must.Eq(t, message+"\n", receive(t, "topic"))
	}
}

// Retained messages and those of a persistent session survive a stop. Those that were saved
// survive SIGKILL.
func TestMosquitto_KeepsMessages(t *testing.T) {
	if !enterMosquittoNetwork(t) {
		return
	}
	root := buildRoot(t, "lkl-mosquitto", nil)
	g := startMosquitto(t, root, "1883")
	publish(t, "state", "retained")
	session := []string{"-i", "client", "-c"}
	_, err := mqtt("mosquitto_sub", "", append(session, "-t", "queue/#", "-q", "1", "-E")...)
	must.NoError(t, err)
	publish(t, "queue/1", "queued")
	status, out := g.stop(t, syscall.SIGTERM)
	must.Eq(t, 0, status, must.Sprint(out))

	g = startMosquitto(t, root, "1883")
	must.Eq(t, "queued\n", receive(t, "queue/#", session...))
	must.NoError(t, g.cmd.Process.Kill())
	_, _ = g.output()

	g = startMosquitto(t, root, "1883")
	must.Eq(t, "retained\n", receive(t, "state"))
	status, out = g.stop(t, syscall.SIGTERM)
	must.Eq(t, 0, status, must.Sprint(out))
}

const mosquittoTLSConfig = `user root
listener 8883
certfile /etc/mosquitto/chain.pem
keyfile /etc/mosquitto/key.pem
allow_anonymous false
password_file /etc/mosquitto/passwords
`

// mosquittoPassword returns a line of a password file, as mosquitto_passwd writes it.
func mosquittoPassword(t *testing.T, user, password string) string {
	t.Helper()
	const iterations = 101
	salt := []byte("twelve bytes")
	key, err := pbkdf2.Key(sha512.New, password, salt, iterations, sha512.Size)
	must.NoError(t, err)
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:$7$%d$%s$%s\n", user, iterations, encode(salt), encode(key))
}

func TestMosquitto_AsksForPasswordsOverTLS(t *testing.T) {
	if !enterMosquittoNetwork(t) {
		return
	}
	pair := newCertificate(t, "broker")
	authority := filepath.Join(t.TempDir(), "authority.pem")
	must.NoError(t, os.WriteFile(authority, pair.chain, 0o600))
	_ = startMosquitto(t, buildRoot(t, "lkl-mosquitto", map[string]string{
		"etc/mosquitto/mosquitto.conf": mosquittoTLSConfig,
		"etc/mosquitto/chain.pem":      string(pair.chain),
		"etc/mosquitto/key.pem":        string(pair.key),
		"etc/mosquitto/passwords":      mosquittoPassword(t, "sensor", "secret"),
	}), "8883")
	send := func(password string) error {
		_, err := mqtt("mosquitto_pub", "", "-p", "8883", "--cafile", authority, "-u", "sensor", "-P", password,
			"-t", "topic", "-q", "1", "-r", "-m", "from the sensor")
		return err
	}
	must.NoError(t, send("secret"))
	must.ErrorContains(t, send("wrong"), "Connection Refused")
	must.Eq(t, "from the sensor\n", receive(t, "topic", "-p", "8883", "--cafile", authority, "-u", "sensor", "-P", "secret"))
}
