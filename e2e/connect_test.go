// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// withSidecar adds a service of Consul's service mesh to the first group of a job. The
// service is the server on a port of 127.0.0.1. Its sidecar is Consul's own proxy, which
// is a process.
func withSidecar(job *api.Job, service, port string, upstreams ...*api.ConsulUpstream) *api.Job {
	args := []string{
		"connect", "proxy", "-service", service, "-service-addr", "127.0.0.1:" + port,
		"-listen", fmt.Sprintf("0.0.0.0:${NOMAD_PORT_connect_proxy_%s}", envName(service)),
	}
	for _, upstream := range upstreams {
		args = append(args, "-upstream", fmt.Sprintf("%s:%d", upstream.DestinationName, upstream.LocalBindPort))
	}
	group := job.TaskGroups[0]
	group.Services = append(group.Services, &api.Service{
		Name: service, PortLabel: port, Provider: "consul",
		Connect: &api.ConsulConnect{
			SidecarService: &api.ConsulSidecarService{Proxy: &api.ConsulProxy{Upstreams: upstreams}},
			SidecarTask: &api.SidecarTask{
				Driver: "raw_exec",
				Config: map[string]any{"command": "consul", "args": args},
				Env:    map[string]string{"CONSUL_HTTP_ADDR": consul.Socket},
			},
		},
	})
	return job
}

// envName returns the name of a service in the names of environment variables.
func envName(service string) string { return strings.ReplaceAll(service, "-", "_") }

// allowOnly adds an intention: only one service may connect to the other one. Tests do
// not change intentions later, because Consul's agents sometimes miss such a change.
func allowOnly(t *testing.T, from, to string) {
	t.Helper()
	_, _, err := consul.API.ConfigEntries().Set(&consulapi.ServiceIntentionsConfigEntry{
		Kind: consulapi.ServiceIntentions, Name: to,
		Sources: []*consulapi.SourceIntention{
			{Name: from, Action: consulapi.IntentionActionAllow},
			{Name: "*", Action: consulapi.IntentionActionDeny},
		},
	}, nil)
	must.NoError(t, err)
}

// The servers and the client are in different groups. Their tasks communicate only with
// the sidecars of their group, on 127.0.0.1.
func TestConnect_GuestsCommunicateThroughSidecars(t *testing.T) {
	needRootAndTun(t)
	t.Parallel()
	allowOnly(t, "friend", "api")
	server := members(t, httpdGuest("8080"), memberGuest(t, "server", "127.0.0.1:9001", "0.0.0.0:9002"))
	server = withSidecar(server, "api", "9001")
	server = withSidecar(server, "api-any", "9002")
	server = withSidecar(server, "api-httpd", "8080")
	run(t, nomad, renamed(server, "-server"))

	client := members(t, memberGuest(t, "client", "0.0.0.0:9003"), legacyGuest(t, "legacy", "0.0.0.0:9004"))
	client = withPort(withPort(client, "client", 9003), "legacy", 9004)
	client = withSidecar(client, "friend", "9003",
		&api.ConsulUpstream{DestinationName: "api", LocalBindPort: 7001},
		&api.ConsulUpstream{DestinationName: "api-any", LocalBindPort: 7002},
		&api.ConsulUpstream{DestinationName: "api-httpd", LocalBindPort: 7003})
	client = withSidecar(client, "intruder", "9003",
		&api.ConsulUpstream{DestinationName: "api", LocalBindPort: 7004},
		&api.ConsulUpstream{DestinationName: "api-any", LocalBindPort: 7005})
	a := run(t, nomad, renamed(client, "-client"))
	a.awaitMember(t, "client", "client")

	a.awaitMember(t, "legacy", "legacy")

	a.awaitUpstream(t, "client", "127.0.0.1:7003", "httpd on Solo5")
	for _, address := range []string{"127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7005"} {
		a.awaitUpstream(t, "client", address, "server")
	}
	for name, wanted := range map[string]string{"client": "127.0.0.1:7003", "legacy": "192.0.0.1:7003"} {
		address, err := a.ask(t, name, "/env", "name", "NOMAD_UPSTREAM_ADDR_api_httpd")
		must.NoError(t, err)
		must.Eq(t, wanted, address)
		a.awaitUpstream(t, name, address, "httpd on Solo5")
	}
	// The sidecar of the intruder works, but that of the server refuses its certificate.
	answer, err := a.ask(t, "client", "/fetch", "url", "http://127.0.0.1:7004/")
	must.Error(t, err, must.Sprint(answer))
	must.RegexMatch(t, regexp.MustCompile("RemoteDisconnected|ConnectionResetError"), answer)
}

// awaitUpstream waits until a guest gets an answer that contains the text from a sidecar.
// The sidecars must find each other in Consul first.
func (a *alloc) awaitUpstream(t *testing.T, guest, address, text string) {
	t.Helper()
	must.Wait(t, testenv.Eventually(func() error {
		answer, err := a.ask(t, guest, "/fetch", "url", "http://"+address+"/")
		if err == nil && !strings.Contains(answer, text) {
			err = fmt.Errorf("the answer is %q, not %q", answer, text)
		}
		return err
	}))
}

// legacyGuest returns the task of memberGuest with a guest that the driver treats as a
// legacy one: a note in the file names another owner. It serves the port with its name.
func legacyGuest(t *testing.T, name string, listen ...string) *api.Task {
	t.Helper()
	const python = "lkl-python3"
	content, err := os.ReadFile(filepath.Join(tools.Guests, python+".spt"))
	must.NoError(t, err)
	must.Eq(t, 1, bytes.Count(content, []byte("nomad-driver-lkl\x00")))
	content = bytes.Replace(content, []byte("nomad-driver-lkl\x00"), []byte("another-owner-xx\x00"), 1)
	kernel := filepath.Join(t.TempDir(), "python3.spt")
	must.NoError(t, os.WriteFile(kernel, content, 0o755))
	ref := publicHost + "/" + repository(t) + ":1"
	must.NoError(t, build("docker://"+ref, "--kernel", kernel, "--root", filepath.Join(tools.Guests, python+".root")))
	return memberGuest(t, name, listen...).SetConfig("image", ref).SetConfig("ports", []string{name})
}
