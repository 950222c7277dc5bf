# SPDX-License-Identifier: MPL-2.0
"""Python's tests where there is one process, and no more modules than fit in one file.

A test is skipped when it says that it needs another process, when it starts one, when it opens a terminal, and when
it imports a module that this Python is built without.
"""

import errno
import os
import posix
import sys
import types
import unittest

import _posixsubprocess
from test import support

LEFT_OUT = {"_ctypes", "_hashlib", "_ssl", "_testbuffer", "_testcapi", "_testclinic", "_testinternalcapi", "idlelib", "lib2to3"}


class Lacking(OSError, unittest.SkipTest):
    """The error that the kernel gives, which skips a test that does not expect it."""


def lacking(what):
    def call(*args, **kwargs):
        raise Lacking(errno.ENOSYS, f"needs {what}")

    return call


def skips(method):
    """A method of TestCase, so that the lack of a module skips the test."""

    def call(self, *args):
        try:
            return method(self, *args)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] not in LEFT_OUT:
                raise
            self.skipTest(f"needs {error.name}")

    return call


support.has_fork_support = support.has_subprocess_support = False
_posixsubprocess.fork_exec = lacking("another process")
for module in (os, posix):
    module.fork = module.posix_spawn = module.posix_spawnp = lacking("another process")
    module.openpty = module.forkpty = lacking("a pseudo-terminal")
for name in ("_callSetUp", "_callTestMethod"):
    setattr(unittest.TestCase, name, skips(getattr(unittest.TestCase, name)))

# All that these want of _testcapi.
if "test_sqlite3" in sys.argv:
    sys.modules["_testcapi"] = types.SimpleNamespace(INT_MAX=2**31 - 1, ULLONG_MAX=2**64 - 1)

if __name__ == "__main__":
    from test import libregrtest

    libregrtest.main()
