#!/bin/bash
# Each wrong use gives one line that names the trouble, an exit code other than 0, and changes nothing on disk.
. "$(dirname "$0")/lib.sh"
need python3
mode=cas
mkdir area && cd area # error messages go to $work, beside what is compared

# Everything that lies in a directory: names, kinds, modes, sizes, times and bytes.
snapshot() {
  (cd "$1" && find . -printf '%p %y %m %s %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0r sha256sum)
}
# refused DIR ... : like expect_error, and DIR is what it was before.
refused() {
  local dir=$1 before
  shift
  before=$(snapshot "$dir")
  expect_error "$@"
  same "$(snapshot "$dir")" "$before" "what lies in $dir"
}

make_store
cp -a "$store" pristine
mkdir empty other point
echo something >other/file

# Stores that are none, or are not ours to read.
refused other any "other" "mkfs.cairnfs" -- cairnfs mount other point
refused empty any "empty" "mkfs.cairnfs" -- cairnfs mount empty point
refused . any "no-such-store" "mkfs.cairnfs" -- cairnfs mount no-such-store point
refused . any "other/file" -- cairnfs mount other/file point
refused other 8 "other" -- fsck.cairnfs other
refused . 8 "no-such-store" -- fsck.cairnfs no-such-store

cp -a pristine newer
printf '\x02' | dd of=newer/superblock bs=1 seek=8 conv=notrunc status=none
refused newer any "newer" "version" -- cairnfs mount newer point
refused newer 8 "newer" "version" -- fsck.cairnfs newer
refused newer any "newer" -- mkfs.cairnfs newer

cp -a pristine cut
truncate -s 100 cut/superblock
refused cut any "cut/superblock" "truncated" -- cairnfs mount cut point
cp -a pristine scribbled
printf 'x' | dd of=scribbled/superblock bs=1 seek=40 conv=notrunc status=none
refused scribbled any "scribbled/superblock" -- cairnfs mount scribbled point

# Mount points.
refused "$store" any "no-such-point" "mkdir" -- cairnfs mount "$store" no-such-point
refused "$store" any "other/file" "directory" -- cairnfs mount "$store" other/file
refused "$store" any "in one another" -- cairnfs mount "$store" "$store/segments"
refused "$store" any "in one another" -- cairnfs mount "$store" "$work"
refused . any "point" "nothing is mounted" -- cairnfs umount point
refused . any "/proc" "proc" -- cairnfs umount /proc
mount_store
refused pristine any "$mnt" "busy" "cairnfs umount" -- cairnfs mount pristine "$mnt"
expect_error any "$store" "pid $(daemon_pid)" "$mnt" -- cairnfs mount "$store" point
expect_error 8 "pid $(daemon_pid)" "$mnt" -- fsck.cairnfs "$store"
expect_error any "pid $(daemon_pid)" -- mkfs.cairnfs --force "$store"
(cd "$mnt" && expect_error any "busy" "fuser" -- cairnfs umount "$mnt")
echo fine >"$mnt/file" && same "$(cat "$mnt/file")" fine "the mount after all that"
umount_store
check_store

# Options.
refused "$store" any "unknown option 'write_back'" "noatime" -- cairnfs mount -o ro,write_back "$store" point
refused "$store" any "max_threads" -- cairnfs mount -o max_threads=many "$store" point
refused "$store" any "--help" -- cairnfs mount "$store"
expect_error any "unknown command 'mout'" -- cairnfs mout
expect_error any "--help" -- cairnfs
expect_error any "STORE is empty" -- cairnfs mount "" "$mnt"
expect_error any "MOUNTPOINT is empty" -- cairnfs stat ""
expect_error any "STORE is empty" -- mkfs.cairnfs ""
expect_error 16 "STORE is empty" -- fsck.cairnfs ""
expect_error 16 "--help" -- fsck.cairnfs
expect_error 16 "--help" -- fsck.cairnfs --everything "$store"
expect_error 16 "-n" -- fsck.cairnfs -n --rebuild-index "$store"

# mkfs.
refused . any "16M" -- mkfs.cairnfs --mode cache --limit 15M new
refused . any "--limit" -- mkfs.cairnfs --mode cache new
refused . any "--limit" "cache" -- mkfs.cairnfs --limit 1G new
refused . any "zip" "lz4" -- mkfs.cairnfs --compression zip new
refused . any "zstd" -- mkfs.cairnfs --compression zstd:99 new
refused . any "'12X'" "size" -- mkfs.cairnfs --chunk-size 12X new
refused . any "chunk size" -- mkfs.cairnfs --chunk-size 5000 new
refused . any "segment size" -- mkfs.cairnfs --segment-size 1K new
refused . any "unknown mode 'both'" -- mkfs.cairnfs --mode both new
refused . any "no-such-parent" -- mkfs.cairnfs no-such-parent/new
refused other any "other" "empty" -- mkfs.cairnfs other
refused other any "other" -- mkfs.cairnfs --force other
refused "$store" any "--force" -- mkfs.cairnfs "$store"
refused . any "other/file" -- mkfs.cairnfs other/file
mkfs.cairnfs --force "$store"
mount_store
[ ! -e "$mnt/file" ] || fail "mkfs --force kept the old tree"
umount_store

# What needs root to set up: a machine without /dev/fuse, and a user who may not say allow_other.
if is_root && unshare -m true 2>/dev/null; then
  cat >without-fuse <<'SH'
mount -t tmpfs none /dev && exec "$@"
SH
  refused "$store" any "/dev/fuse" "modprobe" -- unshare -m bash without-fuse cairnfs mount "$store" point

  mkdir -m 755 public && cp "$(command -v cairnfs)" public/
  chmod 711 "$work"
  (cd public && ./cairnfs mkfs store && mkdir mnt && chown -R 65534:65534 store mnt)
  cat >as-nobody <<'SH'
mount --bind /dev/null /etc/fuse.conf && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
SH
  refused public any "/etc/fuse.conf" "user_allow_other" -- \
    unshare -m bash as-nobody "$PWD/public/cairnfs" mount -o allow_other "$PWD/public/store" "$PWD/public/mnt"
else
  say "not root: the cases without /dev/fuse and without user_allow_other are left out"
fi
