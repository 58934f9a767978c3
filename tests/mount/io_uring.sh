#!/bin/bash
# Requests over io_uring: used where it can be had, refused with a reason where it cannot, and the same file system either way.
. "$(dirname "$0")/lib.sh"
need python3
parameter=/sys/module/fuse/parameters/enable_uring
before=$(cat "$parameter" 2>/dev/null || echo none)
restore() { [ "$before" = none ] || echo "$before" >"$parameter"; }
set_parameter() { echo "$1" 2>/dev/null >"$parameter"; }

ring_threads() { cat /proc/"$(daemon_pid)"/task/*/comm | grep -c '^fuse-ring-' || true; }

# What is told apart by the build and the kernel.
mode=cas
make_store
expect_error 1 "io_uring=maybe" "auto, on or off" -- cairnfs mount -o io_uring=maybe "$store" "$mnt"
if cairnfs mount -o io_uring=on "$store" "$mnt" 2>"$work/why"; then
  mounted+=("$mnt")
  umount_store
elif grep -q 'Dlibfuse=wrap' "$work/why"; then
  # This build cannot: auto works all the same, and says nothing that its user could not act on.
  mount_store 2>"$work/hint"
  same "$(cat "$work/hint")" "" "output of a mount"
  same "$(ring_threads)" 0 "threads that serve rings"
  umount_store
  exit 0
elif [ "$before" = none ]; then
  grep -q 'Linux 6.14' "$work/why" || fail "no reason in: $(cat "$work/why")"
  exit 0
elif ! set_parameter Y; then
  skip "fuse.enable_uring is off, and $(id -un) may not switch it on"
fi
trap 'restore; at_exit' EXIT

# Switched off in the kernel: a mount says how to switch it on and works; io_uring=on is refused.
if set_parameter N; then
  mount_store 2>"$work/hint"
  grep -q "hint: .*echo Y >$parameter" "$work/hint" || fail "no hint in: $(cat "$work/hint")"
  same "$(ring_threads)" 0 "threads that serve rings"
  umount_store
  expect_error 1 "echo Y >$parameter" -- cairnfs mount -o io_uring=on "$store" "$mnt"
  set_parameter Y
fi

# Many programs that sync at once: no thread that serves a CPU may wait for the disk for one of them, or this takes for ever.
synced_files() {
  python3 - "$mnt" <<'END'
import os, sys, threading
errors = []
def work(n):
    try:
        for i in range(40):
            path = f"{sys.argv[1]}/{n}-{i}"
            flags = os.O_SYNC if n % 4 == 0 else 0
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | flags)
            os.write(fd, bytes([n]) * (4096 + 100 * i))
            if not flags:
                os.fsync(fd)
            os.close(fd)
    except OSError as error:
        errors.append(error)
threads = [threading.Thread(target=work, args=[n]) for n in range(32)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(str(errors[0]) if errors else 0)
END
}
check_files() {
  python3 - "$mnt" <<'END'
import os, sys
for n in range(32):
    for i in range(40):
        with open(f"{sys.argv[1]}/{n}-{i}", "rb") as file:
            assert file.read() == bytes([n]) * (4096 + 100 * i), (n, i)
END
}

mount_store -o io_uring=on
[ "$(ring_threads)" -gt 0 ] || fail "no thread serves a ring"
synced_files
check_files
head -c 20M /dev/urandom >big
cp big "$mnt/big"
cmp big "$mnt/big"

# A thread is bound to its CPU, but not while somebody reads a large file: the kernel asks ahead, and the program has a use for its own.
free_threads() {
  local task free=0
  for task in /proc/"$(daemon_pid)"/task/*; do
    [[ $(cat "$task/comm") == fuse-ring-* ]] || continue
    grep -q '^Cpus_allowed_list:.*[,-]' "$task/status" && free=$((free + 1))
  done
  echo "$free"
}
# (Not where some CPUs are not ours: their threads cannot be bound.)
if [ "$(nproc)" -gt 1 ] && [ "$(nproc)" = "$(nproc --all)" ]; then
  same "$(free_threads)" 0 "unbound threads before anything large is read"
  umount_store
  mount_store -o io_uring=on
  cmp big "$mnt/big"
  [ "$(free_threads)" -gt 0 ] || fail "a large file was read by bound threads"
  for cpu in $(seq 0 $(($(nproc --all) - 1))); do
    taskset -c "$cpu" bash -c 'for i in {1..40}; do [ ! -e "$1/none.$2.$i" ]; done' - "$mnt" "$cpu"
  done
  same "$(free_threads)" 0 "unbound threads after small requests"
fi

# What was synced survives the daemon, and both transports show it.
kill -9 "$(daemon_pid)"
wait_for_lock
umount -l "$mnt"
mount_store -o io_uring=off
same "$(ring_threads)" 0 "threads that serve rings"
check_files
umount_store
mount_store
check_files
umount_store

# A daemon that is told to end while programs are at it ends cleanly.
mount_store -o io_uring=on
pid=$(daemon_pid)
python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(fd, b"x")
        os.fsync(fd)
except OSError:
    pass' "$mnt/again" &
children+=($!)
cp big "$mnt/big2"
until [ -s "$mnt/again" ]; do :; done
kill "$pid"
wait_for_end "$pid"
wait "${children[0]}" || true
children=()
check_store
