"""The work that the suite times. Each function does one piece of it in one place, once a round, in an empty directory there."""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import time

from databases import postgresql, sqlite, why_no_postgresql, why_no_sqlite
from places import run

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Sizes:
    micro_files: int = 5000
    tree: tuple = ("/usr/include", "/usr/share/doc")
    large_mib: int = 2048
    fio_mib: int = 512
    fio_random_mib: int = 64  # what random reads of cold files and random writes touch
    libraries: tuple = ("base", "format", "index")  # what of this project is compiled
    sqlite_commits: int = 300
    sqlite_rows: int = 200_000
    pgbench_scale: int = 5
    pgbench_seconds: int = 8


QUICK = Sizes(micro_files=200, tree=(str(ROOT / "src"),), large_mib=16, fio_mib=8, fio_random_mib=1, libraries=("base",), sqlite_commits=10,
              sqlite_rows=2000, pgbench_scale=1, pgbench_seconds=1)


class Context:
    """What every work needs to know. note() and timed() file what it found."""

    def __init__(self, directory, sizes, samples, micro):
        self.directory, self.sizes, self.samples, self.micro = directory, sizes, samples, micro
        self.first = None  # the place that the others are compared with

    def note(self, work, place, value, unit="s"):
        self.samples.note(work, place.name, value, unit)

    def timed(self, work, place, command, **options):
        """command: a list of words, or a function."""
        start = time.monotonic()
        command() if callable(command) else run(command, **options)
        self.note(work, place, time.monotonic() - start)


def lacking(*programs):
    """Why the work cannot be done, if one of these (program, Debian package) is missing."""
    missing = [(program, package) for program, package in programs if not shutil.which(program)]
    if missing:
        return f"{missing[0][0]} is not installed (apt-get install {' '.join(package for _, package in missing)})"
    return None


# ---- Single operations ----


def why_no_micro(context):
    return None if context.micro.exists() else f"{context.micro} is missing (ninja tools/bench/micro makes it)"


def small_operations(context, place, here):
    output = run([context.micro, here, context.sizes.micro_files], stdout=subprocess.PIPE).stdout
    for what, microseconds in json.loads(output).items():
        context.note(what, place, microseconds / 1e6)


# ---- A tree ----

UNTAR = "untar, then fsync"


def prepare_tree(context):
    source = context.directory / "tree.source"
    source.mkdir()
    for path in context.sizes.tree:
        run(["cp", "-a", path, source])
    run(["tar", "-cf", context.directory / "tree.tar", "-C", source, "."])


def fsync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def a_tree(context, place, here):
    tree, archive = here / "tree", context.directory / "tree.tar"

    def unpack():
        tree.mkdir()
        run(["tar", "-xf", archive, "-C", tree])
        fsync_directory(tree)

    run(["cat", archive])  # warm, as the source of the import is: what is measured is writing
    context.timed(UNTAR, place, unpack)
    unmounted_import(context, place)
    for what, command in [("find -ls, warm", ["find", "tree", "-ls"]), ("grep -r, warm", ["grep", "-rc", "no such words", "tree"]),
                          ("rg, warm", ["rg", "-c", "-uuu", "no such words", "tree"])]:
        if not shutil.which(command[0]):
            continue
        subprocess.run(command, cwd=here, stdout=subprocess.DEVNULL, check=False)  # warms
        start = time.monotonic()
        subprocess.run(command, cwd=here, stdout=subprocess.DEVNULL, check=False)  # finds nothing, and exits with 1
        context.note(what, place, time.monotonic() - start)
    context.timed("cp -a", place, ["cp", "-a", "tree", "copy"], cwd=here)
    context.timed("rm -rf of the copy", place, ["rm", "-rf", "copy"], cwd=here)
    place.make_cold()
    context.timed("tar cf, cold", place, ["sh", "-c", "tar -cf - tree | cat >/dev/null"], cwd=here)
    context.timed("rm -rf of the tree", place, ["rm", "-rf", tree])


def unmounted_import(context, place):
    """Into a store that is not mounted. The first place has no such thing: its time is that of tar."""
    name = f"import of the tree ({context.first.name}: untar)"
    if place is context.first:
        context.note(name, place, context.samples.values[UNTAR][place.name][context.samples.rounds])
    if not place.ours:
        return
    store, source = context.directory / "import.store", context.directory / "tree.source"
    place.tool("mkfs.cairnfs", store)
    run(["grep", "-rc", "", source])
    os.sync()
    context.timed(name, place, lambda: place.tool("cairnfs", "import", "-q", source, store))
    shutil.rmtree(store)


# ---- A repository ----


def why_no_git(_):
    if not (ROOT / ".git").exists():
        return f"{ROOT} is not a git repository (clone this project, to have one to clone)"
    return lacking(("git", "git"))


