#!/usr/bin/env python3
"""kill -9 of the daemon under eight writers, on a file system of its own: nothing that an fsync acknowledged may be lost.

kill_rounds.py [--rounds N] [--seed N] [--writers N] [--size MIB] DIR

DIR is an empty directory; an ext4 image, a store in it and a mount point are made there. CAIRNFS_BIN names the built tools.
Each round: mount, let every writer work in a directory of its own for a random time, kill the daemon, clean up the mount,
fsck, mount, compare. Needs root (a loop device).

A writer appends to a journal outside of the store: what it is about to do, and that an fsync covered it. What may be found
afterwards is the state at any point of its journal from the last covered operation on; anything else is a failure.
"""
import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

NAMES = 24  # files of a writer


def content(seed):
    rng = random.Random(seed)
    return rng.randbytes(rng.choice([0, 1, 100, 1000, 4096, 5000, 20000, 70000, 200000, 300000]))


def digest(data):
    return hashlib.sha1(data).hexdigest()


class Journal:
    """Lines of JSON, written with one write() each: they survive whatever happens to the mount."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def note(self, **what):
        os.write(self.fd, (json.dumps(what) + "\n").encode())


def put(path, data, flags):
    """Opens and writes; the caller syncs and closes."""
    fd = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_once(rng, number, directory, state, journal):
    """One operation and its fsync. `state` maps names to the bytes they hold."""
    name = f"f{rng.randrange(NAMES)}"
    path = f"{directory}/{name}"
    kind = rng.choice(["create", "overwrite", "append", "append", "rename", "unlink", "replace"])
    if kind in ("create", "replace") or name not in state:
        data = content(number)
        if kind == "replace":  # as editors do: a new file, synced, then its name
            journal.note(op="put", number=number, name="new", sha=digest(data))
            fd = put(f"{directory}/new", data, os.O_CREAT | os.O_TRUNC)
            os.fsync(fd)
            os.close(fd)
            state["new"] = data
            journal.note(op="synced", number=number)
            journal.note(op="rename", number=number, name="new", to=name)
            os.rename(f"{directory}/new", path)
            state[name] = state.pop("new")
        else:
            journal.note(op="truncate", number=number, name=name)
            fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            os.close(fd)
            journal.note(op="put", number=number, name=name, sha=digest(data))
            fd = put(path, data, 0)
            os.fsync(fd)
            os.close(fd)
            state[name] = data
            journal.note(op="synced", number=number)
            return
    elif kind == "overwrite":
        old, data = state[name], content(number)[:5000]
        at = rng.randrange(len(old) + 1)
        new = old[:at] + data + old[at + len(data):]
        journal.note(op="put", number=number, name=name, sha=digest(new))
        fd = os.open(path, os.O_WRONLY)
        try:
            if data and os.pwrite(fd, data, at) != len(data):
                raise OSError("short write")
            os.fsync(fd)
        finally:
            os.close(fd)
        state[name] = new
        journal.note(op="synced", number=number)
        return
    elif kind == "append":
        data = content(number)[:3000]
        new = state[name] + data
        journal.note(op="put", number=number, name=name, sha=digest(new))
        fd = put(path, data, os.O_APPEND)
        os.fsync(fd)
        os.close(fd)
        state[name] = new
        journal.note(op="synced", number=number)
        return
    elif kind == "rename":
        to = f"f{rng.randrange(NAMES)}"
        if to == name:
            return
        journal.note(op="rename", number=number, name=name, to=to)
        os.rename(path, f"{directory}/{to}")
        state[to] = state.pop(name)
    else:
        journal.note(op="unlink", number=number, name=name)
        os.unlink(path)
        del state[name]
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    journal.note(op="synced", number=number)


def writer(directory, journal_path, seed):
    """Runs until the mount fails."""
    rng = random.Random(seed)
    journal = Journal(journal_path)
    try:
        state = {name: open(f"{directory}/{name}", "rb").read() for name in os.listdir(directory)}
        number = seed * 1000003
        while True:
            number += 1
            write_once(rng, number, directory, state, journal)
    except OSError:
        os._exit(0)


def apply(state, line):
    """The state after one journal line."""
    state = dict(state)
    if line["op"] == "put":
        state[line["name"]] = line["sha"]
    elif line["op"] == "truncate":
        state[line["name"]] = digest(b"")
    elif line["op"] == "rename":
        if line["name"] in state:
            state[line["to"]] = state.pop(line["name"])
    elif line["op"] == "unlink":
        state.pop(line["name"], None)
    return state


def allowed_states(before, lines):
    """From the last acknowledged one on; an operation that was going on may have happened, or not."""
    states, state = [before], before
    for line in lines:
        if line["op"] == "synced":
            states = [state]
        else:
            state = apply(state, line)
            states.append(state)
    return states


def found_state(directory):
    return {name: digest(open(f"{directory}/{name}", "rb").read()) for name in sorted(os.listdir(directory))}


def is_partial(directory, found, states, lines):
    """The last write may have come through in part: several chunks are several changes. Only the file that was being
    written may then hold anything but a state, and only if nothing was acknowledged behind it."""
    last = lines[-1] if lines else None
    if last is None or last["op"] != "put":
        return False
    rest = {name: sha for name, sha in found.items() if name != last["name"]}
    return any(rest == {n: s for n, s in state.items() if n != last["name"]} for state in states)


class Rounds:
    def __init__(self, arguments):
        self.a = arguments
        self.dir = os.path.abspath(arguments.dir)
        self.disk = f"{self.dir}/disk"
        self.store = f"{self.disk}/store"
        self.mnt = f"{self.dir}/mnt"
        self.rng = random.Random(arguments.seed)
        self.tools = os.environ["CAIRNFS_BIN"]
        self.states = [{} for _ in range(arguments.writers)]
        self.acknowledged = self.partial = self.busy = 0

    def tool(self, *command):
        done = subprocess.run([f"{self.tools}/{command[0]}", *command[1:]], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def set_up(self):
        os.mkdir(self.disk)
        os.mkdir(self.mnt)
        with open(f"{self.dir}/image", "wb") as image:
            image.truncate(self.a.size << 20)
        subprocess.run(["mkfs.ext4", "-q", f"{self.dir}/image"], check=True)
        subprocess.run(["mount", "-o", "loop", f"{self.dir}/image", self.disk], check=True)
        self.tool("mkfs.cairnfs", "--mode", "cas", "--segment-size", self.a.segment_size, self.store)
        self.mount()
        for n in range(self.a.writers):
            os.mkdir(f"{self.mnt}/w{n}")
        self.umount()

    def tear_down(self):
        if os.path.ismount(self.mnt):
            subprocess.run([f"{self.tools}/cairnfs", "umount", "-l", self.mnt])
        for _ in range(50):  # the daemon may still be closing its files
            if not os.path.ismount(self.disk) or subprocess.run(["umount", self.disk], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        if os.path.exists(f"{self.dir}/image"):
            os.unlink(f"{self.dir}/image")

    def mount(self):
        self.tool("cairnfs", "mount", self.store, self.mnt)

    def umount(self):
        """The last request of a process that was killed may still hold the mount for a moment: ten seconds, no more."""
        for _ in range(100):
            done = subprocess.run([f"{self.tools}/cairnfs", "umount", self.mnt], capture_output=True, text=True)
            if done.returncode == 0:
                return
            if "busy" not in done.stderr:
                break
            self.busy += 1
            time.sleep(0.1)
        sys.exit(f"umount: exit {done.returncode}: {done.stderr}")

    def daemon(self):
        return int(open(f"{self.store}/lock").read().split()[1].rstrip(","))

    def round(self, number):
        self.mount()
        children, journals = [], []
        for n in range(self.a.writers):
            journals.append(f"{self.dir}/journal{n}")
            if os.path.exists(journals[n]):
                os.unlink(journals[n])
            child = os.fork()
            if child == 0:
                writer(f"{self.mnt}/w{n}", journals[n], self.a.seed * 100000 + number * 100 + n)
            children.append(child)
        time.sleep(self.rng.choice([0.02, 0.1, 0.3, 0.6, 1.2]) * (0.5 + self.rng.random()))
        os.kill(self.daemon(), signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        self.umount()
        self.tool("fsck.cairnfs", "--scrub", self.store)
        self.mount()
        for n in range(self.a.writers):
            self.compare(number, n, journals[n])
        self.umount()
        if number % 10 == 0:
            self.tool("fsck.cairnfs", "--scrub", self.store)

    def compare(self, number, n, journal):
        lines = [json.loads(line) for line in open(journal)] if os.path.exists(journal) else []
        self.acknowledged += sum(line["op"] == "synced" for line in lines)
        directory = f"{self.mnt}/w{n}"
        states, found = allowed_states(self.states[n], lines), found_state(directory)
        if found not in states:
            if not is_partial(directory, found, states, lines):
                keep = f"{self.dir}/failed-journal{n}"
                os.rename(journal, keep)
                wanted = states[0]
                bad = [x for x in set(found) | set(wanted) if found.get(x) != wanted.get(x)]
                sys.exit(f"round {number}, writer {n}: no state since the last acknowledged fsync; {len(states)} allowed, "
                         f"differs from the first in {bad[:5]}; see {keep}")
            self.partial += 1
        self.states[n] = found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the ext4 around the store")
    parser.add_argument("--segment-size", default="1M", help="small, so that seals, merges and compaction go on as well")
    parser.add_argument("dir")
    arguments = parser.parse_args()
    rounds = Rounds(arguments)
    try:
        rounds.set_up()
        for number in range(1, arguments.rounds + 1):
            rounds.round(number)
            if number % 50 == 0:
                print(f"{number} rounds, {rounds.acknowledged} acknowledged", flush=True)
    finally:
        rounds.tear_down()
    print(f"{arguments.rounds} rounds, seed {arguments.seed}: {rounds.acknowledged} operations acknowledged, none lost; "
          f"{rounds.partial} writes were cut in the middle, {rounds.busy} times the mount was busy at first")


main()
