#!/bin/bash
# Without manifest and index the mount says what to do, fsck --rebuild-index does it, and the tree is the same.
. "$(dirname "$0")/lib.sh"
need rsync

# Its files are named, what the index knows of them is not thrown away, and they cannot be read; all others can.
a_segment_is_gone() {
  rm -rf "${store:?}"
  make_store --segment-size 1M
  mount_store
  local i segment code=0 gone=""
  for i in {1..12}; do head -c 300000 /dev/urandom >"$mnt/file$i"; done
  umount_store
  for i in {1..4}; do
    mount_store
    head -c 1500000 /dev/urandom >"$mnt/more$i"
    umount_store
  done
  # One that the index covers: of the newest it has not yet taken over what they hold.
  for segment in "$store"/segments/*.seg; do
    mv "$segment" aside
    fsck.cairnfs -n "$store" >fsck.out 2>&1 || code=$?
    same "$code" 4 "exit code of fsck without $segment"
    if grep -q "affects /file" fsck.out; then gone=$segment && break; fi
    mv aside "$segment"
  done
  [ -n "$gone" ] || fail "fsck names no file of any segment that is missing: $(cat fsck.out)"
  code=0
  fsck.cairnfs --rebuild-index "$store" >/dev/null 2>error.err || code=$?
  same "$code" 8 "exit code of a rebuild that would only lose"
  grep -q "cairnfs export" error.err || fail "the refused rebuild does not say what to do: $(cat error.err)"
  mount_store
  for i in {1..12}; do
    if grep -q "affects /file$i\$" fsck.out; then
      ! cat "$mnt/file$i" >/dev/null 2>&1 || fail "file$i was in the segment, and can be read"
    else
      cat "$mnt/file$i" >/dev/null || fail "file$i was not in the segment"
    fi
  done
  umount_store
}

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

  a_segment_is_gone
done
