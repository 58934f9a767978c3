#!/bin/bash
# A cache at its limit under eight writers and four readers, killed in the middle of it: the store never outgrows the limit, not
# for an instant, every byte that is read is right, fsck is clean after the kill and at the end, and what was there is there again.
# Short here; tests/mount/soak has the long one. CAIRNFS_SOAK_LIMIT (bytes) and CAIRNFS_SOAK_MB say how much goes into how much.
. "$(dirname "$0")/lib.sh"
need python3

mode=cache
cache_limit=${CAIRNFS_SOAK_LIMIT:-$((96 << 20))}
megabytes=${CAIRNFS_SOAK_MB:-600}
largest=2000000 # bytes of a file; most are below 62,500

# users MEGABYTES [OPTION]: with --kill they kill the daemon when half of it is written.
users() { python3 "$here/cache_users.py" --mixed "${@:2}" "$mnt" 8 4 "$1" "$largest"; }
compare() { python3 "$here/cache_users.py" --mixed --compare "$mnt" "$largest"; }
count_files() { find "$mnt" -type f | wc -l; }

make_watched_store $((2 * cache_limit))
watch_room "$cache_limit"
mount_store -o min_age=1
say "half of it, and kill -9: $(users "$megabytes" --kill "$(daemon_pid)")"
wait_for_lock
cairnfs umount "$mnt"
check_store

mount_store -o min_age=1
left=$(count_files)
[ "$left" -gt 100 ] || fail "only $left files survived the kill"
say "left by the kill: $(compare)"
say "the other half: $(users $((megabytes / 2)))"
same "$(stat_of evicted_damaged)" 0 "damaged files"
same "$(stat_of read_only)$(stat_of degraded)" 00 "read-only, degraded"
[ "$(stat_of evicted_bytes)" -gt $((cache_limit / 4)) ] || fail "only $(stat_of evicted_bytes) bytes were evicted"
say "$(cairnfs stat "$mnt" | grep -E '^(evicted|space_amp|write_amp|punched|compactions)' | tr -s ' \n' ' ')"
wait_until_quiet
left=$(count_files)
umount_store
check_store

mount_store
wait_until_quiet
same "$(($(count_files) + $(evicted)))" "$left" "files after a restart"
say "left at the end: $(compare)"
umount_store
end_watch
