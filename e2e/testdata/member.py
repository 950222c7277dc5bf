# SPDX-License-Identifier: MPL-2.0
#
# A member of a group. It answers HTTP requests and datagrams on each address of its
# arguments, and makes requests to other members. It runs in guests and as a process.
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

NAME = os.environ["NOMAD_TASK_NAME"]
TIMEOUT = 5  # seconds; far more than a request takes, so a lost packet is repeated
hangs = threading.Event()


def name():
    return NAME


def env(name):
    return os.environ.get(name, "")


def fetch(url):
    with urlopen(url, timeout=TIMEOUT) as answer:
        return answer.read().decode()


def datagram(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(TIMEOUT)
        s.sendto(b"name?", (host, int(port)))
        answer, sender = s.recvfrom(100)
        if sender[:2] != (host, int(port)):
            raise OSError(f"the answer to {host}:{port} came from {sender[0]}:{sender[1]}")
        return answer.decode()


def hang():
    hangs.set()
    return "no more answers"


ACTIONS = {"/": name, "/env": env, "/fetch": fetch, "/datagram": datagram, "/hang": hang}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if hangs.is_set():
            threading.Event().wait()
        url = urlsplit(self.path)
        try:
            status, body = 200, ACTIONS[url.path](**dict(parse_qsl(url.query)))
        except (OSError, KeyError, TypeError) as e:
            status, body = 502, f"{NAME}: {e!r}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def server_bind(self):
        TCPServer.server_bind(self)  # without a search for the host's name


def answer_datagrams(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(address)
        while True:
            _, sender = s.recvfrom(100)
            s.sendto(NAME.encode(), sender)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
for argument in sys.argv[1:]:
    host, _, port = argument.rpartition(":")
    threading.Thread(target=Server((host, int(port)), Handler).serve_forever, daemon=True).start()
    threading.Thread(target=answer_datagrams, args=[(host, int(port))], daemon=True).start()
print("ready", flush=True)
while True:
    signal.pause()
