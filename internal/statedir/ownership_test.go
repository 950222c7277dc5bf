// SPDX-License-Identifier: MPL-2.0

package statedir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// stranger is a UID without any rights in the tests.
const stranger = 12345

// makeDir creates a directory, and returns its path.
func makeDir(t *testing.T, path string, mode os.FileMode, uid int) string {
	t.Helper()
	must.NoError(t, os.Mkdir(path, 0o700))
	must.NoError(t, os.Chown(path, uid, uid))
	must.NoError(t, os.Chmod(path, mode))
	return path
}

// stateDirPaths are paths below a directory that belongs to root.
var stateDirPaths = map[string]struct {
	path func(t *testing.T, dir string) string
	says string // "" if the path is accepted
}{
	"root's":             {func(t *testing.T, dir string) string { return makeDir(t, dir+"/state", 0o755, 0) }, ""},
	"missing, in root's": {func(_ *testing.T, dir string) string { return dir + "/a/b" }, ""},
	"writable by a group": {
		func(t *testing.T, dir string) string { return makeDir(t, dir+"/state", 0o770, 0) }, "chmod go-w",
	},
	"writable by all": {
		func(t *testing.T, dir string) string { return makeDir(t, dir+"/state", 0o777, 0) }, "chmod go-w",
	},
	"sticky itself": {
		func(t *testing.T, dir string) string { return makeDir(t, dir+"/state", os.ModeSticky|0o777, 0) }, "/state/nomad-driver-lkl",
	},
	"another user's": {
		func(t *testing.T, dir string) string { return makeDir(t, dir+"/state", 0o700, stranger) }, "belongs to user 12345",
	},
	"in another user's": {
		func(t *testing.T, dir string) string {
			return makeDir(t, makeDir(t, dir+"/home", 0o755, stranger)+"/state", 0o700, 0)
		}, "/home belongs to user 12345",
	},
	"missing, in a writable directory": {
		func(t *testing.T, dir string) string { return makeDir(t, dir+"/open", 0o777, 0) + "/a/b" }, "/open has mode 0777",
	},
	"root's, in a sticky directory": {
		func(t *testing.T, dir string) string {
			return makeDir(t, makeDir(t, dir+"/tmp", os.ModeSticky|0o777, 0)+"/state", 0o700, 0)
		}, "",
	},
	"another user's, in a sticky directory": {
		func(t *testing.T, dir string) string {
			return makeDir(t, makeDir(t, dir+"/tmp", os.ModeSticky|0o777, 0)+"/state", 0o700, stranger)
		}, "belongs to user 12345",
	},
	"another user's link, in a sticky directory": {
		func(t *testing.T, dir string) string {
			link := makeDir(t, dir+"/tmp", os.ModeSticky|0o777, 0) + "/link"
			must.NoError(t, os.Symlink(makeDir(t, dir+"/state", 0o700, 0), link))
			must.NoError(t, os.Lchown(link, stranger, stranger))
			return link
		}, "/link belongs to user 12345",
	},
	"root's link to a writable directory": {
		func(t *testing.T, dir string) string {
			must.NoError(t, os.Symlink("open/../open", dir+"/link"))
			return filepath.Join(makeDir(t, dir+"/open", 0o777, 0), "../link/state")
		}, "/open has mode 0777",
	},
	"root's link to a missing directory": {
		func(t *testing.T, dir string) string {
			must.NoError(t, os.Symlink(dir+"/elsewhere", dir+"/link"))
			return dir + "/link/state"
		}, "",
	},
	"a loop of links": {
		func(t *testing.T, dir string) string {
			must.NoError(t, os.Symlink("link", dir+"/link"))
			return dir + "/link"
		}, "too many levels of symbolic links",
	},
	"a link to the root": {
		func(t *testing.T, dir string) string {
			must.NoError(t, os.Symlink("/", dir+"/link"))
			return dir + "/link"
		}, "cannot be /",
	},
	"the root":              {func(*testing.T, string) string { return "/" }, "cannot be /"},
	"the root, in disguise": {func(*testing.T, string) string { return "/usr/../." }, "cannot be /"},
}

func TestCheck_RefusesPathsThatOthersCanChange(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for name, c := range stateDirPaths {
		t.Run(name, func(t *testing.T) {
			path := c.path(t, t.TempDir())
			err, createErr := Check(path), Create(path)
			if c.says == "" {
				must.NoError(t, err)
				must.NoError(t, createErr)
				must.DirExists(t, path)
				return
			}
			must.ErrorContains(t, err, c.says)
			must.ErrorContains(t, createErr, c.says) // the path may change later
		})
	}
}
