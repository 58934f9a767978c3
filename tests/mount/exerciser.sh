#!/bin/bash
# One file, random reads and writes of every kind: it holds what was written to it. CAIRNFS_OPERATIONS says how many in each
# mode, CAIRNFS_SEED where they begin.
. "$(dirname "$0")/lib.sh"

holds_what_was_written() {
  local seed=${CAIRNFS_SEED:-$((RANDOM * 32768 + RANDOM))}
  "$CAIRNFS_BIN/../tests/exerciser" --operations "${CAIRNFS_OPERATIONS:-25000}" --seed "$seed" "$mnt/file" ||
    fail "wrong content with seed $seed"
  local sum
  sum=$(sha256sum <"$mnt/file")
  remount
  same "$(sha256sum <"$mnt/file")" "$sum" "content after a remount"
}

in_both_modes holds_what_was_written
