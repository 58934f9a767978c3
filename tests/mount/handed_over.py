"""Readers of small files against everything that changes them; see handed_over.sh.

A file's content is its version, eight digits, over and over; how often goes by the version. One writer a file notes what it has
begun and what it has finished. Where nothing was begun while a reader had the file open it must have got all of the last version and
nothing else; where something was, at least nothing that was not begun.
"""
import mmap, os, random, sys, threading, time

FILES, SECONDS = 6, 12
root = os.path.join(sys.argv[1], "d")
os.makedirs(root, exist_ok=True)
begun, finished = [0] * FILES, [0] * FILES
failures, reads = [], [0]
deadline = time.monotonic() + SECONDS


def content(version):
    return b"%08d" % version * (version * 37 % 1500 + 1)


def write_file(path, version, way, chance):
    if way == 0:  # another file by this name
        with open(path + ".new", "wb") as f:
            f.write(content(version))
        os.rename(path + ".new", path)
        return
    if way == 1:  # cut by name and written again
        os.truncate(path, 0)
        fd = os.open(path, os.O_WRONLY)
    elif way == 2:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    else:  # through a mapping
        fd = os.open(path, os.O_RDWR)
        os.ftruncate(fd, 0)
        os.ftruncate(fd, len(content(version)))
        with mmap.mmap(fd, len(content(version))) as pages:
            pages[:] = content(version)
        os.close(fd)
        return
    bytes_left = content(version)
    while bytes_left:
        bytes_left = bytes_left[os.write(fd, bytes_left[: chance.randrange(1, 20000)]):]
    os.close(fd)


def writer(i):
    chance = random.Random(i)
    path = f"{root}/{i}"
    while time.monotonic() < deadline and not failures:
        version = begun[i] + 1
        begun[i] = version
        write_file(path, version, chance.randrange(4) if version > 1 else 0, chance)
        finished[i] = version
        time.sleep(chance.random() * 0.01)  # a pace, so that readers also meet files that nobody writes; nothing is waited for


def reader(seed):
    chance = random.Random(1000 + seed)
    while time.monotonic() < deadline and not failures:
        i = chance.randrange(FILES)
        first = finished[i]
        if first == 0:
            continue
        if chance.random() < 0.3:  # what is looked up and not open may be given ahead
            for other in os.scandir(root):
                other.is_file() and os.path.exists(other.path)
        with open(f"{root}/{i}", "rb") as f:
            size = os.fstat(f.fileno()).st_size if chance.random() < 0.3 else None
            data = f.read()
        last = begun[i]
        reads[0] += 1
        if first == last and data != content(first):
            failures.append(f"file {i}, nobody wrote: version {first} read as {data[:8]!r}, {len(data)} bytes")
        if first == last and size is not None and size != len(content(first)):
            failures.append(f"file {i}, nobody wrote: size {size} of version {first}")
        versions = {data[at:at + 8] for at in range(0, len(data) - 7, 8)} - {b"\0" * 8}
        for version in versions:
            if version.isdigit() and int(version) > last:
                failures.append(f"file {i}: version {version} was not begun, {last} was")


def forgetter():
    while time.monotonic() < deadline and not failures:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        time.sleep(0.003)  # a pace: readers are to find pages as well


def watched(work, *arguments):
    try:
        work(*arguments)
    except Exception as error:  # a thread that ends early would be no failure otherwise
        failures.append(f"{work.__name__} {arguments}: {error!r}")


threads = [threading.Thread(target=watched, args=(writer, i)) for i in range(FILES)]
threads += [threading.Thread(target=watched, args=(reader, i)) for i in range(4)] + [threading.Thread(target=watched, args=(forgetter,))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for i in range(FILES):
    with open(f"{root}/{i}", "rb") as f:
        if f.read() != content(finished[i]):
            failures.append(f"file {i}: the last version is not there")
for failure in failures[:5]:
    print(failure, file=sys.stderr)
print(f"{reads[0]} reads, {sum(finished)} versions", file=sys.stderr)
sys.exit(1 if failures or reads[0] < 500 else 0)
