#!/bin/bash
# POSIX access control lists with -o acl: what getfacl and stat show is what they show on ext4, and other users may do what
# the lists let them.
. "$(dirname "$0")/lib.sh"
is_root || skip "only root can become somebody else"
need setfacl getfacl getfattr setpriv
chmod 711 "$work"

as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
shown() { (cd "$1" && find . | sort | getfacl -npP - 2>&1 && find . -printf "%p %m %U:%G\n" | sort); }

change_lists() { # in the present directory
  umask 027
  touch file && mkdir -m 755 dir
  setfacl -m u:1000:rw,g:2000:r file
  setfacl -m u:1000:rwx,d:u:1000:rwx,d:g:2000:rx,d:o::- dir
  touch dir/inherited && mkdir dir/below && touch dir/below/deep && ln -s inherited dir/link && mkfifo dir/fifo
  (umask 077 && touch dir/strict && mkdir dir/below/strict)
  chmod 640 dir/inherited && chmod 700 dir/below/strict && chmod g+s dir/below
  mkdir dir/below/setgid
  touch minimal && setfacl -m u::rw,g::r,o::r minimal
  touch removed && setfacl -m u:1000:r removed && setfacl -b removed && setfacl -b removed && setfacl -k dir/below/setgid
  cp -a dir copied && mv file dir/moved && ln dir/moved linked && setfacl -m m::r linked
  touch many
  setfacl -M <(seq -f 'u:%.0f:r' 1 200) many
  getfacl -R dir | (mkdir restored && cd restored && cp -r ../dir . && setfacl --restore=-)
  ! setfacl -m d:u:1000:rwx minimal 2>/dev/null || fail "a default list for a file"
}

lists_as_on_ext4() {
  umount_store
  mount_store -o acl
  chmod 755 "$work/$mode" "$mnt"
  rm -rf "$work/beside" && mkdir "$work/beside" "$mnt/here"
  (cd "$work/beside" && change_lists)
  (cd "$mnt/here" && change_lists)
  shown "$work/beside" >"$work/beside.acl"
  shown "$mnt/here" >"$work/here.acl"
  diff "$work/beside.acl" "$work/here.acl" >&2 || fail "lists differ from those of ext4"

  chmod 755 "$mnt/here" && chmod 711 "$mnt/here/dir"
  setfacl -m u:1000:rwx "$mnt/here/dir"
  as 1000 sh -c "echo written >>$mnt/here/dir/moved" && fail "the mask lets nobody write"
  setfacl -m m::rw "$mnt/here/dir/moved"
  as 1000 sh -c "echo written >>$mnt/here/dir/moved" || fail "user 1000 may write"
  fails_with "Permission denied" as 1001 cat "$mnt/here/dir/moved"
  fails_with "Permission denied" as 1001 ls "$mnt/here/dir"
  as 2000 cat "$mnt/here/dir/moved" >/dev/null || fail "group 2000 may read"
  as 1000 touch "$mnt/here/dir/new" || fail "user 1000 may make files"
  fails_with "Operation not permitted" as 1000 setfacl -m u:1001:rw "$mnt/here/dir/moved"

  shown "$mnt/here" >"$work/here.acl"
  umount_store
  mount_store -o acl
  shown "$mnt/here" >"$work/again.acl"
  diff "$work/here.acl" "$work/again.acl" >&2 || fail "lists after a remount"
  umount_store
  mount_store
  same "$(getfattr -d -m - "$mnt/here/many")" "" "lists without -o acl"
  fails_with "Operation not supported" setfacl -m u:1000:r "$mnt/here/minimal"
}

in_both_modes lists_as_on_ext4
