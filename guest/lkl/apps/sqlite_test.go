// SPDX-License-Identifier: MPL-2.0

package apps

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/lkl-nomad/nomad-driver-lkl/testenv"
)

// sqliteMachine returns a machine with 32 MiB and files in its root.
func sqliteMachine(t *testing.T, files map[string]string) machine {
	t.Helper()
	return machine{"lkl-sqlite3.spt", buildRoot(t, "lkl-sqlite3", files), "", 32}
}

// sqlite runs the shell of SQLite on the database /db, and returns its exit status and output.
func (m machine) sqlite(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return m.start(t, append([]string{"/db"}, args...)...).output()
}

const sqliteQueries = `PRAGMA journal_mode = WAL;
CREATE TABLE t (n INTEGER PRIMARY KEY, text);
INSERT INTO t SELECT value, hex(randomblob(20)) FROM generate_series(1, 100000);
SELECT sum(n) FROM t;
CREATE VIRTUAL TABLE words USING fts5(text);
INSERT INTO words VALUES ('a unikernel'), ('a container');
`

// A query that fails changes the exit status, as natively.
func TestSQLite_RunsQueries(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-sqlite3.spt", testLimit) {
		return
	}
	m := sqliteMachine(t, map[string]string{"queries": sqliteQueries})
	for _, tc := range []struct {
		args   []string
		status int
		output string
	}{
		{[]string{".read /queries"}, 0, "wal\n5000050000\n"},
		{[]string{"PRAGMA mmap_size = 100000000; SELECT count(*) FROM t; PRAGMA integrity_check"}, 0, "100000000\n100000\nok\n"},
		{[]string{"SELECT text FROM words WHERE words MATCH 'unikernel'"}, 0, "a unikernel\n"},
		{[]string{"-csv", "SELECT n, json_extract('{\"key\": 5}', '$.key'), sqrt(n) FROM t WHERE n = 16"}, 0, "16,5,4.0\n"},
		{[]string{"VACUUM INTO '/copy'; ATTACH '/copy' AS copy; SELECT count(*) FROM copy.t"}, 0, "100000\n"},
		{[]string{"SELECT * FROM missing"}, 1, "Error: in prepare, no such table: missing\n"},
		{[]string{"ATTACH '/missing/x' AS x"}, 14, "Error: stepping, unable to open database: /missing/x (14)\n"},
		{[]string{".shell ls"}, 1, "Error: unknown command or invalid arguments:  \"shell\". Enter \".help\" for help\n"},
	} {
		status, out := m.sqlite(t, tc.args...)
		must.Eq(t, tc.output, out)
		must.Eq(t, tc.status, status)
	}
}

// SIGKILL loses no row that was committed, in WAL mode.
func TestSQLite_KeepsCommittedRows(t *testing.T) {
	if !enterOwnNetwork(t, "lkl-sqlite3.spt", testLimit) {
		return
	}
	const rows = 20_000 // more than a round inserts before it is killed
	insert := "INSERT INTO t (text) VALUES (hex(randomblob(50))); SELECT 'row ' || max(n) FROM t;\n"
	m := sqliteMachine(t, map[string]string{
		"rows": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;\n" +
			"CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, text);\n" + strings.Repeat(insert, rows),
	})
	confirmed := 0
	for round := range 3 {
		g := m.start(t, "/db", ".read /rows")
		must.Wait(t, testenv.EventuallyTrue(func() bool { return strings.Count(g.console.String(), "row ") > 100*(round+1) }))
		must.NoError(t, g.cmd.Process.Kill())
		_, out := g.output()
		must.Less(t, rows, strings.Count(out, "row "))
		lines := strings.Split(out, "\n")
		for _, line := range lines[:len(lines)-1] { // the last one is incomplete
			if number, ok := strings.CutPrefix(line, "row "); ok {
				n, err := strconv.Atoi(number)
				must.NoError(t, err)
				confirmed = n
			}
		}
		status, out := m.sqlite(t, fmt.Sprintf("SELECT count(*) >= %d, count(*) = max(n) FROM t; PRAGMA integrity_check", confirmed))
		must.Eq(t, "1|1\nok\n", out)
		must.Eq(t, 0, status)
		t.Logf("%d rows confirmed", confirmed)
	}
}
