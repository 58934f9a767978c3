#!/bin/bash
# The tools of every day: cp, mv, ln, tar, sed -i, vim, >>, find, du, df.
. "$(dirname "$0")/lib.sh"
need rsync vim tar

everyday_tools() {
  cd "$mnt"
  local from
  from=$(sample_tree)

  cp -a "$from" copy
  same_tree "$from" copy
  tar -cf "$work/sample.tar" -C "$mnt" copy
  mkdir unpacked && tar -xf "$work/sample.tar" -C unpacked
  same_tree "$from" unpacked/copy

  mv unpacked/copy moved
  [ ! -e unpacked/copy ] || fail "mv left the old name"
  same_tree "$from" moved
  rm -r moved unpacked
  [ ! -e moved ] || fail "rm -r left something"

  echo one >file
  ln file hard && ln -s file soft
  same "$(stat -c %h file)" 2 "link count"
  same "$(stat -c %i file)" "$(stat -c %i hard)" "inode of a hard link"
  same "$(readlink soft)" file "symlink"
  echo two >>soft
  same "$(cat hard)" $'one\ntwo' "appended through a symlink"
  sed -i s/one/three/ file
  same "$(cat file)" $'three\ntwo' "sed -i"
  same "$(cat hard)" $'one\ntwo' "sed -i makes a new file, the hard link keeps the old one"
  same "$(stat -c %h hard)" 1 "link count after sed -i"
  mv hard file
  same "$(cat file)" $'one\ntwo' "mv over a file"

  printf '%s\n' 'normal! Gofour' 'wq' | vim -es -u NONE file
  same "$(cat file)" $'one\ntwo\nfour' "vim"

  same "$(find copy -type f | wc -l)" "$(find "$from" -type f | wc -l)" "files found"
  [ "$(du -s --apparent-size copy | cut -f1)" -gt 0 ] || fail "du sees nothing"
  [ "$(du -s copy | cut -f1)" -gt 0 ] || fail "du sees no blocks"
  same "$(df --output=source "$mnt" | tail -n 1)" "$store" "source in df"
  same "$(df --output=fstype "$mnt" | tail -n 1)" fuse.cairnfs "type in df"
  [ "$(df --output=size "$mnt" | tail -n 1)" -gt 0 ] || fail "df sees no room"
  # In cache mode df shows the limit: 512 MiB, less what the file system rounds.
  if [ "$mode" = cache ]; then same "$(df --output=size -BM "$mnt" | tail -n 1 | tr -d ' ')" 512M "size in df"; fi

  touch -d '2001-02-03 04:05:06.789' file
  same "$(stat -c %y file | cut -c1-23)" "2001-02-03 04:05:06.789" "mtime"
  chmod 640 file
  same "$(stat -c %a file)" 640 "mode"
}

in_both_modes everyday_tools
