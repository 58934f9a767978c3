#!/bin/bash
# The daemon as an ordinary user, through fusermount3: what is mounted is that user's alone, and works as root's does.
. "$(dirname "$0")/lib.sh"
is_root || skip "only root can become somebody else; every other test runs as an ordinary user already"
need setpriv fusermount3 python3
user=65534
as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups env HOME=/ PATH="$PATH" "$@"; }
if ! as_user test -r /dev/fuse; then
  # Distributions give it to everybody. Where it is root's alone we see, and use, a node of our own in its place.
  [ -z "${CAIRNFS_OWN_FUSE:-}" ] || skip "/dev/fuse is root's alone, and so is one that we make"
  { mknod -m 666 "$work/fuse" c 10 229 && unshare -m true; } 2>/dev/null || skip "/dev/fuse is root's alone"
  export CAIRNFS_OWN_FUSE=1
  exec unshare -m bash -c 'mount --bind "$1" /dev/fuse && exec "$0"' "$0" "$work/fuse"
fi
as_user cairnfs --version >/dev/null || skip "$CAIRNFS_BIN is not for everybody"

mounted_by_a_user() {
  store=$work/$mode/store mnt=$work/$mode/mnt
  chmod 711 "$work"
  mkdir -p "$mnt" && chown -R "$user:$user" "$work/$mode"
  local limit=()
  [ "$mode" = cas ] || limit=(--limit 512M)
  as_user mkfs.cairnfs --mode "$mode" "${limit[@]}" "$store"
  as_user cairnfs mount "$store" "$mnt"
  mounted+=("$mnt")
  is_mounted "$mnt" || fail "mount returned, but nothing is mounted on $mnt"
  same "$(ps -o uid= -p "$(daemon_pid)" | tr -d ' ')" "$user" "user of the daemon"
  fails_with "Permission denied" ls "$mnt" # root too: what others mount may be a trap
}

used_by_its_user() {
  as_user sh -ec "cd $mnt && mkdir dir && echo text >dir/file && ln dir/file link && ln -s dir symbolic && mv dir moved
    test \$(cat moved/file) = text && test \$(stat -c %h link) = 2 && chmod 4711 link && test \$(stat -c %a link) = 4711
    test \$(stat -c %u:%g link) = $user:$user && setfattr -n user.a -v b link && truncate -s 1M link"
  fails_with "Operation not permitted" as_user chown 0 "$mnt/link"
  fails_with "Operation not permitted" as_user mknod "$mnt/null" c 1 3
  fails_with "Operation not permitted" as_user setfattr -n trusted.a -v b "$mnt/link"
  as_user "$CAIRNFS_BIN/../tests/exerciser" --operations 1000 "$mnt/exercised" || fail "wrong content"
}

for mode in ${CAIRNFS_MODES:-cas cache}; do
  mounted_by_a_user
  used_by_its_user
  as_user cairnfs umount "$mnt"
  ! is_mounted "$mnt" || fail "still mounted"
  grep -q '^user_allow_other' /etc/fuse.conf ||
    fails_with "user_allow_other" as_user cairnfs mount -o allow_other "$store" "$mnt"
  as_user cairnfs mount "$store" "$mnt"
  same "$(as_user cat "$mnt/link" | tr -d '\0')" text "after a remount"
  kill "$(daemon_pid)"
  wait_for_lock
  ! is_mounted "$mnt" || fail "still mounted after SIGTERM"
  as_user fsck.cairnfs --scrub "$store" >/dev/null || fail "fsck"
done
