#!/bin/bash
# The content of files: random overwrites, truncation, holes, fallocate, files without a name, appends of several programs.
. "$(dirname "$0")/lib.sh"
need python3 dd fallocate truncate cmp

overwrites_with_dd() {
  local plain=$work/plain i seed=${CAIRNFS_SEED:-$RANDOM} offset count
  RANDOM=$seed
  say "overwrites with seed $seed"
  head -c 3000000 /dev/urandom >"$plain"
  cp "$plain" overwritten
  for i in {1..60}; do
    offset=$((RANDOM * RANDOM % 4000000)) count=$((RANDOM % 200000 + 1))
    head -c "$count" /dev/urandom >"$work/piece"
    for file in "$plain" overwritten; do
      dd if="$work/piece" of="$file" conv=notrunc oflag=seek_bytes seek="$offset" bs=64K status=none
    done
    [ $((i % 10)) -ne 0 ] || cmp "$plain" overwritten || fail "overwrite $i, seed $seed"
  done
  cmp "$plain" overwritten
}

truncation_and_holes() {
  truncate -s 10M sparse
  same "$(stat -c %s sparse)" 10485760 "size"
  same "$(tr -d '\0' <sparse | wc -c)" 0 "a hole reads as zeros"
  echo data | dd of=sparse conv=notrunc oflag=seek_bytes seek=5000000 status=none
  same "$(dd if=sparse iflag=skip_bytes skip=5000000 bs=5 count=1 status=none)" data "data in a hole"
  truncate -s 5000002 sparse && truncate -s 6M sparse
  same "$(tail -c +5000001 sparse | tr -d '\0')" da "what was cut off does not come back"

  head -c 1000000 /dev/urandom >punched
  fallocate -p -o 200000 -l 400000 punched
  same "$(stat -c %s punched)" 1000000 "size after punching"
  same "$(dd if=punched iflag=skip_bytes,count_bytes skip=200000 count=400000 bs=64K status=none | tr -d '\0' | wc -c)" 0 "punched"
  fallocate -l 2M reserved
  same "$(stat -c %s reserved)" 2097152 "fallocate"
  fallocate -n -l 4M reserved
  same "$(stat -c %s reserved)" 2097152 "fallocate --keep-size"
  fallocate -z -o 0 -l 1000 punched
  same "$(head -c 1000 punched | tr -d '\0' | wc -c)" 0 "zeroed range"
}

files_without_a_name() {
  python3 - <<'PY'
import os
fd = os.open("gone", os.O_CREAT | os.O_RDWR)
os.write(fd, b"still here" * 50000)
os.unlink("gone")
assert not os.path.exists("gone")
assert os.fstat(fd).st_nlink == 0 and os.fstat(fd).st_size == 500000
assert os.pread(fd, 10, 250000) == b"still here"
os.pwrite(fd, b"changed", 400000)
assert os.pread(fd, 7, 400000) == b"changed"
os.ftruncate(fd, 10)
assert os.pread(fd, 100, 0) == b"still here"
os.close(fd)
# Replaced by a rename while it is open.
old = os.open("target", os.O_CREAT | os.O_RDWR); os.write(old, b"old")
new = os.open("source", os.O_CREAT | os.O_RDWR); os.write(new, b"new")
os.rename("source", "target")
assert os.pread(old, 3, 0) == b"old" and open("target").read() == "new"
# A directory that is removed while it is somebody's working directory.
os.mkdir("left"); os.chdir("left"); os.rmdir("../left")
assert os.stat(".").st_nlink == 0 or os.stat(".").st_nlink == 2
try:
    open("x", "w")
    raise AssertionError("a file in a directory that is gone")
except FileNotFoundError:
    pass
PY
}

appends() {
  python3 - <<'PY'
import os
LINES, WRITERS = 400, 4
children = []
for writer in range(WRITERS):
    if not (child := os.fork()):
        fd = os.open("appended", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(LINES):
            os.write(fd, b"%d %d %s\n" % (writer, i, b"x" * (i % 700)))
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
next_of = [0] * WRITERS
for line in open("appended"):
    writer, number, padding = line.rstrip("\n").split(" ")
    assert int(number) == next_of[int(writer)] and len(padding) == int(number) % 700, line
    next_of[int(writer)] += 1
assert next_of == [LINES] * WRITERS, next_of
PY
}

mapped() {
  python3 - <<'PY'
import mmap, os
fd = os.open("mapped", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 1 << 20)
with mmap.mmap(fd, 1 << 20) as memory:
    memory[5000:5005] = b"hello"
    memory[(1 << 20) - 1] = 7
    memory.flush()
    assert os.pread(fd, 5, 5000) == b"hello"
    memory[300000:300003] = b"end"
os.close(fd)
PY
  cd "$work"; remount; cd "$mnt"
  same "$(dd if=mapped iflag=skip_bytes skip=300000 bs=3 count=1 status=none)" end "mapped, not flushed, unmapped, remounted"
  same "$(tail -c 1 mapped | od -An -tu1 | tr -d ' ')" 7 "last mapped byte"
}

all_content() {
  cd "$mnt"
  overwrites_with_dd
  truncation_and_holes
  files_without_a_name
  appends
  mapped
  python3 "$here/twin_files.py" "$work/twin.$mode" "$mnt/twin" "${CAIRNFS_SEED:-$RANDOM}" 400
  sum=$(sha256sum <twin)
  cd "$work"; remount; cd "$mnt"
  same "$(sha256sum <twin)" "$sum" "content after a remount"
  same "$(sha256sum <"$work/twin.$mode")" "$sum" "content beside the plain file's after a remount"
  cmp "$work/plain" overwritten
}

in_both_modes all_content
