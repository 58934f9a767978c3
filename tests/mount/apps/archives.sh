# rsync, tar and Debian packages: everything about a tree survives the way to the mount and back. Sourced by apps.sh.
# shellcheck shell=bash

# A tree with what archives care about: hard links, holes, devices, FIFOs, attributes, odd names, old times, other owners.
odd_tree() {
  mkdir -p "$1/deep/er" "$1/empty"
  cp -r "$(sample_tree)" "$1/headers"
  echo one >"$1/file" && ln "$1/file" "$1/deep/link" && ln "$1/file" "$1/deep/er/link" && ln -s ../file "$1/deep/symbolic"
  ln -s nowhere "$1/dangling" && mkfifo "$1/fifo"
  truncate -s 50M "$1/sparse" && echo end | dd of="$1/sparse" oflag=seek_bytes seek=30000000 conv=notrunc status=none
  setfattr -n user.colour -v green "$1/file"
  setfattr -n user.binary -v 0sAAECAwQF "$1/deep"
  touch "$1/$(printf 'odd \n\001 \377name')" "$1/$(printf 'n%.0s' {1..255})"
  touch -d '1999-12-31 23:59:59.123456789' "$1/deep/er" "$1/file"
  touch -h -d '2040-01-01 00:00:00.000000001' "$1/dangling"
  chmod 1777 "$1/empty" && chmod 2755 "$1/deep"
  is_root || return 0
  mknod "$1/null" c 1 3 && mknod "$1/disk" b 7 200 && chown 1234:4321 "$1/empty" && chmod 4755 "$1/file"
  setfattr -n trusted.secret -v value "$1/deep/er"
}

# same_odd_tree A B [rsync options]: as same_tree, but diff cannot tell whether two devices are the same.
same_odd_tree() {
  local changes
  changes=$(rsync -aHAXnc --delete --itemize-changes "${@:3}" "$1/" "$2/") || fail "rsync of $1 and $2"
  same "$changes" "" "rsync sees changes between $1 and $2"
}

app_rsync() {
  command -v rsync >/dev/null || lacks rsync
  local plain=$work/plain-rsync
  rm -rf "$plain" "$plain.back" && odd_tree "$plain"
  rsync -aHAXS "$plain/" there || fail "rsync to the mount"
  same_odd_tree "$plain" there
  rsync -aHAXS there/ "$plain.back" || fail "rsync from the mount"
  same_odd_tree "$plain" "$plain.back"
  echo changed >>"$plain/headers/new" && rm -r "$plain/deep/er"
  rsync -aHAXS --delete --inplace "$plain/" there || fail "a second rsync"
  same_odd_tree "$plain" there
  rm -rf "$plain" "$plain.back"
}

app_tar() {
  local plain=$work/plain-tar options=(--sparse --xattrs '--xattrs-include=*' --numeric-owner --format=posix)
  rm -rf "$plain" "$plain.back" && odd_tree "$plain" && mkdir there "$plain.back"
  tar "${options[@]}" -C "$plain" -cf "$plain.tar" . && tar "${options[@]}" -C there -xpf "$plain.tar" || fail "tar to the mount"
  same_odd_tree "$plain" there
  tar "${options[@]}" -C there -cf again.tar . && tar "${options[@]}" -C "$plain.back" -xpf again.tar || fail "tar from the mount"
  same_odd_tree "$plain" "$plain.back"
  [ "$(du -k there/sparse | cut -f1)" -lt 10000 ] || fail "a sparse file became dense"
  rm -rf "$plain" "$plain.back" "$plain.tar"
}

# Of packages that the network gives (--full), or of one that is made here.
app_debian_packages() {
  command -v dpkg-deb >/dev/null || lacks dpkg-deb
  local plain=$work/plain-deb deb
  mkdir -p "$plain" debs
  if $full; then
    (cd debs && apt-get -q download bash coreutils dpkg git grep gzip libc6 libc-bin login make mount ncurses-base perl-base \
      rsync sed sqlite3 tar util-linux vim-common zlib1g >/dev/null 2>&1) || lacks "the network, for apt-get download"
  else
    mkdir -p made/DEBIAN made/usr && cp -r "$(sample_tree)" made/usr/include
    printf 'Package: made\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n' >made/DEBIAN/control
    dpkg-deb -Znone --root-owner-group -b made debs/made.deb >/dev/null || fail "dpkg-deb -b"
  fi
  for deb in debs/*.deb; do
    rm -rf "$plain" there
    dpkg-deb -x "$deb" there || fail "dpkg-deb -x $deb"
    dpkg-deb -x "$deb" "$plain" || fail "dpkg-deb -x $deb beside the mount"
    same_odd_tree "$plain" there --omit-dir-times # dpkg-deb leaves those of some directories to the clock
  done
  rm -rf "$plain"
}
