"""Where the suite works: the file system to compare with, mounts of CairnFS, other FUSE file systems."""
import os
import pathlib
import re
import shlex
import subprocess
import time


def run(command, **options):
    options.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in command], check=True, **options)


def drop_caches():
    os.sync()
    if os.geteuid() == 0:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def mount_of(path):
    """The mount that `path` lies on: its type, its options (the mount's, then the file system's), its device number."""
    best = None
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        device, _, point, options = fields.split()[2:6]
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)
        if pathlib.Path(point) in [path, *path.parents] and (not best or len(point) >= len(best[0])):
            kind, _, more = rest.split(" ", 2)
            best = point, {"type": kind, "options": ",".join(dict.fromkeys((options + "," + more).split(","))), "device": device}
    return best[1]


class Place:
    """A directory that exists. Its caches are the kernel's, as far as anybody knows."""

    ours = False

    def __init__(self, name, path):
        self.name, self.path = name, path

    def about(self):
        mounted = mount_of(self.path)
        return {"name": self.name, "type": mounted["type"], "options": mounted["options"]}

    def make_cold(self):
        drop_caches()

    def close(self):
        pass


class Mount(Place):
    """A store of its own, mounted by the tools of one build. Mounting it again empties every cache of the daemon's."""

    ours = True

    def __init__(self, name, path, build, options):
        super().__init__(name, path)
        self.build, self.options, self.store = build, options, path.with_name(path.name + ".store")
        path.mkdir()
        self.tool("mkfs.cairnfs", self.store)
        self.mount()

    def tool(self, name, *arguments):
        return run([self.build / "tools" / name, *arguments])

    def mount(self):
        self.tool("cairnfs", "mount", *(["-o", self.options] if self.options else []), self.store, self.path)

    def about(self):
        pid = (self.store / "lock").read_text().split(",")[0].removeprefix("pid ")
        threads = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/comm")]
        rings = any(name.startswith("fuse-ring-") for name in threads)
        return {**super().about(), "mounted_with": self.options, "transport": "io_uring" if rings else "/dev/fuse"}

    def make_cold(self):
        self.close()
        self.mount()
        drop_caches()

    def close(self):
        if os.path.ismount(self.path):
            self.tool("cairnfs", "umount", self.path)


class Daemon(Place):
    """Another FUSE file system: a command in which %m stands for the mount point and %d for a plain directory beside it."""

    def __init__(self, name, path, command):
        super().__init__(name, path)
        self.command, plain = command, path.with_name(path.name + ".plain")
        path.mkdir()
        plain.mkdir()
        words = [word.replace("%m", str(path)).replace("%d", str(plain)) for word in shlex.split(command)]
        # In a session of its own, as every daemon is, ours too: the scheduler takes turns between sessions (autogroup), and changing
        # from one to the other costs a microsecond in each request.
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 10
        while not os.path.ismount(path):
            if self.process.poll() or time.monotonic() > deadline:
                raise OSError(f"{command}: nothing is mounted on {path}")
            time.sleep(0.05)

    def about(self):
        return {**super().about(), "command": self.command}

    def close(self):
        if os.path.ismount(self.path):
            run(["umount", self.path] if os.geteuid() == 0 else ["fusermount3", "-u", self.path])
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
