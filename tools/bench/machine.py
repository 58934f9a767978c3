"""The state of the machine that figures come from: what one has to know to believe them."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from places import mount_of

try:
    import sqlite3
except ImportError:
    sqlite3 = None


def read(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


def first_line(*command):
    """What a program says about itself, or nothing if it is missing."""
    if not shutil.which(command[0]):
        return ""
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    return said.splitlines()[0].strip() if said else ""


def disk(device):
    """Of the block device with that number, the whole disk if it is a part of one."""
    where = pathlib.Path("/sys/dev/block") / device
    if not where.exists():
        return {}
    where = where.resolve()
    if (where / "partition").exists():
        where = where.parent
    facts = {"name": where.name, "model": read(where / "device/model")}
    for name in ["rotational", "write_cache", "fua", "scheduler", "read_ahead_kb"]:
        facts[name] = read(where / "queue" / name)
    chosen = re.search(r"\[(.*)\]", facts["scheduler"])
    return {**facts, "scheduler": chosen[1] if chosen else facts["scheduler"]}


def libfuse_of(build):
    """The version that a build is linked with; Meson wrote it down."""
    where = build / "meson-info"
    if not where.is_dir():
        return "unknown"
    subprojects = json.loads((where / "intro-projectinfo.json").read_text())["subprojects"]
    dependencies = json.loads((where / "intro-dependencies.json").read_text())
    found = [s["version"] for s in subprojects if s["name"] == "libfuse"] + [d["version"] for d in dependencies if d["name"] == "fuse3"]
    return found[0] if found else "unknown"


def build_type_of(build):
    path = build / "meson-info" / "intro-buildoptions.json"
    options = {option["name"]: option["value"] for option in json.loads(path.read_text())} if path.exists() else {}
    return options.get("buildtype", "unknown")


def versions(root):
    programs = {
        "revision": ["git", "-C", str(root), "-c", "safe.directory=*", "describe", "--always", "--dirty"],
        "c++": [os.environ.get("CXX", "c++"), "--version"],
        "fio": ["fio", "--version"],
        "git": ["git", "--version"],
        "grep": ["grep", "--version"],
        "meson": ["meson", "--version"],
        "ninja": ["ninja", "--version"],
        "pgbench": ["pgbench", "--version"],
        "rg": ["rg", "--version"],
        "tar": ["tar", "--version"],
    }
    found = {name: first_line(*command) for name, command in programs.items()}
    found["sqlite"] = sqlite3.sqlite_version if sqlite3 else ""
    found["python"] = sys.version.split()[0]
    return {name: version for name, version in found.items() if version}


def describe(directory, root):
    """What does not change while the suite runs."""
    processor = read("/proc/cpuinfo")
    model = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.*)$", processor, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.MULTILINE)
    mounted = mount_of(directory)
    uring = read("/sys/module/fuse/parameters/enable_uring")
    return {
        "kernel": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
        "cpu": model[1] if model else os.uname().machine,
        "cpus": len(os.sched_getaffinity(0)),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual_machine": "hypervisor" in processor,
        "memory_MiB": int(memory[1]) >> 10 if memory else 0,
        "file_system": mounted["type"],
        "mount_options": mounted["options"],
        "disk": disk(mounted["device"]),
        "fuse_enable_uring": uring,
        # 0 makes each request on a virtual machine two to three times as slow (README, "On a virtual machine").
        "guest_halt_poll_ns": read("/sys/module/haltpoll/parameters/guest_halt_poll_ns"),
        # Free memory in blocks of 2^N pages and more goes back to the host, and is slow when it is first touched again
        # (README, "On a virtual machine"). Above 10 nothing does.
        "page_reporting_order": read("/sys/module/page_reporting/parameters/page_reporting_order"),
        # 1: each session is scheduled as a group, and each request, which goes from one to another, pays for it.
        "sched_autogroup_enabled": read("/proc/sys/kernel/sched_autogroup_enabled"),
        "caches_dropped": os.geteuid() == 0,
        "versions": versions(root),
    }


def moment():
    """What does change."""
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "load": [float(word) for word in read("/proc/loadavg").split()[:3]]}
