# SPDX-License-Identifier: MPL-2.0
"""Runs Python's tests in a guest, which has one process and a fixed set of modules.

It skips a test that requires or starts another process, opens a terminal, or imports a module that this Python is
built without.
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


class NotSupported(OSError, unittest.SkipTest):
    """The kernel's error. It skips a test unless the test handles it."""


def raise_not_supported(feature):
    def call(*args, **kwargs):
        raise NotSupported(errno.ENOSYS, f"needs {feature}")

    return call


def skip_if_module_missing(method):
    """Wraps a method of TestCase such that a missing module skips the test."""

    def call(self, *args):
        try:
            return method(self, *args)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] not in LEFT_OUT:
                raise
            self.skipTest(f"needs {error.name}")

    return call


support.has_fork_support = support.has_subprocess_support = False
_posixsubprocess.fork_exec = raise_not_supported("another process")
for module in (os, posix):
    module.fork = module.posix_spawn = module.posix_spawnp = raise_not_supported("another process")
    module.openpty = module.forkpty = raise_not_supported("a pseudo-terminal")
for name in ("_callSetUp", "_callTestMethod"):
    setattr(unittest.TestCase, name, skip_if_module_missing(getattr(unittest.TestCase, name)))

# These tests use only two constants of _testcapi.
if "test_sqlite3" in sys.argv:
    sys.modules["_testcapi"] = types.SimpleNamespace(INT_MAX=2**31 - 1, ULLONG_MAX=2**64 - 1)

if __name__ == "__main__":
    from test import libregrtest

    libregrtest.main()
