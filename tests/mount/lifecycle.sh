#!/bin/bash
# Mounts come and go: signals, plain umount, foreground, the mount(8) helper, a mount in use, the lock that is waited for.
. "$(dirname "$0")/lib.sh"
need python3 flock

ended_by_a_signal() {
  local signal
  for signal in TERM INT HUP; do
    echo "$signal" >"$mnt/$signal"
    kill -s "$signal" "$(daemon_pid)"
    wait_for_lock
    ! is_mounted "$mnt" || fail "still mounted after SIG$signal"
    mount_store
    same "$(cat "$mnt/$signal")" "$signal" "written before SIG$signal"
  done
}

# No answers any more, no daemon, but a mount: nobody writes into the directory below it.
ended_by_a_crash() {
  local signal
  for signal in KILL ABRT SEGV; do
    echo "$signal" >"$mnt/$signal"
    kill -s "$signal" "$(daemon_pid)"
    wait_for_lock
    # The lock may go a moment before the connection: a request in between is broken off, in other words.
    if ls "$mnt" >"$work/ls.out" 2>&1; then fail "ls of $mnt without a daemon: $(cat "$work/ls.out")"; fi
    fails_with "not connected" ls "$mnt"
    cairnfs umount "$mnt"
    # A sanitizer would report the SEGV that is sent.
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_segv=0 mount_store
  done
}

# A mount in use goes away all the same, and what was written to mapped files is not lost.
ended_while_in_use() {
  exec {ready}< <(exec python3 - "$mnt/mapped" <<'PY'
import mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 1 << 20)
memory = mmap.mmap(fd, 1 << 20)
memory[70000:70006] = b"mapped"
print("ready", flush=True)
signal.pause()
PY
  )
  children+=($!)
  local holder=$!
  read -r _ <&"$ready"
  kill "$(daemon_pid)"
  wait_for_lock
  ! is_mounted "$mnt" || fail "still mounted"
  kill -9 "$holder"
  exec {ready}<&-
  mount_store
  same "$(dd if="$mnt/mapped" iflag=skip_bytes skip=70000 bs=6 count=1 status=none)" mapped "written through a mapping"
}

# A script that holds a lock while it mounts does not give it to the daemon, nor its pipes.
keeps_nothing_of_the_caller() {
  umount_store
  exec {held}>"$work/held"
  flock "$held"
  mount_store
  exec {held}>&-
  flock -n "$work/held" true || fail "the daemon holds a lock of the script that mounted"
}

# umount(8) returns before the daemon has closed the store; the next mount waits instead of failing.
mounted_again_at_once() {
  local i
  for i in {1..5}; do
    head -c 20000000 /dev/urandom >"$mnt/large"
    if is_root; then umount "$mnt"; else fusermount3 -u "$mnt"; fi
    mount_store
    same "$(stat -c %s "$mnt/large")" 20000000 "size, round $i"
  done
  cairnfs umount "$mnt"
  fsck.cairnfs "$store" >/dev/null # needs the lock, and does not wait
  mount_store
}

# By the name of its type, as mount(8) does it, and as mount.fuse(8) does.
remounted_read_only() {
  is_root || return 0
  cairnfs "$store" "$mnt" -o rw,dev,suid
  is_mounted "$mnt" || fail "mounted as mount.fuse does"
  mount.fuse.cairnfs "$store" "$mnt" -o "remount,ro,user_id=0,cache_size=8M"
  fails_with "Read-only file system" touch "$mnt/x"
  mount.fuse.cairnfs "$store" "$mnt" -o rw,remount
  touch "$mnt/x"
  # With a bind mount of it, the store stays open when one of the two goes, and nobody waits for it.
  mkdir -p second
  mount --bind "$mnt" second
  timeout 30 cairnfs umount "$work/second" || fail "umount of a bind mount: $?"
  touch "$mnt/x"
  cairnfs umount "$mnt"
  mount.cairnfs -o ro "$store" "$mnt"
  expect_error 1 "read-only" "mount it again" -- mount.fuse.cairnfs "$store" "$mnt" -o remount,rw
  cairnfs umount "$mnt"
}

the_helper_of_mount() {
  cairnfs umount "$mnt"
  mount.cairnfs "$store" "$mnt" -f -o rw
  ! is_mounted "$mnt" || fail "-f is fake"
  mount.cairnfs "$store" "$mnt" -n -s -o rw,noauto,_netdev,x-systemd.automount,noexec
  is_mounted "$mnt" || fail "mount.cairnfs"
  printf '#!/bin/sh\n' >"$mnt/script" && chmod +x "$mnt/script"
  fails_with "Permission denied" "$mnt/script"
  cairnfs umount "$mnt"
  mount.cairnfs -o ro "$store" "$mnt"
  fails_with "Read-only file system" touch "$mnt/x"
  cairnfs umount "$mnt"

  remounted_read_only

  mkfifo log
  cairnfs mount -f "$store" "$mnt" 2>log &
  children+=($!)
  local daemon=$!
  grep -m 1 -q "mounted store=" log || fail "no word of the foreground daemon"
  is_mounted "$mnt" || fail "not mounted in the foreground"
  same "$(daemon_pid)" "$daemon" "pid of the foreground daemon"
  cat log >/dev/null &
  children+=($!)
  cairnfs umount "$mnt"
  wait "$daemon" || fail "exit code of the foreground daemon: $?"
  rm log
  mount_store
}

one_after_another() {
  ended_by_a_signal
  ended_by_a_crash
  ended_while_in_use
  keeps_nothing_of_the_caller
  mounted_again_at_once
  the_helper_of_mount
}

same "$(cairnfs --version | cut -d' ' -f1)" cairnfs "--version"
for command in "cairnfs" "cairnfs mount" "cairnfs umount" "mkfs.cairnfs" "fsck.cairnfs" "mount.cairnfs"; do
  $command --help | grep -q . || fail "$command --help"
done
in_both_modes one_after_another
