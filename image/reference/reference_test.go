// SPDX-License-Identifier: MPL-2.0

package reference

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/shoenig/test/must"
)

var sha256Digest = "sha256:" + strings.Repeat("0a", 32)

func TestParse_ReadsRegistryReferencesAsDocker(t *testing.T) {
	for s, want := range map[string]string{
		"nginx":                               "docker.io/library/nginx:latest",
		"nginx:1.22":                          "docker.io/library/nginx:1.22",
		"team/app":                            "docker.io/team/app:latest",
		"docker.io/nginx":                     "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx":       "docker.io/library/nginx:latest",
		"localhost/app":                       "localhost/app:latest",
		"localhost:5000/app":                  "localhost:5000/app:latest",
		"registry.example.com/team/nginx:1.2": "registry.example.com/team/nginx:1.2",
		"Registry.Example.com/team/nginx":     "registry.example.com/team/nginx:latest",
		"host:5000/team/x@" + sha256Digest:    "host:5000/team/x@" + sha256Digest,
		"host:5000/x:1@" + sha256Digest:       "host:5000/x:1@" + sha256Digest,
		"docker://host:5000/a/b/c__d.e--f":    "host:5000/a/b/c__d.e--f:latest",
		"docker://oci:1.0":                    "docker.io/library/oci:1.0",
		"docker://web.tar":                    "docker.io/library/web.tar:latest",
		"docker.io/web.tar":                   "docker.io/library/web.tar:latest",
		"web.tar:1.0":                         "docker.io/library/web.tar:1.0",
		"localhost:5000/web.tar":              "localhost:5000/web.tar:latest",
		"h.io/web.tar":                        "h.io/web.tar:latest",
		"[::1]:5000/x":                        "[::1]:5000/x:latest",
		"127.0.0.1:5000/x:V-1._":              "127.0.0.1:5000/x:V-1._",
	} {
		r, err := Parse(s)
		must.NoError(t, err, must.Sprint(s))
		must.Eq(t, Registry, r.Transport(), must.Sprint(s))
		must.Eq(t, want, r.String(), must.Sprint(s))
		must.Eq(t, "", r.Path())
		// go-containerregistry requests the same image.
		theirs, err := name.ParseReference(strings.ToLower(strings.TrimPrefix(s, "docker://")))
		must.NoError(t, err)
		must.Eq(t, theirs.Context().Name(), r.Name().Context().Name())
		if r.Digest() != "" {
			must.Eq(t, r.Digest(), r.Name().Identifier())
		} else {
			must.Eq(t, r.Tag(), r.Name().Identifier())
		}
	}
}

func TestParse_SplitsTheTagFromAPathAtTheLastColonAfterTheLastSlash(t *testing.T) {
	for s, want := range map[string]Reference{
		"oci:/a/b":                               {transport: OCILayout, path: "/a/b"},
		"oci:a:1":                                {transport: OCILayout, path: "a", tag: "1"},
		"oci:/a:b/c":                             {transport: OCILayout, path: "/a:b/c"},
		"oci:/a:b/c:1.0":                         {transport: OCILayout, path: "/a:b/c", tag: "1.0"},
		"oci:/a/b:c:1.0":                         {transport: OCILayout, path: "/a/b:c", tag: "1.0"},
		"oci:/a/b:c:":                            {transport: OCILayout, path: "/a/b:c"},
		"oci:/a/b:":                              {transport: OCILayout, path: "/a/b"},
		"oci:/a b/\"é\"":                         {transport: OCILayout, path: "/a b/\"é\""},
		"oci:../x/":                              {transport: OCILayout, path: "../x/"},
		"oci-archive:/x.tar":                     {transport: OCIArchive, path: "/x.tar"},
		"oci-archive:/x.tar:v1":                  {transport: OCIArchive, path: "/x.tar", tag: "v1"},
		"docker-archive:x.tar":                   {transport: DockerArchive, path: "x.tar"},
		"docker-archive:x.tar:":                  {transport: DockerArchive, path: "x.tar"},
		"docker-archive:/x/y.tar:nginx":          {transport: DockerArchive, path: "/x/y.tar", tag: "nginx"},
		"docker-archive:/x/y.tar:h.io:1/a/b:1.0": {transport: DockerArchive, path: "/x/y.tar", tag: "h.io:1/a/b:1.0"},
	} {
		r, err := Parse(s)
		must.NoError(t, err, must.Sprint(s))
		must.True(t, want == r, must.Sprintf("%q: %#v", s, r))
		must.Nil(t, r.Name())
		must.True(t, r.IsLocal())
	}
}

