"""Transactions of SQLite and of PostgreSQL."""
import glob
import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess
import time

from places import run

try:
    import sqlite3
except ImportError:
    sqlite3 = None


def why_no_sqlite(_):
    return None if sqlite3 else "this Python has no module sqlite3 (apt-get install libpython3-stdlib)"


def sqlite(context, place, here):
    """Single rows, each a transaction that is on disk when it returns; and many rows in one transaction."""
    row = os.urandom(500)
    for journal in ["DELETE", "WAL"]:
        database = sqlite3.connect(here / f"{journal}.db", isolation_level=None)
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)")
        start = time.monotonic()
        for _ in range(context.sizes.sqlite_commits):
            database.execute("INSERT INTO t (value) VALUES (?)", [row])
        context.note(f"SQLite: single rows, {journal}", place, context.sizes.sqlite_commits / (time.monotonic() - start), "tps")
        database.close()

    def load():
        database = sqlite3.connect(here / "bulk.db")
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, value BLOB)")
        rows = ((f"name {number * 7919 % 1_000_003}", row[:100]) for number in range(context.sizes.sqlite_rows))
        database.executemany("INSERT INTO t (name, value) VALUES (?, ?)", rows)
        database.commit()
        database.close()

    context.timed(f"SQLite: {context.sizes.sqlite_rows:,} rows at once", place, load)


def postgresql_programs():
    """The directory of initdb and pg_ctl, which distributions keep out of the PATH."""
    found = [path for pattern in ["/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb"] for path in glob.glob(pattern)]
    initdb = shutil.which("initdb") or max(found, key=lambda path: int(re.search(r"\d+", path)[0]), default=None)
    return pathlib.Path(initdb).parent if initdb else None


def ordinary_user():
    """Its password entry; PostgreSQL does not run as root."""
    for name in ["postgres", "nobody"]:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


def why_no_postgresql(context):
    programs = postgresql_programs()
    if not programs or not (shutil.which("pgbench") or (programs / "pgbench").exists()):
        return "initdb or pgbench is not installed (apt-get install postgresql)"
    if os.geteuid() != 0:
        return None
    if not ordinary_user():
        return "root cannot run PostgreSQL, and there is neither a user postgres nor a nobody (apt-get install postgresql)"
    closed = [path for path in context.directory.parents if not path.stat().st_mode & stat.S_IXOTH]
    return f"it does not run as root, and others cannot go through {closed[0]} (chmod o+x makes it so)" if closed else None


class Cluster:
    """One PostgreSQL server, which ends with the `with`. It listens to a socket in a directory that is not measured."""

    def __init__(self, data, socket):
        self.data, self.socket = data, socket
        entry = ordinary_user() if os.geteuid() == 0 else None
        self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if entry else {}
        for path in [data, socket]:
            path.mkdir(mode=0o700)
            if entry:
                os.chown(path, entry.pw_uid, entry.pw_gid)
        self.run("initdb", "-D", data, "-U", "postgres", "-A", "trust")

    def run(self, program, *arguments):
        command = postgresql_programs() / program
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "cwd": self.data, **self.user}
        return run([command if command.exists() else program, *arguments], **options).stdout.decode()

    def client(self, program, *arguments):
        return self.run(program, "-h", self.socket, "-U", "postgres", *arguments)

    def control(self, *arguments):
        # Not run(): the server would keep the pipe, and no end of it would ever be read.
        run([postgresql_programs() / "pg_ctl", "-s", "-w", "-D", self.data, "-l", self.socket / "log", *arguments], cwd=self.data, **self.user)

    def __enter__(self):
        self.control("-o", f"-k '{self.socket}' -c listen_addresses=", "start")
        return self

    def __exit__(self, kind, value, trace):
        self.control("-m", "immediate" if kind else "fast", "stop")


def postgresql(context, place, here):
    """TPC-B as pgbench does it, 4 clients; commits are synchronous, all settings are the defaults."""
    socket = context.directory / "socket"
    try:
        start = time.monotonic()
        cluster = Cluster(here / "data", socket)
        context.note("PostgreSQL: initdb", place, time.monotonic() - start)
        with cluster:
            context.timed(f"PostgreSQL: pgbench -i -s {context.sizes.pgbench_scale}", place,
                          lambda: cluster.client("pgbench", "-i", "-q", "-s", context.sizes.pgbench_scale, "postgres"))
            cluster.client("psql", "-qc", "CHECKPOINT", "postgres")
            said = cluster.client("pgbench", "-n", "-c", "4", "-j", "2", "-T", context.sizes.pgbench_seconds, "postgres")
        context.note("PostgreSQL: pgbench, 4 clients", place, float(re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)[1]), "tps")
    finally:
        shutil.rmtree(socket, ignore_errors=True)
