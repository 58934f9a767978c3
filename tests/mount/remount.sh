#!/bin/bash
# A copy of a real tree, with links, attributes and times of all kinds, is the same before and after remounts.
. "$(dirname "$0")/lib.sh"
need rsync setfattr

# What a headers' directory lacks.
make_oddities() {
  mkdir -p "$1/odd" && (
    cd "$1/odd"
    printf 'x' >'name with blanks and ümläut'
    printf 'y' >$'new\nline'
    ln 'name with blanks and ümläut' hard-link
    ln -s no-such-target dangling
    ln -s "$(printf 't%.0s' {1..4000})" long-symlink
    mkdir -p deep/er/and/deeper
    mkfifo fifo
    head -c 300000 /dev/urandom >random
    setfattr -n user.note -v "$(printf 'v%.0s' {1..2000})" random
    truncate -s 5M hole
    chmod 4755 random && chmod 1777 deep && chmod 000 'name with blanks and ümläut'
    touch -h -d '1999-12-31 23:59:59.987654321' dangling deep/er random
    : >empty
  )
}

make_oddities "$work/original"
cp -a "$(sample_tree)" "$work/original/headers"

remount_equality() {
  cp -a "$work/original" "$mnt/"
  same_tree "$work/original" "$mnt/original"
  remount
  same_tree "$work/original" "$mnt/original"
  # Changed after the remount, and once more remounted.
  for dir in "$work/original" "$mnt/original"; do
    rm -rf "$dir/odd/deep"
    mv "$dir/odd/random" "$dir/moved"
    echo more >>"$dir/moved"
    ln -f "$dir/moved" "$dir/odd/empty"
    touch -d '2020-01-01' "$dir/moved" "$dir/odd" "$dir"
  done
  same_tree "$work/original" "$mnt/original"
  remount
  same_tree "$work/original" "$mnt/original"
  rm -rf "$work/original.next" && mv "$work/original" "$work/original.next" # the next mode starts anew
  make_oddities "$work/original"
  cp -a "$(sample_tree)" "$work/original/headers"
  # A read-only mount shows the same and changes nothing.
  umount_store
  mount_store -o ro
  same_tree "$work/original.next" "$mnt/original"
  fails_with "Read-only file system" touch "$mnt/x"
}

in_both_modes remount_equality
