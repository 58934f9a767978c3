#!/usr/bin/env python3
"""watch_room.py STORE LIMIT [BEFORE]: what a store takes on disk, as often as can be seen, until stdin is closed.

With BEFORE the store has a file system of its own, of which BEFORE bytes were used before the store was made. It is asked for its
free blocks about every half millisecond: an answer is of one instant, and counts files that are unlinked and still open, blocks
that say where other blocks are, and directories.

Without, allocated bytes are added up file by file every 10 ms, and that is only a lower bound: a look at many files takes a while,
and what is removed and made meanwhile must not count twice. So each sample looks twice, and counts what was there both times, as
much of it as there was both times. A short excess escapes it.

A line on stdin is another limit, from then on. Prints the most that it saw and the number of samples, and the first excess if
there was one; exits 1 then.
"""

import os
import select
import sys


def look(path, found):
    """Adds allocated bytes by inode number."""
    try:
        status = os.lstat(path)
        found[status.st_ino] = status.st_blocks * 512
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    look(entry.path, found)
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                    found[status.st_ino] = status.st_blocks * 512
                except FileNotFoundError:
                    pass
    except FileNotFoundError:
        pass
    return found


def taken_by_files(store):
    before, after = look(store, {}), look(store, {})
    return sum(min(size, after.get(inode, 0)) for inode, size in before.items())


def taken_of_disk(store, before):
    status = os.statvfs(store)
    return (status.f_blocks - status.f_bfree) * status.f_frsize - before


def main():
    store, limit = sys.argv[1], int(sys.argv[2])
    before = int(sys.argv[3]) if len(sys.argv) > 3 else None
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # what it watches must not keep it from looking
    most = samples = 0
    excess = ""
    while True:
        if select.select([sys.stdin], [], [], 0.0005 if before is not None else 0.01)[0]:
            if not (line := sys.stdin.readline()):
                break
            limit = int(line)
        taken = taken_by_files(store) if before is None else taken_of_disk(store, before)
        samples += 1
        most = max(most, taken)
        if taken > limit and not excess:
            excess = f" EXCESS: {taken} bytes of {limit}, sample {samples}"
    print(f"at most {most} bytes in {samples} samples{excess}")
    sys.exit(bool(excess))


main()
