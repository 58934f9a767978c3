#!/bin/bash
# -o no_open: the kernel opens and closes files by itself. Nothing but speed may tell it from a mount without the option.
. "$(dirname "$0")/lib.sh"
need python3
mode=cas
make_store

mount_store -o no_open
python3 - "$mnt" <<'PY'
import os, sys
os.chdir(sys.argv[1])
# Files that have lost their name live while somebody has them open.
fd = os.open("unlinked", os.O_CREAT | os.O_RDWR)
os.write(fd, b"still")
os.close(fd)
fd = os.open("unlinked", os.O_RDWR)
os.unlink("unlinked")
os.fsync(os.open(".", os.O_RDONLY))
assert os.pread(fd, 9, 0) == b"still"
os.pwrite(fd, b"S", 0)
assert os.pread(fd, 9, 0) == b"Still" and os.fstat(fd).st_nlink == 0
# A truncating open is a truncation.
with open("truncated", "w") as file: file.write("long content")
with open("truncated", "w") as file: pass
assert os.stat("truncated").st_size == 0
# More files with something in memory than are kept there.
for i in range(2000):
    with open(f"small{i}", "w") as file: file.write(f"content {i}")
for i in range(2000):
    with open(f"small{i}", "a") as file: file.write(" and more")
PY
for i in 0 7 1999; do same "$(cat "$mnt/small$i")" "content $i and more" "a small file"; done
expect_forgotten
umount_store
check_store
grep -q " 0 orphans" "$work/fsck.out" || fail "an unlinked file stays: $(cat "$work/fsck.out")"
mount_store
for i in 0 7 1999; do same "$(cat "$mnt/small$i")" "content $i and more" "a small file after a remount"; done
umount_store

store=$work/cache
mkfs.cairnfs --mode cache --limit 64M "$store"
expect_error any "no_open" "$store" -- cairnfs mount -o no_open "$store" "$mnt"

# The other tests, with the option.
for test in content exerciser nodes permissions differential; do
  mkdir "$work/$test"
  code=0
  CAIRNFS_WORK=$work/$test CAIRNFS_MODES=cas CAIRNFS_OPTIONS=no_open CAIRNFS_STEPS=3000 "$here/$test.sh" || code=$?
  [ $code -eq 0 ] || [ $code -eq 77 ] || fail "$test with no_open"
done
