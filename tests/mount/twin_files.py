#!/usr/bin/env python3
"""Does the same random operations to a plain file and to one on the mount, and compares them: twin_files.py PLAIN MOUNTED SEED STEPS"""
import ctypes
import os
import random
import sys

PUNCH, ZERO, KEEP = 2, 16, 1
LARGEST = 3 << 20  # bytes
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def main(plain, mounted, seed, steps):
    print(f"twin_files: seed {seed}", file=sys.stderr)
    rng = random.Random(seed)
    fds = [os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC) for path in (plain, mounted)]
    for step in range(steps):
        # Sizes around pages and chunks, and anything between.
        offset = rng.choice([rng.randrange(LARGEST), rng.randrange(25) << 17, rng.randrange(768) << 12])
        length = rng.choice([1, 17, 4096, 131072, rng.randrange(1, 5000), rng.randrange(1, 400000)])
        what = rng.choice(["write"] * 5 + ["truncate", "punch", "zero", "allocate", "append", "sync", "reopen"])
        data = rng.randbytes(length)
        for i, fd in enumerate(fds):
            if what == "write":
                assert os.pwrite(fd, data, offset) == length
            elif what == "truncate":
                os.ftruncate(fd, offset)
            elif what == "append":
                assert os.pwrite(fd, data, os.fstat(fd).st_size) == length
            elif what == "sync":
                os.fsync(fd)
            elif what == "reopen":
                os.close(fd)
                fds[i] = os.open((plain, mounted)[i], os.O_RDWR)
            else:
                mode = {"punch": PUNCH | KEEP, "zero": ZERO, "allocate": 0}[what]
                if libc.fallocate(fd, mode, offset, length) != 0:
                    sys.exit(f"step {step}: {what} of {(plain, mounted)[i]}: {os.strerror(ctypes.get_errno())}")
        compare(fds, f"seed {seed}, step {step}: {what} {offset}+{length}")


def compare(fds, where):
    sizes = [os.fstat(fd).st_size for fd in fds]
    assert sizes[0] == sizes[1], f"{where}: sizes {sizes}"
    for at in range(0, sizes[0], 1 << 20):
        pieces = [os.pread(fd, 1 << 20, at) for fd in fds]
        if pieces[0] != pieces[1]:
            first = next((i for i, (a, b) in enumerate(zip(*pieces)) if a != b), min(map(len, pieces)))
            sys.exit(f"{where}: differ at {at + first} of {sizes[0]}")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
