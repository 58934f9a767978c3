#!/bin/bash
# A cache that is much too small for what goes through it: writers and readers never see a wrong byte or an error that a
# directory of a normal file system would not give; the store stays within its limit; it is warm after a restart and a crash.
. "$(dirname "$0")/lib.sh"
need python3 setfattr getfattr

mode=cache
cache_limit=64M
limit_bytes=$((64 << 20))

# with_watcher COMMAND...: fails if the store outgrows its limit meanwhile.
with_watcher() {
  watch_room "$limit_bytes"
  "$@"
  end_watch
}

# many_users SIZE MEGABYTES [OPTION...]: so much goes through the full cache, in files of at most that size.
many_users() {
  local before
  before=$(stat_of evicted_bytes)
  with_watcher python3 "$here/cache_users.py" "${@:3}" "$mnt" 4 4 "$2" "$1"
  [ "$2" -lt 200 ] || [ $(($(stat_of evicted_bytes) - before)) -gt $(($2 << 18)) ] || fail "only $(stat_of evicted_bytes) bytes were evicted"
  same "$(stat_of evicted_damaged)" 0 "damaged files"
  [ "$(stat_of allocated_bytes)" -le "$limit_bytes" ] || fail "it says itself that it is too large"
  cairnfs stat "$mnt" | grep -q "^evicted" || fail "stat says nothing about evictions"
}

# expect_density PERCENT: what the store takes is that much of what lives in it (with one copy of the index: three quarters of its
# tables, as the newer ones repeat some of it), and three segments, once the background is through.
expect_density() {
  local tries=0 allocated live most
  while allocated=$(stat_of allocated_bytes) live=$(($(stat_of live_bytes) + $(du -sB1 "$store/index" | cut -f1) * 3 / 4)); do
    most=$((live * $1 / 100 + 3 * (limit_bytes / 64)))
    if [ "$allocated" -le "$most" ]; then
      say "$allocated bytes allocated for $live that live, at most $most"
      return
    fi
    sleep 0.5
    [ $((++tries)) -lt 20 ] || fail "$allocated bytes allocated for $live that live: more than $1 %"
  done
}

# count_right: how many of the names are there, after their bytes were compared.
count_files() { find "$mnt" -type f | wc -l; }

make_watched_store 160M
mount_store -o min_age=1
many_users 300000 200 --least 65536
expect_density 115
many_users 200000 200
many_users 8000 70
expect_density 135

say "what is there is there after a restart"
wait_until_quiet
before=$(count_files)
[ "$before" -gt 100 ] || fail "only $before files are left"
umount_store
check_store
mount_store -o min_age=1
wait_until_quiet
same "$(($(count_files) + $(evicted)))" "$before" "files after a restart"
before=$(count_files)

say "and after kill -9, but for the newest"
kill -9 "$(daemon_pid)"
wait_for_lock
cairnfs umount "$mnt"
check_store
mount_store -o min_age=1
after=$(count_files)
[ $((after * 4)) -gt $((before * 3)) ] || fail "$after files of $before are left after the crash"
many_users 100000 50

say "a file that is open stays"
head -c 1000000 /dev/urandom >"$work/held"
cp "$work/held" "$mnt/held"
exec {held}<"$mnt/held"
many_users 100000 50
[ -e "$mnt/held" ] || fail "an open file was evicted"
cmp "$work/held" "/dev/fd/$held" || fail "an open file reads as something else"
exec {held}<&-

umount_store
check_store
