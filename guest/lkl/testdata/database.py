# SPDX-License-Identifier: MPL-2.0
"""Databases that connections use with and without mmap_size, in the directories of the arguments.

One connection changes the database with write(), another one reads the new rows through its
mapping, and the other way around. Each change is checked by a model.
"""

import os
import random
import sqlite3
import sys

ROUNDS = 60
rows = {}


def connect(path, journal, mapped):
    connection = sqlite3.connect(path, isolation_level=None)
    size = connection.execute(f"pragma mmap_size = {256 << 20 if mapped else 0}").fetchone()
    assert size == ((256 << 20 if mapped else 0),), size
    mode = connection.execute(f"pragma journal_mode = {journal}").fetchone()[0]
    assert mode == journal, mode
    return connection


def change(connection, random):
    """Changes some rows in one transaction."""
    connection.execute("begin immediate")
    for _ in range(random.randrange(1, 40)):
        key, text = random.randrange(400), random.randbytes(random.choice((10, 500, 9000)))
        if random.random() < 0.3:
            connection.execute("delete from t where key = ?", (key,))
            rows.pop(key, None)
        else:
            connection.execute("insert or replace into t values (?, ?)", (key, text))
            rows[key] = text
    connection.execute("commit")


def shrink(connection, journal):
    """Makes the file shorter, while it is mapped."""
    connection.execute("delete from t where key % 4")
    for key in [key for key in rows if key % 4]:
        del rows[key]
    connection.execute("vacuum")
    if journal == "wal":
        busy = connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
        assert busy == 0, busy


def check(connection, journal):
    got = dict(connection.execute("select key, value from t"))
    assert got == rows, f"{journal}: {len(got)} rows instead of {len(rows)}, or other ones"


def is_mapped(path):
    with open("/proc/self/maps") as maps:
        return any(line.rstrip().endswith(path) for line in maps)


def test(directory, journal):
    path, seed = os.path.join(directory, journal + ".db"), random.Random(1)
    rows.clear()
    mapped, plain = connect(path, journal, True), connect(path, journal, False)
    plain.execute("create table t (key integer primary key, value blob)")
    was_mapped = False
    for n in range(ROUNDS):
        change(seed.choice((mapped, plain)), seed)
        if n % 20 == 10:
            shrink(plain, journal)
        check(mapped, journal)
        was_mapped |= is_mapped(path)
        check(plain, journal)
        if n % 15 == 5:
            new = connect(path, journal, True)
            check(new, journal)
            new.close()
    for connection in (mapped, plain, sqlite3.connect(path)):
        answer = connection.execute("pragma integrity_check").fetchone()[0]
        assert answer == "ok", answer
        check(connection, journal)
        connection.close()
    print(f"{directory} {journal}: {'mapped' if was_mapped else 'not mapped'}", flush=True)


for directory in sys.argv[1:]:
    for journal in ("delete", "truncate", "persist", "wal"):
        test(directory, journal)
