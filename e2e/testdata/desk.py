# SPDX-License-Identifier: MPL-2.0
#
# A server that reads and writes files on request. Its arguments are a port and a file with
# the addresses of upstreams, which it reads again on SIGHUP.
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

upstreams = []


def read(path):
    with open(path) as f:
        return f.read()


def write(path, text, mode="w"):
    with open(path, mode) as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    return "written"


def replace(path, text):
    write(path + ".new", text)
    os.rename(path + ".new", path)
    return "replaced"


def listing(path):
    return " ".join(sorted(os.listdir(path)))


def remove(path):
    os.unlink(path)
    return "removed"


def link(path, target):
    os.symlink(target, path)
    return "linked"


def owner(path):
    s = os.lstat(path)
    return f"{s.st_uid}:{s.st_gid} {s.st_mode:o}"


def size(path):
    s = os.statvfs(path)
    return str(s.f_blocks * s.f_frsize)


def all_upstreams():
    return " ".join(upstreams)


def balance(number):
    with urlopen("http://" + upstreams[int(number) % len(upstreams)] + "/env?name=NOMAD_ALLOC_ID", timeout=5) as answer:
        return answer.read().decode()


def env(name):
    return os.environ.get(name, "")


ACTIONS = {
    "/read": read, "/write": write, "/replace": replace, "/list": listing, "/remove": remove, "/link": link,
    "/owner": owner, "/size": size, "/upstreams": all_upstreams, "/balance": balance, "/env": env,
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        try:
            status, body = 200, ACTIONS[url.path](**dict(parse_qsl(url.query, keep_blank_values=True)))
        except (OSError, KeyError, TypeError, IndexError, ZeroDivisionError) as e:
            status, body = 502, repr(e)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True

    def server_bind(self):
        TCPServer.server_bind(self)  # without a search for the host's name


def reload(*_):
    upstreams[:] = read(sys.argv[2]).split()
    print("upstreams:", len(upstreams), flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
signal.signal(signal.SIGHUP, reload)
if len(sys.argv) > 2:
    reload()
Server(("", int(sys.argv[1])), Handler).serve_forever()
