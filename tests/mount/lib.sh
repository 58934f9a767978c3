# What the mount tests share. Sourced by bash, first thing. Each test is a script of its own that support/run-mount-test
# starts in a fresh directory ($CAIRNFS_WORK); it may also be called by hand with CAIRNFS_BIN set.
# shellcheck shell=bash disable=SC2034,SC2119,SC2120
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
me=$(basename "$0" .sh)
say() { printf '%s: %s\n' "$me" "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }
skip() { say "SKIPPED: $*"; exit 77; }

[ -n "${CAIRNFS_BIN:-}" ] || fail "CAIRNFS_BIN must name the directory of the built tools"
PATH=$(cd "$CAIRNFS_BIN" && pwd):$PATH
[ -e /dev/fuse ] || skip "/dev/fuse is missing"
work=${CAIRNFS_WORK:-}
if [ -z "$work" ]; then
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/cairnfs-$me.XXXXXX")
  remove_work=true
fi
cd "$work"
is_root() { [ "$(id -u)" -eq 0 ]; }
need() {
  local tool
  for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
}

# ---- Stores and mounts. `store`, `mnt` and `mode` are those of the mode that is being tested. ----

mounted=()   # mount points that this script has to give back
children=()  # processes of this script
disk=        # mount point of a disk of its own, if the script made one
at_exit() {
  local code=$? point
  set +e
  cd /
  for point in "${children[@]}"; do kill "$point" 2>/dev/null; wait "$point" 2>/dev/null; done
  for point in "${mounted[@]}"; do
    is_mounted "$point" || continue
    cairnfs umount "$point" 2>/dev/null || cairnfs umount -l "$point" || code=1
  done
  [ -z "$disk" ] || umount "$disk" 2>/dev/null || umount -l "$disk"
  if [ "${remove_work:-false}" = true ]; then rm -rf --one-file-system "$work"; fi
  [ "$code" -eq 0 ] || [ "$code" -eq 77 ] || say "exit $code in mode ${mode:-none}"
  exit "$code"
}
trap at_exit EXIT
trap 'exit 1' HUP INT TERM

is_mounted() { awk -v point="$1" '$5 == point { found = 1 } END { exit !found }' /proc/self/mountinfo; }

cache_limit=512M
# make_store [mkfs options]: an empty store of the present mode, on the disk of its own if there is one, and a mount point for it.
make_store() {
  store=${disk:-$work/$mode}/store mnt=$work/$mode/mnt
  mkdir -p "$mnt"
  local limit=()
  [ "$mode" = cas ] || limit=(--limit "$cache_limit")
  mkfs.cairnfs --mode "$mode" "${limit[@]}" "$@" "$store"
}
# mount_store [mount options]. CAIRNFS_OPTIONS adds some to those of every mount.
mount_store() {
  cairnfs mount "$@" ${CAIRNFS_OPTIONS:+-o "$CAIRNFS_OPTIONS"} "$store" "$mnt"
  mounted+=("$mnt")
  is_mounted "$mnt" || fail "mount returned, but nothing is mounted on $mnt"
}
umount_store() { cairnfs umount "$mnt"; }
remount() { umount_store; mount_store; }
daemon_pid() { sed -n 's/^pid \([0-9]*\),.*/\1/p' "$store/lock"; }
# Until a process of this script is gone; until the daemon has let go of the store.
wait_for_end() { tail -s 0.05 --pid="$1" -f /dev/null; }
wait_for_lock() { flock "$store/lock" true; }
# A store at rest must be clean, every checksum of it.
check_store() {
  fsck.cairnfs --scrub "$store" >"$work/fsck.out" 2>&1 || { cat "$work/fsck.out" >&2; fail "fsck of $store: exit $?"; }
}

# make_disk SIZE: an ext4 of that size, in a loop device, mounted on $disk. False where that cannot be had.
make_disk() {
  if ! is_root || ! command -v mkfs.ext4 >/dev/null || ! losetup --find >/dev/null 2>&1; then return 1; fi
  truncate -s "$1" "$work/image"
  # All of it is made at once, so that what is used changes by what is done on it and by nothing else.
  mkfs.ext4 -q -m 0 -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
  mkdir "$work/disk"
  mount -o loop "$work/image" "$work/disk"
  disk=$work/disk
}
drop_disk() { [ -z "$disk" ] || umount "$disk"; disk=; }
# The bytes of a disk that are used, and those that are left.
disk_used() { stat -f -c '%b %f %S' "$1" | { read -r all free size && echo $(((all - free) * size)); }; }
disk_left() { df -B1 --output=avail "$1" | tail -1; }
# make_watched_store SIZE [mkfs options]: make_store, on a disk of its own of that size if there can be one.
make_watched_store() {
  used_before=
  if make_disk "$1"; then
    used_before=$(disk_used "$disk")
  else
    say "WARNING: no loop device: what the store takes is only looked at file by file, and a short excess is not seen"
  fi
  make_store "${@:2}"
}
# watch_room LIMIT ... end_watch: fails if $store takes more meanwhile. `echo BYTES >&"$watch"` changes the limit.
watch_room() {
  exec {watch}> >(exec python3 "$here/watch_room.py" "$store" "$1" $used_before >"$work/most" 2>&1)
  watcher=$!
}
end_watch() {
  exec {watch}>&-
  wait "$watcher" || fail "the store outgrew its limit: $(cat "$work/most")"
  say "the store took $(cat "$work/most")"
}

# Every lookup and open is taken back: once the kernel forgets what it need not know, nothing is known but the root, which
# is not counted. What it still holds for a moment (a delayed close, a process on its way out) it is asked for again.
expect_forgotten() {
  local known
  is_root || return 0
  for _ in {1..50}; do
    sync -f "$work"
    echo 2 >/proc/sys/vm/drop_caches
    known=$(cairnfs stat --json "$mnt" | sed 's/.*"known_inodes":\([0-9]*\).*/\1/')
    [ "$known" -gt 0 ] || return 0
    sleep 0.1
  done
  fail "$known inodes are known, though nobody uses one"
}

# in_both_modes FUNCTION: runs it with an empty mounted store of each mode, and checks the store afterwards.
# CAIRNFS_MODES="cas" restricts it.
in_both_modes() {
  for mode in ${CAIRNFS_MODES:-cas cache}; do
    make_store
    mount_store
    "$1"
    cd "$work"
    expect_forgotten
    umount_store
    check_store
  done
}

# ---- What a mount says of itself ----

stat_of() { cairnfs stat --json "$mnt" | python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
# Files evicted since the mount, for whatever reason.
evicted() {
  cairnfs stat --json "$mnt" | python3 -c "import json, sys
counts = json.load(sys.stdin)
print(sum(counts['evicted_' + why] for why in ('cold', 'young', 'group', 'damaged')))"
}
# What was asked for ahead of need still goes when the last writer has ended.
wait_until_quiet() {
  local before=-1 now
  while now=$(evicted) && [ "$now" != "$before" ]; do before=$now && sleep 1; done
}

# ---- Expectations ----

same() { [ "$1" = "$2" ] || fail "${3:-values differ}: '$1' is not '$2'"; }

# expect_error CODE "TEXT" ... -- COMMAND...: it must exit with CODE (or `any` but 0), and say one line with every TEXT in it.
expect_error() {
  local code=$1 texts=() text got=0
  shift
  while [ "$1" != -- ]; do texts+=("$1"); shift; done
  shift
  "$@" >"$work/error.out" 2>"$work/error.err" || got=$?
  [ "$got" -ne 0 ] || fail "should have failed: $*"
  [ "$code" = any ] || same "$got" "$code" "exit code of $*"
  same "$(wc -l <"$work/error.err")" 1 "lines of error of $* ($(cat "$work/error.err"))"
  for text in "cairnfs: " "${texts[@]}"; do
    grep -qF -- "$text" "$work/error.err" || fail "$* does not say '$text' but: $(cat "$work/error.err")"
  done
}

# fails_with ERRNO_TEXT COMMAND...: for commands that print the system's error.
fails_with() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then fail "should have failed: $*"; fi
  grep -qF -- "$text" <<<"$output" || fail "$* does not say '$text' but: $output"
}

# Everything about a directory that a copy keeps: names, types, modes, owners, times, contents, links, attributes.
same_tree() {
  local changes
  # diff takes two FIFOs for different; rsync does not.
  diff -r --no-dereference -x fifo "$1" "$2" || fail "$1 and $2 differ"
  changes=$(rsync -aHAXn --delete --itemize-changes "$1/" "$2/") || fail "rsync of $1 and $2"
  same "$changes" "" "rsync sees changes between $1 and $2"
}

# A directory with a few hundred ordinary files, for copying: part of the system's headers.
sample_tree() {
  local dir
  for dir in /usr/include/linux /usr/include/c++/* /usr/include; do
    if [ -d "$dir" ]; then echo "$dir"; return; fi
  done
  fail "no headers in /usr/include"
}