def a_repository(context, place, here):
    git = ["git", "-c", "safe.directory=*"]
    context.timed("git clone", place, [*git, "clone", "-q", "--no-hardlinks", ROOT, here / "repository"])
    status = [*git, "-C", here / "repository", "status", "--porcelain"]
    run(status)
    context.timed("git status, warm, 10 times", place, lambda: [run(status) for _ in range(10)])


# ---- A large file ----


def a_large_file(context, place, here):
    path, mib = here / "large", context.sizes.large_mib
    block = os.urandom(1 << 20)

    def write():
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        for i in range(mib):
            os.write(fd, i.to_bytes(8, "little") + block[8:])
        os.fsync(fd)
        os.close(fd)

    def read():
        buffer = bytearray(1 << 20)
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    context.timed(f"write {mib} MiB, then fsync", place, write)
    place.make_cold()
    context.timed(f"read {mib} MiB, cold", place, read)
    context.timed(f"read {mib} MiB, warm", place, read)


# ---- fio ----


def fio(context, place, here):
    """One thread, read() and write(). Writes include an fsync at the end; blocks do not compress."""
    sizes, path = context.sizes, here / "fio"

    def job(name, kind, block, mib, unit, *options):
        output = run(["fio", f"--name={kind}", f"--filename={path}", f"--rw={kind}", f"--bs={block}", f"--size={sizes.fio_mib}m",
                      f"--io_size={mib}m", "--ioengine=psync", "--fallocate=none", "--invalidate=0", "--runtime=20", "--output-format=json",
                      *options], stdout=subprocess.PIPE).stdout
        done = json.loads(output[output.index(b"{"):])["jobs"][0]["write" if "write" in kind else "read"]
        context.note(f"fio: {name}", place, done["bw_bytes"] / 1e6 if unit == "MB/s" else done["iops"], unit)

    job("sequential write, 1 MiB", "write", "1m", sizes.fio_mib, "MB/s", "--end_fsync=1")
    place.make_cold()
    job("sequential read, 1 MiB, cold", "read", "1m", sizes.fio_mib, "MB/s")
    job("sequential read, 1 MiB, warm", "read", "1m", sizes.fio_mib, "MB/s")
    for block, name in [("4k", "4 KiB"), ("128k", "128 KiB")]:
        job(f"random read, {name}, warm", "randread", block, sizes.fio_mib, "IOPS")
    for block, name in [("4k", "4 KiB"), ("128k", "128 KiB")]:
        place.make_cold()
        job(f"random read, {name}, cold", "randread", block, sizes.fio_random_mib, "IOPS")
    for block, name in [("4k", "4 KiB"), ("128k", "128 KiB")]:
        job(f"random write, {name}", "randwrite", block, sizes.fio_random_mib, "IOPS", "--end_fsync=1")


# ---- A compile ----


def why_no_compile(_):
    return lacking(("meson", "meson"), ("ninja", "ninja-build"), (os.environ.get("CXX", "c++"), "g++"))


def prepare_compile(context):
    source = context.directory / "compile.source"
    for folder in ["src", "include", "fusefs", "tools", "subprojects"]:
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("packagecache", "__pycache__"))
    for file in ["meson.build", "meson_options.txt"]:
        shutil.copy(ROOT / file, source)


def a_compile(context, place, here):
    """Some libraries of this project: sources, objects and the build's own notes are all in the place."""
    run(["cp", "-a", context.directory / "compile.source", here / "source"])
    environment = {**os.environ, "CCACHE_DISABLE": "1"}
    setup = ["meson", "setup", "build", "source", "-Dtests=false", "--wrap-mode=nodownload"]
    context.timed("meson setup", place, setup, cwd=here, env=environment)
    libraries = [f"src/libcairn_{name}.a" for name in context.sizes.libraries]
    context.timed("compile (ninja)", place, ["ninja", "-C", here / "build", *libraries], env=environment)


@dataclasses.dataclass
class Work:
    do: callable
    why_not: callable  # tells what is missing, or None
    prepare: callable = lambda context: None


WORKS = {
    "micro": Work(small_operations, why_no_micro),
    "tree": Work(a_tree, lambda _: lacking(("tar", "tar"), ("find", "findutils"), ("grep", "grep")), prepare_tree),
    "git": Work(a_repository, why_no_git),
    "large": Work(a_large_file, lambda _: None),
    "fio": Work(fio, lambda _: lacking(("fio", "fio"))),
    "compile": Work(a_compile, why_no_compile, prepare_compile),
    "sqlite": Work(sqlite, why_no_sqlite),
    "postgresql": Work(postgresql, why_no_postgresql),
}
