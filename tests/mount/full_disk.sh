#!/bin/bash
# A durable store on a disk (an ext4 in a loop device) that tiny files and others fill up to the last block: every file can be
# deleted, in any order, fsync works, and the room comes back.
. "$(dirname "$0")/lib.sh"
need python3

mode=cas
make_disk 40M || skip "there is no loop device"

make_store --segment-size 1M
mount_store

# files ACTION SEED: `fill` makes tiny files until there is no room, and prints how many; `delete` unlinks them all, in random order.
files() {
  python3 - "$mnt" "$@" <<'PY'
import errno, os, random, sys
root, action, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
def fill():
    for n in range(1_000_000):
        try:
            with open(f"{root}/d{n % 16}/f{n}", "wb", buffering=0) as file:
                file.write(b"x" * (n * 7919 % 600))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return n
if action == "fill":
    for d in range(16):
        os.makedirs(f"{root}/d{d}", exist_ok=True)
    print(fill())
else:
    paths = [f"{root}/d{d}/{name}" for d in range(16) for name in os.listdir(f"{root}/d{d}")]
    random.Random(seed).shuffle(paths)
    for done, path in enumerate(paths):
        try:
            os.unlink(path)
        except OSError as error:
            sys.exit(f"{done} of {len(paths)}: {error}")
        if done % 1000 == 0:
            directory = os.open(root, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
    print(len(paths))
PY
}

count=$(files fill 0)
[ "$count" -gt 5000 ] || fail "only $count files"
{ head -c 100000000 /dev/zero >"$disk/filler"; } 2>/dev/null || true
for n in $(seq 50); do { head -c 4096 /dev/zero >"$disk/filler-$n"; } 2>/dev/null || true; done
[ "$(disk_left "$disk")" -lt 20000 ] || fail "the disk is not full"
files delete "${CAIRNFS_SEED:-1}" >"$work/deleted" || fail "deleting on a full disk"
say "$count files were made and $(cat "$work/deleted") deleted on a disk with no block left"
again=$(files fill 0)
[ "$again" -gt $((count / 2)) ] || fail "room for only $again files after $count were deleted"
umount_store
check_store
