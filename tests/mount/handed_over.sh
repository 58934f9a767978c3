#!/bin/bash
# Small files whose content the kernel is given with their open, while they are written, cut, replaced and forgotten: a reader
# never sees less than was there when it opened, nor a mix.
. "$(dirname "$0")/lib.sh"
need python3
is_root || skip "only root can have the kernel forget files"

read_while_changed() {
  remount_noatime
  timeout 120 python3 "$here/handed_over.py" "$mnt" || fail "what was read is not what was there"
  [ "$(daemon_pid)" = "$pid" ] || fail "the daemon is gone"
  remount_noatime
  check_content
}
# Without times of access every first open hands over.
remount_noatime() {
  umount_store
  mount_store -o noatime
  pid=$(daemon_pid)
}
check_content() {
  local file
  for file in "$mnt"/d/*; do
    [ "$(stat -c %s "$file")" -eq "$(wc -c <"$file")" ] || fail "$file has another length than its attributes say"
  done
}
in_both_modes read_while_changed
