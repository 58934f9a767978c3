#!/bin/bash
# How many requests the kernel sends for what programs do most: each costs a change of threads there and back.
. "$(dirname "$0")/lib.sh"
need python3
is_root || skip "only root can watch the kernel's requests"
tracing=/sys/kernel/tracing
[ -d "$tracing/instances" ] || mount -t tracefs nodev "$tracing" 2>/dev/null || skip "this kernel has no tracefs"
[ -d "$tracing/events/fuse/fuse_request_send" ] || skip "this kernel does not trace FUSE requests"
trace=$tracing/instances/cairnfs-$$
mkdir "$trace"
trap 'rmdir "$trace"; at_exit' EXIT

# requests_of N MOST COMMAND...: runs it, which does something N times, and expects at most MOST requests for each.
requests_of() {
  local times=$1 most=$2 sent connection
  shift 2
  connection=$(($(stat -c %d "$mnt") & 0xff | ($(stat -c %d "$mnt") >> 12 & 0xfff00)))
  echo "connection == $connection" >"$trace/events/fuse/fuse_request_send/filter"
  echo >"$trace/trace"
  echo 1 >"$trace/events/fuse/fuse_request_send/enable"
  "$@"
  echo 0 >"$trace/events/fuse/fuse_request_send/enable"
  sent=$(grep -c 'opcode' "$trace/trace" || true)
  [ "$sent" -gt 0 ] || fail "no request seen of: $*"
  [ "$sent" -le $((times * most + 10)) ] ||
    fail "$sent requests for $times times $*: $(grep -o 'FUSE_[A-Z0-9]*' "$trace/trace" | sort | uniq -c | tr -s '\n ' ' ')"
}

files=200
create() {
  python3 - "$mnt/dir" $files <<'END'
import os, sys
for i in range(int(sys.argv[2])):
    fd = os.open(f"{sys.argv[1]}/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"x" * 4096)
    os.close(fd)
END
}
read_all() {
  python3 - "$mnt/dir" $files <<'END'
import os, sys
for i in range(int(sys.argv[2])):
    fd = os.open(f"{sys.argv[1]}/{i}", os.O_RDONLY)
    assert os.read(fd, 4096) == b"x" * 4096
    os.close(fd)
END
}
stat_all() { stat "$mnt"/dir/* >"$work/stat.out"; }

count_requests() {
  mkdir "$mnt/dir"
  requests_of $files 6 create
  requests_of $files 2 read_all # its pages are there since it was written
  stat_all
  requests_of 1 3 stat_all # attributes are kept
  remount
  stat_all
  requests_of $files 3 read_all
  requests_of $files 2 read_all
  remount
  stat_all
  requests_of $files 2 read_all # the time of access is new enough: content comes with the open
  requests_of 1 3 stat_all      # and attributes stay
}
in_both_modes count_requests
