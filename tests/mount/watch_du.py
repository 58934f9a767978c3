#!/usr/bin/env python3
"""watch_du.py STORE LIMIT: samples the allocated bytes of everything in a store directory every 10 ms until stdin is closed.

A look at many files takes a while, and what is removed and made meanwhile must not count twice. So each sample looks twice, and
counts what was there both times, as much of it as there was both times: what was certainly there at the moment in between.
Prints the most that it saw; exits 1 if that was more than LIMIT.
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


store, limit = sys.argv[1], int(sys.argv[2])
most = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    before, after = look(store, {}), look(store, {})
    most = max(most, sum(min(size, after.get(inode, 0)) for inode, size in before.items()))
print(most)
sys.exit(most > limit)
