#!/usr/bin/env bash
# Where a store may lie: on a read-only file system, in the directory of another user.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
is_root || skip "needs root, to make mounts and to be several users"

nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env "PATH=$PATH" "$@"; }

# A backup on a disk that is mounted read-only can be read and checked; nothing there is touched.
read_only_medium() {
  make_store
  mount_store
  echo kept >"$mnt/file"
  umount_store
  local before
  before=$(cd "$store" && find . -type f -exec sha256sum {} + | sort)
  mount --bind "$store" "$store"
  mounted+=("$store")
  mount -o remount,bind,ro "$store"
  expect_error any "Read-only file system" -- fsck.cairnfs --rebuild-index "$store"
  if [ "$mode" = cas ]; then # a cache goes on without its disk, in memory
    expect_error any "read-only file system" "mount -o ro" -- cairnfs mount "$store" "$mnt"
    expect_error any "read-only file system" -- cairnfs import /etc/default "$store"
  fi
  mount_store -o ro
  same "$(cat "$mnt/file")" kept "file of a store that is read-only"
  fails_with "Read-only file system" touch "$mnt/new"
  expect_error 8 "in use by" -- fsck.cairnfs "$store"
  umount_store
  check_store
  same "$(cd "$store" && find . -type f -exec sha256sum {} + | sort)" "$before" "bytes of a store that is read-only"
  umount "$store"
}

# Root mounts, repairs and fills a user's store, and afterwards the user still has it.
somebody_elses() {
  store=$work/$mode/theirs mnt=$work/$mode/their-mnt
  mkdir -p "$mnt"
  chmod 755 "$work" "$work/$mode"
  mkdir "$store"
  chown 65534:65534 "$store" "$mnt"
  local limit=()
  [ "$mode" = cas ] || limit=(--limit "$cache_limit")
  nobody mkfs.cairnfs --mode "$mode" "${limit[@]}" "$store"
  mount_store
  echo kept >"$mnt/file"
  umount_store
  fsck.cairnfs --rebuild-index "$store" >/dev/null || same "$?" 1 "exit code of a rebuild"
  mkdir source
  echo imported >source/imported
  cairnfs import -q source "$store"
  rm -r source
  check_store
  same "$(find "$store" ! -user 65534)" "" "files that are not the user's"
  nobody fsck.cairnfs "$store" >/dev/null
}

for mode in ${CAIRNFS_MODES:-cas cache}; do
  read_only_medium
  somebody_elses
done
