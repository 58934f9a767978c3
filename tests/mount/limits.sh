#!/bin/bash
# What is as large as it may be: a directory of many entries, a file of 8 TiB, names, paths, targets, links.
# CAIRNFS_ENTRIES: entries of the directory (20,000; tests/mount/soak has a million).
. "$(dirname "$0")/lib.sh"
need python3
entries=${CAIRNFS_ENTRIES:-20000}
cache_limit=$((512 + entries / 400))M # none of them is to be evicted

a_large_directory() {
  local stay
  stay=$(python3 - "$entries" <<'PY'
import os, random, sys
count = int(sys.argv[1])
os.mkdir("many")
os.chdir("many")
for i in range(count):
    os.mknod(f"entry-{i}")
def names():
    with os.scandir(".") as all_of_them:
        return [entry.name for entry in all_of_them]
listed = names()
assert len(listed) == count and set(listed) == {f"entry-{i}" for i in range(count)}
for i in random.sample(range(count), 1000):
    assert os.stat(f"entry-{i}").st_size == 0
    assert not os.path.exists(f"entry-{i}x")
# Entries come and go while it is listed: what stays is seen once.
seen, gone = [], set()
with os.scandir(".") as all_of_them:
    for number, entry in enumerate(all_of_them):
        seen.append(entry.name)
        if number % (count // 500) == 0:
            victim = f"entry-{random.randrange(count)}"
            if victim not in gone:
                os.unlink(victim)
                gone.add(victim)
            os.mknod(f"new-{number}")
old = [name for name in seen if name.startswith("entry-")]
assert len(old) == len(set(old)), "an entry was seen twice"
assert set(old) | gone == set(listed), "an entry that stayed was not seen"
print(count - len(gone))
PY
  )
  remount_here
  same "$(find many -name 'entry-*' -size 0 | wc -l)" "$stay" "entries after a remount"
  rm -r many
}
remount_here() { cd "$work" && remount && cd "$mnt"; }

a_file_of_8_TiB() {
  truncate -s 8T sparse
  same "$(stat -c '%s %b' sparse)" "8796093022208 0" "size and blocks"
  fails_with "File too large" truncate -s 9T sparse
  python3 - <<'PY'
import os
fd = os.open("sparse", os.O_RDWR)
end = 8 << 40
os.pwrite(fd, b"first", 1 << 40)
os.pwrite(fd, b"last", end - 4)
assert os.pread(fd, 10, (1 << 40) - 2) == b"\0\0first\0\0\0" and os.pread(fd, 10, end - 4) == b"last"
data = os.lseek(fd, 0, os.SEEK_DATA)
assert (1 << 40) - (128 << 10) <= data <= 1 << 40, data
hole = os.lseek(fd, data, os.SEEK_HOLE)
assert (1 << 40) + 5 <= hole <= (1 << 40) + (256 << 10), hole
assert os.lseek(fd, hole, os.SEEK_DATA) >= end - (128 << 10)
os.ftruncate(fd, (1 << 40) + 3)
os.ftruncate(fd, end)
assert os.pread(fd, 5, 1 << 40) == b"fir\0\0" and os.pread(fd, 4, end - 4) == b"\0" * 4, "what was cut off is back"
PY
  cp --sparse=always --reflink=never sparse copied 2>/dev/null & # reads 8 TiB only where holes are not found
  local copy=$!
  for _ in {1..100}; do kill -0 $copy 2>/dev/null || break; sleep 0.1; done
  ! kill $copy 2>/dev/null || fail "cp does not find the holes"
  wait $copy || fail "cp of a sparse file"
  same "$(stat -c %s copied)" 8796093022208 "size of the copy"
  rm sparse copied
}

long_names_and_many_links() {
  python3 - <<'PY'
import errno, os
def refused(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(f"{call.__name__} should have failed")
every_byte = bytes(b for b in range(1, 256) if b != ord("/"))
open(every_byte, "w").close()
assert every_byte in os.listdir(b".")
open("n" * 255, "w").close()
refused(errno.ENAMETOOLONG, open, "n" * 256, "w")
os.symlink("t" * 4095, "long")
assert os.readlink("long") == "t" * 4095
refused(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "longer")
# A path of 4095 bytes, and below it, by steps, one that no path can name.
here = os.open(".", os.O_RDONLY)
for _ in range(20):
    os.mkdir("d" * 255)
    os.chdir("d" * 255)
open("deep", "w").close()
os.fchdir(here)
path = "/".join(["d" * 255] * 15) + "/" + "d" * 255
assert len(path) == 4095 and os.path.isdir(path)
refused(errno.ENAMETOOLONG, os.stat, path + "/x")
open("linked", "w").close()
os.mkdir("links")
for i in range(1, 65000):
    os.link("linked", f"links/{i}")
assert os.stat("links/64999").st_nlink == 65000
refused(errno.EMLINK, os.link, "linked", "links/one-more")
os.setxattr("linked", "user.large", b"v" * 65536)
assert len(os.getxattr("links/1", "user.large")) == 65536
PY
  remount_here
  same "$(stat -c %h linked)" 65000 "links after a remount"
  rm -r links dddd*
  same "$(stat -c %h linked)" 1 "links in the end"
}

as_large_as_can_be() {
  cd "$mnt"
  a_large_directory
  a_file_of_8_TiB
  long_names_and_many_links
}

in_both_modes as_large_as_can_be
