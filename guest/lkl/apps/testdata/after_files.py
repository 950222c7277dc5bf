# SPDX-License-Identifier: MPL-2.0
"""Starts threads and builds a large text after file activity."""

import json
import os
import sys
import threading

os.mkdir("/small")
for i in range(int(sys.argv[1])):
    with open(f"/small/{i}", "w") as f:
        f.write("x" * 3000)
os.sync()
# By default, the stacks of 50 threads take 50 MiB.
threading.stack_size(256 << 10)
go = threading.Event()
threads = [threading.Thread(target=go.wait, daemon=True) for _ in range(50)]
for t in threads:
    t.start()
print("threads", threading.active_count() - 1)
text = json.dumps([{"a": i} for i in range(200_000)])
print("text", len(text))
go.set()
for t in threads:
    t.join()
