#!/usr/bin/env python3
"""Users of a cache that is too small, all at once: cache_users.py [--mixed] [--least BYTES] [--kill PID] DIR WRITERS READERS MEGABYTES SIZE
And all that they left, compared once more: cache_users.py [--mixed] --compare DIR SIZE

Writers open names with O_CREAT, some of which are being evicted at that moment, and write what belongs to the name. Readers
open names that may or may not be there. What must hold: an open with O_CREAT never fails; an open without it works or finds
nothing; whoever reads finds the bytes that belong to the name, or the beginning of them while somebody writes. MEGABYTES
is what all writers write together. Prints hits, misses and megabytes written; exits 1, with the first failure, if a rule was broken.

  --mixed     seven files of eight are small: SIZE/32 at most
  --least     no file is smaller than that (0)
  --kill PID  once half is written that process is killed, and whoever then finds the mount gone ends in peace
  --compare   prints how many files are there whole, and how many only in part
"""

import argparse
import errno
import multiprocessing
import os
import random
import signal
import sys
import zlib

DIRECTORIES = 8
POOL = random.Random(1).randbytes(8 << 20)
MOUNT_IS_GONE = (errno.ENOTCONN, errno.ECONNABORTED)


def content(name, size):
    """Does not compress. A shorter one is the beginning of a longer one: sizes may differ from run to run."""
    at = zlib.crc32(name.encode()) % (len(POOL) // 2)
    return POOL[at : at + size]


def path_of(root, number):
    return os.path.join(root, f"d{number % DIRECTORIES}", f"f{number}")


def size_of(number, options):
    most = options.size // 32 if options.mixed and number % 8 else options.size
    return max(1, options.least + ((number * 2654435761 % 2**32) * (most - options.least) >> 32))


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


def write(options, shared, seed):
    rng = random.Random(seed)
    left = (options.megabytes << 20) // options.writers
    while left > 0:
        path = path_of(options.dir, number := rng.randrange(options.numbers))
        data = content(os.path.basename(path), size_of(number, options))
        fd = create(path)
        try:
            done = 0
            while done < len(data):
                done += os.write(fd, data[done:])
        finally:
            os.close(fd)
        left -= len(data)
        with shared.written.get_lock():
            shared.written.value += len(data)
            if shared.written.value >= options.megabytes << 19:
                shared.half.set()
    return 0, 0


def read_file(path):
    with open(path, "rb", buffering=0) as file:
        found = b""
        while piece := file.read(1 << 20):
            found += piece
    if found != content(os.path.basename(path), len(found)):
        raise AssertionError(f"{path}: wrong bytes")
    return found


def read(options, shared, seed):
    rng = random.Random(seed)
    hits = misses = 0
    while not shared.stop.is_set():
        number = int(options.numbers * rng.random() ** 3)  # some are wanted more than others
        try:
            read_file(path_of(options.dir, number))
            hits += 1
        except FileNotFoundError:
            misses += 1
    return hits, misses


class Shared:
    def __init__(self):
        self.stop, self.half = multiprocessing.Event(), multiprocessing.Event()
        self.written = multiprocessing.Value("Q", 0)
        self.results = multiprocessing.Queue()


def guarded(work, options, shared, seed):
    try:
        shared.results.put((None, work(options, shared, seed)))
    except OSError as error:
        gone = options.kill and shared.half.is_set() and error.errno in MOUNT_IS_GONE
        shared.results.put((None if gone else f"{work.__name__}: {error!r}", (0, 0)))
    except BaseException as error:
        shared.results.put((f"{work.__name__}: {error!r}", (0, 0)))
    shared.half.set()


def use(options):
    sizes = [size_of(number, options) for number in range(1024)]
    options.numbers = max(64, (options.megabytes << 20) // (2 * sum(sizes) // len(sizes)))  # each is written twice or so
    for d in range(DIRECTORIES):
        os.makedirs(os.path.join(options.dir, f"d{d}"), exist_ok=True)
    shared = Shared()
    tasks = [(write, options, shared, i) for i in range(options.writers)]
    tasks += [(read, options, shared, 1000 + i) for i in range(options.readers)]
    processes = [multiprocessing.Process(target=guarded, args=task) for task in tasks]
    for process in processes:
        process.start()
    if options.kill:
        shared.half.wait()
        os.kill(options.kill, signal.SIGKILL)
    for process in processes[: options.writers]:
        process.join()
    shared.stop.set()
    outcomes = [shared.results.get() for _ in processes]
    for process in processes:
        process.join()
    for failure, _ in outcomes:
        if failure:
            sys.exit(failure)
    hits, misses = (sum(counts) for counts in zip(*(o[1] for o in outcomes)))
    print(f"hits={hits} misses={misses} megabytes={shared.written.value >> 20}")


def compare(options):
    whole = partial = 0
    for path, _, names in os.walk(options.dir):
        for name in names:
            right = size_of(int(name[1:]), options) == len(read_file(os.path.join(path, name)))
            whole, partial = whole + right, partial + (not right)
    print(f"whole={whole} partial={partial}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--kill", type=int)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("dir")
    parser.add_argument("counts", type=int, nargs="+")
    options = parser.parse_args()
    if options.compare:
        (options.size,) = options.counts
        return compare(options)
    options.writers, options.readers, options.megabytes, options.size = options.counts
    return use(options)


main()
