# SPDX-License-Identifier: MPL-2.0
#
# A server on port 8000 of all addresses, of both families. It fetches a URL, and reports
# the MTU of its interface.
import fcntl
import signal
import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

SIOCGIFMTU = 0x8921


def mtu():
    name = next(name for _, name in socket.if_nameindex() if name not in ("lo", "sit0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        answer = fcntl.ioctl(s, SIOCGIFMTU, struct.pack("16sI", name.encode(), 0) + bytes(12))
    return f"{name} {struct.unpack_from('I', answer, 16)[0]}"


def fetch(url):
    with urlopen(url, timeout=5) as answer:
        return answer.read().decode()


ACTIONS = {"/mtu": mtu, "/fetch": fetch, "/large": lambda: "x" * (4 << 20)}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        try:
            status, body = 200, ACTIONS[url.path](**dict(parse_qsl(url.query)))
        except (OSError, KeyError, TypeError) as e:
            status, body = 502, repr(e)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # without a search for the host's name


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
Server(("::", 8000), Handler).serve_forever()
