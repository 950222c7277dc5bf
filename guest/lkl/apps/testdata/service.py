# SPDX-License-Identifier: MPL-2.0
"""Uses the features of Python that need kernel support, and serves the results over HTTP."""

import datetime
import gzip
import hashlib
import signal
import sqlite3
import subprocess
import sys
import threading
import zoneinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

released, computing = False, threading.Event()


def threads():
    lock, total = threading.Lock(), [0]

    def add():
        for i in range(1000):
            with lock:
                total[0] += i

    workers = [threading.Thread(target=add) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return total[0]


def database():
    with sqlite3.connect("/data.db") as data:
        data.execute("create table if not exists t (n integer)")
        data.executemany("insert into t values (?)", ((i,) for i in range(1000)))
    return sqlite3.connect("/data.db").execute("select sum(n) from t").fetchone()[0]


def process():
    try:
        return subprocess.run(["/bin/true"]).returncode
    except OSError as error:
        return error


def summer():
    noon = datetime.datetime(2024, 7, 1, 12, tzinfo=datetime.timezone.utc)
    return noon.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")).isoformat()


def digest():
    return hashlib.sha256(gzip.decompress(gzip.compress(b"python" * 10000))).hexdigest()


def wait():
    """Computes without a system call until another thread sets released."""
    computing.set()
    while not released:
        pass
    return "released"


def release():
    global released
    computing.wait()
    computing.clear()
    released = True
    return "releasing"


def forever():
    computing.set()
    while True:
        pass


def begun():
    computing.wait()
    return "begun"


class Service(BaseHTTPRequestHandler):
    answers = {f"/{f.__name__}": f for f in (threads, database, process, summer, digest, wait, release, forever, begun)}

    def do_GET(self):
        body = str(self.answers[self.path]()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
server = ThreadingHTTPServer(("", 8000), Service)
server.daemon_threads = True
server.serve_forever()
