#!/usr/bin/env python3
"""Users of a cache that is too small, all at once: cache_users.py DIR WRITERS READERS MEGABYTES SIZE

Writers open names with O_CREAT, some of which are being evicted at that moment, and write what belongs to the name. Readers
open names that may or may not be there. What must hold: an open with O_CREAT never fails; an open without it works or finds
nothing; whoever reads finds the bytes that belong to the name, or the beginning of them while somebody writes. MEGABYTES
is what all writers write together. Prints hits and misses; exits 1, with the first failure, if a rule was broken.
"""

import errno
import multiprocessing
import os
import random
import sys

DIRECTORIES = 8


def content(name, size):
    """Does not compress. A shorter one is the beginning of a longer one: sizes may differ from run to run."""
    return random.Random(name).randbytes(size + -size % 4)[:size]


def path_of(root, number):
    return os.path.join(root, f"d{number % DIRECTORIES}", f"f{number}")


def size_of(number, most):
    return max(1, (number * 2654435761 % 2**32) * most >> 32)


def create(path, tries=3):
    """The directory itself may be evicted once it is empty: users make it again, as they would anywhere."""
    for left in reversed(range(tries)):
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(path)) or left == 0:
                raise
            os.makedirs(os.path.dirname(path), exist_ok=True)
    raise AssertionError


def write(root, seed, numbers, megabytes, most):
    rng = random.Random(seed)
    left = megabytes << 20
    while left > 0:
        number = rng.randrange(numbers)
        path = path_of(root, number)
        data = content(os.path.basename(path), size_of(number, most))
        fd = create(path)
        try:
            done = 0
            while done < len(data):
                done += os.write(fd, data[done:])
        finally:
            os.close(fd)
        left -= len(data)
    return 0, 0


def read(root, seed, numbers, stop, most):
    rng = random.Random(seed)
    hits = misses = 0
    while not stop.is_set():
        number = int(numbers * rng.random() ** 3)  # some are wanted more than others
        path = path_of(root, number)
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            misses += 1
            continue
        try:
            found = b""
            while piece := os.read(fd, 1 << 20):
                found += piece
        finally:
            os.close(fd)
        if found != content(os.path.basename(path), len(found)):
            raise AssertionError(f"{path}: wrong bytes")
        hits += 1
    return hits, misses


def guarded(results, work, *arguments):
    try:
        results.put((None, work(*arguments)))
    except BaseException as error:
        results.put((f"{work.__name__}: {error!r}", (0, 0)))


def main():
    root, writers, readers, megabytes, most = sys.argv[1], *map(int, sys.argv[2:6])
    numbers = max(64, (megabytes << 20) // most)
    for d in range(DIRECTORIES):
        os.makedirs(os.path.join(root, f"d{d}"), exist_ok=True)
    stop = multiprocessing.Event()
    results = multiprocessing.Queue()
    tasks = [(write, root, i, numbers, megabytes // writers, most) for i in range(writers)]
    tasks += [(read, root, 1000 + i, numbers, stop, most) for i in range(readers)]
    processes = [multiprocessing.Process(target=guarded, args=(results, *task)) for task in tasks]
    for process in processes:
        process.start()
    for process in processes[:writers]:
        process.join()
    stop.set()
    outcomes = [results.get() for _ in processes]
    for process in processes:
        process.join()
    for failure, _ in outcomes:
        if failure:
            sys.exit(failure)
    print(f"hits={sum(o[1][0] for o in outcomes)} misses={sum(o[1][1] for o in outcomes)}")


main()
