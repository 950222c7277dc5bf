// SPDX-License-Identifier: MPL-2.0

package lkl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test"
	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/disk"
	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// buildPythonRoot makes a root image with the files of the Python guest and a script of testdata.
func buildPythonRoot(t *testing.T, script string) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("mke2fs"), testenv.Tool("debugfs"))
	from, to := filepath.Join(t.TempDir(), "files"), filepath.Join(t.TempDir(), "root.ext4")
	must.NoError(t, os.CopyFS(from, os.DirFS(filepath.Join(filepath.Dir(testenv.Guest(t, "lkl-python3.spt")), "lkl-python3.root"))))
	must.NoError(t, os.WriteFile(filepath.Join(from, filepath.Base(script)), []byte(readFile(t, script)), 0o644))
	must.NoError(t, disk.Build(t.Context(), from, to, disk.BuildOptions{Size: 128 << 20}))
	return to
}

// With mmap_size, SQLite reads the database through a mapping. It must see the rows that
// other connections write, and the end of a database that they have made shorter.
func TestMaps_ShowSQLiteTheNewRows(t *testing.T) {
	dir := t.TempDir()
	shares := []share{{source: dir, path: "/live"}}
	socket, host := packetPair(t)
	serveShares(t, host, shares)
	s := liveGuest(t, socket, shares, "/database.py", "/", "/tmp", "/dev/shm", "/live")
	s.kernel, s.root, s.memory = testenv.Guest(t, "lkl-python3.spt"), buildPythonRoot(t, "testdata/database.py"), "128"
	g := startGuest(t, s)
	must.NoError(t, socket.Close())
	lines, status := g.waitExit(t)
	must.Eq(t, 0, status, must.Sprint(strings.Join(lines, "\n")))
	var want []string
	for _, place := range []string{"/", "/tmp", "/dev/shm", "/live"} {
		for _, journal := range []string{"delete", "truncate", "persist", "wal"} {
			want = append(want, place+" "+journal+": mapped")
		}
	}
	test.Eq(t, want, lines)
	requireCleanDisk(t, g.root)
}
