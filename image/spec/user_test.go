// SPDX-License-Identifier: MPL-2.0

package spec_test

import (
	"syscall"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/image/spec"
)

func TestLookupUser_FollowsDockersRules(t *testing.T) {
	accounts := spec.Accounts{
		Passwd: "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:34::/var/www:\nbroken\nbad:x:y:z:::\n55:x:56:57::/named:\nshort:x:8:9\r\n",
		Group:  "root:x:0:\nadm:x:4:\nbroken\n7:x:70:\nshort:x:5",
	}
	for user, want := range map[string]spec.Account{
		"":               {Home: "/root"},
		"root":           {Home: "/root"},
		"www-data":       {UID: 33, GID: 34, Home: "/var/www"},
		"33":             {UID: 33, GID: 34, Home: "/var/www"},
		"www-data:adm":   {UID: 33, GID: 4, Home: "/var/www"},
		"www-data:":      {UID: 33, GID: 34, Home: "/var/www"},
		"33:7":           {UID: 33, GID: 7, Home: "/var/www"},
		"short":          {UID: 8, GID: 9},
		"short:short":    {UID: 8, GID: 5},
		"1000":           {UID: 1000, Home: "/"},
		"1000:1001":      {UID: 1000, GID: 1001, Home: "/"},
		"55":             {UID: 55, Home: "/"}, // a name that is a number does not count
		"56":             {UID: 56, GID: 57, Home: "/named"},
		"4294967294:adm": {UID: 4294967294, GID: 4, Home: "/"},
	} {
		t.Run(user, func(t *testing.T) {
			got, err := accounts.LookupUser(user)
			must.NoError(t, err)
			must.Eq(t, want, got)
		})
	}
	for _, user := range []string{"nobody", "bad", "www-data:nogroup", "-1", "4294967295", "1:4294967295", "0x1", "a\nb"} {
		_, err := accounts.LookupUser(user)
		must.Error(t, err, must.Sprint(user))
		checkMessage(t, err)
	}
	got, err := spec.Accounts{}.LookupUser("")
	must.NoError(t, err)
	must.Eq(t, spec.Account{Home: "/"}, got)
}

func TestParseSignal_ReadsNamesAndNumbers(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"SIGTERM": syscall.SIGTERM, "term": syscall.SIGTERM, "sigint": syscall.SIGINT, "9": syscall.SIGKILL,
		"SIGIOT": syscall.SIGABRT, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMAX-1": 63, "SIGRTMAX": 64, "64": 64,
	} {
		got, err := spec.ParseSignal(name)
		must.NoError(t, err, must.Sprint(name))
		must.Eq(t, want, got, must.Sprint(name))
	}
	for _, name := range []string{"", "SIG", "SIGNONE", "0", "-1", "65", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN3", "SIGRTMIN+", "SIGSIGTERM"} {
		_, err := spec.ParseSignal(name)
		must.Error(t, err, must.Sprint(name))
	}
}
