#!/bin/bash
# Random system calls of several users on the mount and beside it: nothing may tell the two apart.
# CAIRNFS_STEPS says how many, CAIRNFS_SEED where they begin.
. "$(dirname "$0")/lib.sh"
is_root || skip "only root can become others"
[ "$(stat -f -c %T "$work")" = ext2/ext3 ] || skip "$work is not on ext4"

cannot_be_told_apart() {
  umount_store
  mount_store -o dev,suid # as the file system beside it
  local seed=${CAIRNFS_SEED:-$((RANDOM * 32768 + RANDOM))}
  mkdir -p "$work/reference"
  "$CAIRNFS_BIN/../tests/differential" --steps "${CAIRNFS_STEPS:-10000}" --seed "$seed" "$work/reference" "$mnt" ||
    fail "a difference, from seed $seed on"
}

in_both_modes cannot_be_told_apart
