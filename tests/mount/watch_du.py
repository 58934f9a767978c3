#!/usr/bin/env python3
"""watch_du.py STORE LIMIT: samples the allocated bytes of everything in a store directory every 10 ms until stdin is closed.

Prints the most that it saw; exits 1 if that was more than LIMIT.
"""

import os
import select
import sys


def allocated(path):
    total = 0
    try:
        total += os.lstat(path).st_blocks * 512
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += allocated(entry.path)
                    continue
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    pass
    except FileNotFoundError:
        pass
    return total


store, limit = sys.argv[1], int(sys.argv[2])
most = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    most = max(most, allocated(store))
print(most)
sys.exit(most > limit)
