#!/usr/bin/env python3
"""Writes files one after the other, syncs each, and records it outside; checks them later.

synced_writer.py write DIR RECORD        until DIR fails; prints each name once it is synced and recorded
synced_writer.py check DIR RECORD MODE   cas: every recorded file is whole. Both modes: what is there is a prefix of what
                                         was written, all of it whole but the last.
"""
import os
import random
import sys


def content(number):
    rng = random.Random(number)
    return rng.randbytes(rng.choice([0, 10, 4000, 70000, 300000]))


def write(directory, record):
    record_fd = os.open(record, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        os.mkdir(directory)
        for number in range(100000):
            fd = os.open(f"{directory}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            data = content(number)
            assert os.write(fd, data) == len(data)
            os.fsync(fd)
            os.close(fd)
            os.write(record_fd, b"%d\n" % number)
            print(number, flush=True)
    except (OSError, AssertionError):
        pass  # the daemon is gone, or whoever reads our names


def check(directory, record, mode):
    recorded = [int(line) for line in open(record)]
    found = sorted(map(int, os.listdir(directory))) if os.path.isdir(directory) else []
    assert found == list(range(len(found))), f"not a prefix: {found[:3]}..{found[-3:]} of {len(found)}"
    for number in found[:-1]:
        assert open(f"{directory}/{number}", "rb").read() == content(number), f"{directory}/{number} is not what was written"
    if found:
        last = open(f"{directory}/{found[-1]}", "rb").read()
        assert content(found[-1]).startswith(last), f"{directory}/{found[-1]} holds bytes that were never written"
    if mode == "cas":
        lost = [number for number in recorded if number not in found]
        assert not lost, f"synced and lost: {lost[:5]}"
        for number in recorded[-1:]:
            assert open(f"{directory}/{number}", "rb").read() == content(number), f"synced and cut short: {number}"
    print(f"{directory}: {len(recorded)} synced, {len(found)} found")


if sys.argv[1] == "write":
    write(*sys.argv[2:])
else:
    check(*sys.argv[2:])
