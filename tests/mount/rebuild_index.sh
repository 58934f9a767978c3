#!/bin/bash
# Without manifest and index the mount says what to do, fsck --rebuild-index does it, and the tree is the same.
. "$(dirname "$0")/lib.sh"
need rsync

for mode in cas cache; do
  make_store
  mount_store
  cp -a "$(sample_tree)" "$work/original.$mode"
  mkfifo "$work/original.$mode/fifo"
  ln "$work/original.$mode/"*.h "$work/original.$mode/linked.h" 2>/dev/null || echo hard >"$work/original.$mode/file"
  cp -a "$work/original.$mode" "$mnt/tree"
  echo x >"$mnt/gone" && rm "$mnt/gone"
  remount
  echo later >"$mnt/later"
  rm -r "$mnt/tree" # erased and written again: the rebuilt index must not bring old entries back
  cp -a "$work/original.$mode" "$mnt/tree"
  umount_store
  check_store

  rm -rf "$store/manifest" "$store/index"
  expect_error any "$store" "fsck.cairnfs --rebuild-index" -- cairnfs mount "$store" "$mnt"
  code=0
  fsck.cairnfs -n "$store" >fsck.out 2>&1 || code=$?
  same "$code" 4 "exit code of fsck without an index"
  grep -q -- --rebuild-index fsck.out || fail "fsck does not name the remedy: $(cat fsck.out)"
  code=0
  fsck.cairnfs --rebuild-index "$store" >fsck.out 2>&1 || code=$?
  same "$code" 1 "exit code of fsck --rebuild-index ($(cat fsck.out))"
  check_store

  mount_store
  same_tree "$work/original.$mode" "$mnt/tree"
  same "$(cat "$mnt/later")" later "a file beside the tree"
  same "$(ls -A "$mnt" | sort | tr '\n' ' ')" "later tree " "names in the root"
  echo writable >"$mnt/new"
  remount
  same "$(cat "$mnt/new")" writable "written after the rebuild"
  umount_store
  check_store
done
