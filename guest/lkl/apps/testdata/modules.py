# SPDX-License-Identifier: MPL-2.0
"""Uses the modules of Python that need libraries, and serves the results over HTTPS."""

import ctypes
import hashlib
import http.server
import importlib.metadata
import json
import lzma
import ssl
import sys
import urllib.request


def structure():
    class Header(ctypes.BigEndianStructure):
        _fields_ = [("kind", ctypes.c_uint8), ("rest", ctypes.c_uint8), ("length", ctypes.c_uint16)]

    return Header.from_buffer_copy(b"\x01\x02\x03\x04").length


def function():
    ctypes.pythonapi.PyLong_FromLong.restype = ctypes.py_object
    return ctypes.pythonapi.PyLong_FromLong(ctypes.c_long(4321))


def library():
    try:
        return str(ctypes.CDLL("libm.so.6"))
    except OSError as error:
        return str(error)


def wheel():
    import example_wheel

    return example_wheel.answer() + importlib.metadata.version("example-wheel")


def fetch():
    with urllib.request.urlopen("https://10.0.0.1:8443/") as answer:
        return answer.read().decode()


def untrusted():
    try:
        return urllib.request.urlopen("https://10.0.0.1:8444/").status
    except urllib.error.URLError as error:
        return error.reason.verify_message


results = {
    "/structure": structure,
    "/function": function,
    "/library": library,
    "/wheel": wheel,
    "/fetch": fetch,
    "/untrusted": untrusted,
    "/openssl": lambda: hashlib.new("sha512_256", b"openssl").hexdigest(),
    "/lzma": lambda: lzma.decompress(lzma.compress(b"lzma" * 1000, preset=0)).decode(),
    "/executable": lambda: sys.executable,
}


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(results[self.path]()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("", 443), Service)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/chain.pem", "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
