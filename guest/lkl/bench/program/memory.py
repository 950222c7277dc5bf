# SPDX-License-Identifier: MPL-2.0
"""Allocates memory as Python programs do, after file activity.

    memory.py FILES SECONDS

Each round writes FILES small files, and then allocates byte arrays, lists, dictionaries,
text and the stacks of threads. Rounds repeat for SECONDS, at least once. A MemoryError, or
a thread that cannot start, ends the program with a traceback. At the end the program
prints an object in JSON: the number of rounds, the largest piece that each round got at
its end, in MiB, and for each kind of work the time of the slowest, in milliseconds. The
files are in the working directory.
"""

import json
import os
import random
import shutil
import sys
import threading
import time

MIB = 1 << 20
THREADS = 50
largest = 64
slowest = {}


def write_files(count):
    shutil.rmtree("small", ignore_errors=True)
    os.mkdir("small")
    for i in range(count):
        with open(f"small/{i}", "w") as f:
            f.write("x" * 3000)
    os.sync()


def allocate_large_pieces():
    for size in (1, 2, 4, 8):
        piece = bytearray(size * MIB)
        piece[-1] = 1


def find_largest_piece():
    """Allocates until there is no such piece, and notes the size in MiB."""
    global largest
    try:
        for size in range(4, largest + 1, 4):
            piece = bytearray(size * MIB)
            del piece
    except MemoryError:
        largest = size - 4


def allocate_pieces_between_others():
    pieces = [bytearray(MIB // 4) for _ in range(200)]
    del pieces[::2]
    pieces += [bytearray(MIB) for _ in range(20)]
    assert sum(map(len, pieces)) == 45 * MIB


def grow_list():
    numbers = []
    for i in range(1_000_000):
        numbers.append(i)
    assert sum(numbers) == 499_999_500_000


def grow_and_shrink_dictionary():
    d = {f"key {i}": [i] for i in range(150_000)}
    for i in range(0, 150_000, 2):
        del d[f"key {i}"]
    d.update((i, "x" * (i % 100)) for i in range(50_000))
    assert len(d) == 125_000


def sort_with_key():
    numbers = [random.random() for _ in range(200_000)]
    numbers.sort(key=lambda n: -n)
    assert numbers[0] > numbers[-1]


def encode_and_decode():
    text = json.dumps([{"a": i} for i in range(200_000)])
    assert len(text) == 2_888_890
    assert len(json.loads(text[: len(text) // 4].rpartition(",")[0] + "]")) > 40_000


def join_text():
    text = ""
    for i in range(20_000):
        text += f"line {i} of a text that grows\n"
    assert text.count("\n") == 20_000


def start_threads():
    go = threading.Event()
    threads = [threading.Thread(target=go.wait) for _ in range(THREADS)]
    for t in threads:
        t.start()
    go.set()
    for t in threads:
        t.join()


WORK = (
    allocate_large_pieces,
    allocate_pieces_between_others,
    grow_list,
    start_threads,
    grow_and_shrink_dictionary,
    sort_with_key,
    encode_and_decode,
    join_text,
    allocate_large_pieces,
    start_threads,
    find_largest_piece,
)


def measure(work, *args):
    start = time.monotonic()
    work(*args)
    took = (time.monotonic() - start) * 1e3
    slowest[work.__name__] = max(slowest.get(work.__name__, 0), round(took, 1))


def main():
    files, seconds = int(sys.argv[1]), float(sys.argv[2])
    rounds, end = 0, time.monotonic() + seconds
    while not rounds or time.monotonic() < end:
        measure(write_files, files)
        for work in WORK:
            measure(work)
        rounds += 1
    print(json.dumps({"rounds": rounds, "largest": largest, "slowest": slowest}))
    shutil.rmtree("small")


main()
