#!/bin/bash
# A cache on a disk (an ext4 in a loop device) that others fill: reads go on, and old files make room for new ones. Where nothing may
# go new files stay in memory, stat says so, and what was kept is written when the disk has room again. So too when the disk is full
# already at the mount.
. "$(dirname "$0")/lib.sh"
need python3 setfattr

mode=cache
cache_limit=100M
make_disk 200M || skip "there is no loop device"

fill_disk() {
  { head -c 400000000 /dev/zero >"$disk/filler"; } 2>/dev/null || true
  for n in $(seq 200); do { head -c 4096 /dev/zero >"$disk/filler-$n"; } 2>/dev/null || true; done
  [ "$(disk_left "$disk")" -lt 100000 ] || fail "the disk is not full"
}
free_disk() { rm -f "$disk"/filler*; }
add() {  # add FROM TO
  local n
  for n in $(seq "$1" "$2"); do
    head -c 500000 /dev/urandom >"$work/right-$n"
    cp "$work/right-$n" "$mnt/file-$n" || fail "writing file $n"
  done
}
compare() {
  local n
  for n in $(seq "$1" "$2"); do cmp "$work/right-$n" "$mnt/file-$n" || fail "file $n reads as something else"; done
}
wait_until_written() {
  local tries=0
  while [ "$(stat_of degraded)" != 0 ]; do
    sleep 0.5
    [ $((++tries)) -lt 60 ] || fail "still degraded: $(stat_of degraded_reason)"
  done
}

make_store
mount_store
setfattr -n user.cairn.pin -v 1 "$mnt"  # nothing goes
add 1 20
same "$(stat_of degraded)" 0 "degraded"

say "others fill the disk"
fill_disk
add 21 50
same "$(stat_of degraded)" 1 "degraded"
[ "$(stat_of unwritten_bytes)" -gt 10000000 ] || fail "only $(stat_of unwritten_bytes) bytes in memory"
cairnfs stat "$mnt" | grep -q "^degraded .*No space" || fail "stat does not say why: $(cairnfs stat "$mnt")"
same "$(stat_of read_only)" 0 "read-only"
compare 1 50
rm "$mnt/file-1"

say "and free it again"
free_disk
wait_until_written
compare 2 50
add 51 60
umount_store
check_store
mount_store
compare 2 60
[ ! -e "$mnt/file-1" ] || fail "a removed file is back"
umount_store

say "a disk that is full at the mount"
fill_disk
mount_store
compare 2 60
add 61 70
same "$(stat_of degraded)" 1 "degraded"
compare 2 70
free_disk
wait_until_written
umount_store
check_store

say "memory for what the disk does not take is bounded, and reads go on"
mount_store
fill_disk
n=100
while head -c 500000 /dev/urandom >"$mnt/more-$n" 2>/dev/null; do
  n=$((n + 1))
  [ "$n" -lt 400 ] || fail "150 MB were kept in memory"
done
compare 62 70
free_disk
wait_until_written
add 71 72
compare 71 72
umount_store
check_store

say "old files make room for new ones"
mount_store -o min_age=1
setfattr -x user.cairn.pin "$mnt"
rm -f "$mnt"/file-* "$mnt"/more-*
for n in $(seq 100 160); do head -c 500000 /dev/urandom >"$mnt/old-$n"; done
umount_store
mount_store -o min_age=1
fill_disk
python3 - "$mnt" <<'END' || { cairnfs stat "$mnt"; fail "a fast writer"; }
import os, sys
block = os.urandom(500000)
for n in range(500):
    with open(f"{sys.argv[1]}/fast-{n}", "wb") as f:
        f.write(block)
END
for n in $(seq 200 230); do
  head -c 500000 /dev/urandom >"$work/new"
  cp "$work/new" "$mnt/new-$n" || fail "writing new-$n, with $(stat_of unwritten_bytes) bytes in memory"
  cmp "$work/new" "$mnt/new-$n" 2>/dev/null || [ ! -e "$mnt/new-$n" ] || fail "new-$n reads as something else"
done
[ "$(($(stat_of evicted_cold) + $(stat_of evicted_young)))" -gt 150 ] || fail "only $(stat_of evicted_cold) old files were evicted"
same "$(stat_of read_only)" 0 "read-only"
wait_until_written
before=$(find "$mnt" -type f | wc -l)
[ "$before" -gt 20 ] || fail "only $before files are left"
umount_store
check_store
mount_store
same "$(($(find "$mnt" -type f | wc -l) + $(evicted)))" "$before" "files after a restart"
umount_store