func TestParse_RefusesWithTheReason(t *testing.T) {
	for s, want := range map[string]string{
		"":                               "empty",
		"nginx\n":                        "control character",
		strings.Repeat("a/", 3000) + "a": "6001 bytes",
		strings.Repeat("a", 256):         "more than 255",
		"team/Nginx":                     "uppercase",
		"Team/nginx":                     "uppercase",
		"host:5000/Team/x":               "uppercase",
		"registry.example.com/":          "name after registry",
		"host:5000/":                     "name after registry",
		"nginx:":                         "tag after the colon is missing",
		":1.0":                           "name of the repository is missing",
		"@" + sha256Digest:               "name of the repository is missing",
		"nginx@sha256:12":                "64 lowercase hexadecimal digits",
		"nginx@" + strings.ToUpper("sha256:"+strings.Repeat("0A", 32)): "not supported",
		"nginx@sha256:" + strings.Repeat("0A", 32):                     "64 lowercase hexadecimal digits",
		"nginx@md5:" + strings.Repeat("0a", 16):                        "not supported",
		"nginx@" + sha256Digest + "@" + sha256Digest:                   "64 lowercase hexadecimal digits",
		"nginx@sha512:" + strings.Repeat("0a", 64):                     "not supported",
		"nginx@latest":                           "not supported",
		"nginx:1:2":                              "repository \"library/nginx:1\" is not valid",
		"nginx:.x":                               "tag",
		"nginx:" + strings.Repeat("a", 129):      "more than 128",
		"host:0/x":                               "port",
		"host:99999/x":                           "port",
		"host:http/x":                            "port",
		"-a.example/x":                           "host name",
		"a..b/x":                                 "host name",
		"user@host:5000/x":                       "not supported",
		"user:secret@h.io/x":                     "not supported",
		"[::1/x":                                 "IPv6",
		"[fe80::1%eth0]:1/x":                     "IPv6",
		"h.io//x":                                "not valid",
		"h.io/../x":                              "not valid",
		"h.io/a/./b":                             "not valid",
		"h.io/a..b":                              "not valid",
		"h.io/a___b":                             "not valid",
		"h.io/-a":                                "not valid",
		"h.io/a?x=y":                             "not valid",
		"h.io/a%2fb":                             "not valid",
		"h.io/ä":                                 "not valid",
		"https://h.io/x":                         "URL scheme",
		"HTTP://h.io/x":                          "URL scheme",
		"oci://x":                                `"oci:PATH"`,
		"web.tar":                                `looks like a file: write "oci-archive:web.tar"`,
		"local/web.tar":                          `"docker-archive:local/web.tar"`,
		"docker-daemon://x":                      "unknown prefix",
		"/images/x":                              "prefix that names its format",
		"./x":                                    "prefix that names its format",
		"oci:":                                   "path is missing",
		"oci::1.0":                               "path is missing",
		"oci-archive:":                           "path is missing",
		"docker-archive:":                        "path is missing",
		"docker-archive::x":                      "path is missing",
		"oci:/a:b c":                             "append a colon",
		"oci:/a@" + sha256Digest:                 "digest cannot be given",
		"docker-archive:x.tar:Nginx":             "uppercase",
		"docker-archive:x.tar:a@" + sha256Digest: "no digests",
	} {
		_, err := Parse(s)
		must.ErrorContains(t, err, want, must.Sprint(s))
	}
}

func TestReference_ChangesUnlessItHasADigest(t *testing.T) {
	for s, want := range map[string][2]bool{
		"nginx":                        {true, true},
		"nginx:latest":                 {true, true},
		"nginx:1.22":                   {true, false},
		"nginx@" + sha256Digest:        {false, false},
		"nginx:latest@" + sha256Digest: {false, false},
		"oci:/x":                       {true, true},
		"docker-archive:/x:nginx:1":    {true, true},
	} {
		r, err := Parse(s)
		must.NoError(t, err)
		must.Eq(t, want, [2]bool{r.IsMutable(), r.DefaultsToAlways()}, must.Sprint(s))
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"nginx", "h.io:5000/a/b:1@" + sha256Digest, "docker://x", "oci:/a:b/c:d:", "oci-archive:a:1",
		"docker-archive:/x.tar:h.io/a:1", "[::1]:5000/x", "https://x", "oci:x@sha256:00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			must.True(t, r == Reference{})
			return
		}
		again, err := Parse(r.String())
		must.NoError(t, err)
		must.True(t, r == again, must.Sprintf("%#v and %#v", r, again))
		if r.IsLocal() {
			must.StrContains(t, s, r.Path())
			must.NotEq(t, "", r.Path())
			return
		}
		must.NotNil(t, r.Name())
		must.StrNotContains(t, r.Repository(), "..")
	})
}
