#!/bin/bash
# cairnfs resize: a mounted cache shrinks and grows under writers, an unmounted one too; df shows it, a crash keeps it, and what
# cannot be is refused.
. "$(dirname "$0")/lib.sh"
need python3 setfattr

mode=cache
stat_of() { cairnfs stat --json "$mnt" | python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
df_size() { df -B1 --output=size "$mnt" | tail -1 | tr -d ' '; }
# What the store's directory takes on disk.
taken() { du -B1 -s "$store" 2>/dev/null | cut -f1 || true; }  # files vanish meanwhile
within() { [ "$(taken)" -le "$1" ] || fail "the store takes $(taken) bytes of $1"; }
fill() {  # fill FROM TO: files of 1 MB
  local n
  for n in $(seq "$1" "$2"); do head -c 1000000 /dev/urandom >"$mnt/file-$n"; done
}

cache_limit=64M
make_watched_store 300M
watch_room $((64 << 20))
mount_store -o min_age=0
fill 1 40

say "growing"
echo $((128 << 20)) >&"$watch"
cairnfs resize "$mnt" 128M
same "$(df_size)" $((128 << 20)) "size in df"
fill 41 90
same "$(find "$mnt" -type f | wc -l)" 90 "files after growing"
[ "$(taken)" -gt $((64 << 20)) ] || fail "nothing was written beyond the old limit"

say "shrinking, by the store's name, under a writer"
head -c 1000000 /dev/urandom >"$work/last"
cp "$work/last" "$mnt/last"
(while [ ! -e "$work/enough" ]; do head -c 300000 /dev/urandom >"$mnt/noise-$((RANDOM % 20))" || exit 1; done) &
children+=($!)
cairnfs resize "$store" 32M
echo $((32 << 20)) >&"$watch"
for _ in $(seq 50); do within $((32 << 20)); done
touch "$work/enough"
wait "$!" || fail "the writer failed while the limit was changed"
same "$(df_size)" $((32 << 20)) "size in df"
[ "$(stat_of evicted_cold)" -gt 40 ] || fail "only $(stat_of evicted_cold) files were evicted"
[ ! -e "$mnt/last" ] || cmp "$work/last" "$mnt/last"

say "what is refused"
expect_error 1 "at least 16777216" -- cairnfs resize "$mnt" 1M
expect_error 1 "at least 16777216" -- cairnfs resize "$mnt" 0
expect_error 1 "12Q" -- cairnfs resize "$mnt" 12Q
mkdir "$mnt/kept"
setfattr -n user.cairn.pin -v 1 "$mnt/kept"
cp "$work/last" "$mnt/kept/"
for n in $(seq 18); do head -c 1000000 /dev/urandom >"$mnt/kept/$n"; done
expect_error 1 "the limit stays at 33554432 bytes" -- cairnfs resize "$mnt" 16M
same "$(df_size)" $((32 << 20)) "size in df after a refusal"
cmp "$work/last" "$mnt/kept/last"
same "$(find "$mnt/kept" -type f | wc -l)" 19 "pinned files after a refusal"
if is_root && command -v setpriv >/dev/null; then
  chmod 755 "$work" "$work/cache"
  expect_error 1 "only root" -- setpriv --reuid 65534 --regid 65534 --clear-groups "$(command -v cairnfs)" resize "$mnt" 64M
fi

say "it survives kill -9"
echo $((48 << 20)) >&"$watch"
cairnfs resize "$mnt" 48M
kill -9 "$(daemon_pid)"
wait_for_lock
cairnfs umount "$mnt"
check_store
mount_store
same "$(stat_of limit)" $((48 << 20)) "limit after kill -9"
cmp "$work/last" "$mnt/kept/last"
setfattr -x user.cairn.pin "$mnt/kept"
umount_store

say "a store that is not mounted"
cairnfs resize "$store" 24M
echo $((24 << 20)) >&"$watch"
within $((24 << 20))
check_store
echo $((80 << 20)) >&"$watch"
cairnfs resize "$store" 80M
mount_store
same "$(df_size)" $((80 << 20)) "size in df"
fill 100 120
umount_store
check_store
end_watch
drop_disk
expect_error 1 "not a CairnFS store" -- cairnfs resize "$work" 64M
expect_error any "/nowhere" -- cairnfs resize "$work/nowhere" 64M

mode=cas
make_store
expect_error 1 "is a cas store" -- cairnfs resize "$store" 64M
mount_store
expect_error 1 "is a cas store" -- cairnfs resize "$mnt" 64M
umount_store
