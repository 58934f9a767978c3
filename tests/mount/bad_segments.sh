#!/bin/bash
# A store directory in which something is not as the store left it: each time the mount serves the tree as it was, or
# refuses in one line that names the file and the fsck command. Nothing that lies there is deleted, and fsck speaks of it.
. "$(dirname "$0")/lib.sh"
need sha256sum timeout
foreign=00000000000000ff.seg # a number that no segment here has

tree_sum() { (cd "$1" && find . -type f ! -name data1 ! -name last -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
segments() { (cd "$1/segments" && find . -name '*.seg' -printf '%f\n' | sort); }
# What must not be deleted, by content since it may be set aside: all but the index and the segments that are written on.
contents() {
  (cd "$1" && find . -type f ! -path './index/*' ! -path './reserve/*' ! -name manifest ! -name lock \
    ! -name "$open" ! -name "$prepared" -print0 | xargs -0 sha256sum | cut -d' ' -f1 | sort -u)
}

# $1: a store of sealed segments, one that was open when the daemon died, and a manifest.
make_pristine() {
  make_store --segment-size 1M
  mount_store
  local i
  for i in 1 2 3; do
    head -c 900K /dev/urandom >"$mnt/data$i"
    remount # seals: data1 lies in the first segment
  done
  cp -a "$(sample_tree)" "$mnt/tree"
  remount
  seq 1000 >"$mnt/last"
  sync "$mnt/last" "$mnt"
  sum=$(tree_sum "$mnt") data1=$(sha256sum <"$mnt/data1")
  kill_daemon
  mv "$store" "$1"
}
kill_daemon() {
  kill -9 "$(daemon_pid)"
  wait_for_lock
  umount -l "$mnt"
}

# changed WHAT COMMAND...: the command alters a copy of the pristine store (it runs inside). Then all of the above must hold.
changed() {
  local what=$1 before
  shift
  rm -rf "$store"
  cp -a --sparse=always "$pristine" "$store"
  (cd "$store" && "$@") || fail "cannot set up: $what"
  before=$(contents "$store")
  open_or_refuse "$what"
  same "$(comm -23 <(echo "$before") <(contents "$store"))" "" "what is gone after: $what"
}
open_or_refuse() {
  local what=$1 code=0
  timeout 60 fsck.cairnfs --scrub "$store" >"$work/fsck.out" 2>&1 || code=$?
  if timeout 60 cairnfs mount "$store" "$mnt" 2>error.err; then
    mounted+=("$mnt")
    same "$(tree_sum "$mnt")" "$sum" "tree after: $what"
    got=$(sha256sum 2>/dev/null <"$mnt/data1") || { [ "$damage" = true ] && got=$data1; } || fail "data1 is gone after: $what"
    same "$got" "$data1" "data1 after: $what"
    [ "$mode" = cache ] || same "$(tail -n 1 "$mnt/last")" 1000 "the end of what was synced last, after: $what"
    echo works >"$mnt/new" && sync "$mnt/new"
    umount_store
    say "$what: fsck $code; opened"
  else
    same "$(wc -l <error.err)" 1 "lines of error after: $what ($(cat error.err))"
    grep -q "$store.*fsck.cairnfs" error.err || fail "$what: the refusal names no file and remedy: $(cat error.err)"
    same "$code" 4 "fsck before the refusal: $what ($(tail -1 fsck.out))"
    say "$what: fsck $code; refused: $(cat error.err)"
  fi
}
damage=false
# The same, and fsck must name $1.
named() {
  changed "${@:2}"
  grep -qF -- "$1" fsck.out || fail "$2: fsck does not speak of $1: $(cat fsck.out)"
}
# The same, and what was in the segment may be lost: data1 reads as an error or not at all, never as something else.
damaged() { damage=true named "$first" "$@"; }

for mode in cas cache; do
  pristine=$work/$mode.pristine
  make_pristine "$pristine"
  mapfile -t all < <(segments "$pristine")
  first=${all[0]} open=${all[-2]} prepared=${all[-1]}
  other=$work/$mode.other
  mine=("$sum" "$data1")
  make_pristine "$other"
  sum=${mine[0]} data1=${mine[1]}
  changed "nothing" true
  named "$foreign" "an empty segment" touch "segments/$foreign"
  named "$foreign" "a segment of zeroes" truncate -s 1M "segments/$foreign"
  named "$foreign" "only the header of a segment" bash -c "head -c 4096 segments/$first >segments/$foreign"
  named "$foreign" "a copy of a segment" cp "segments/$first" "segments/$foreign"
  named "$foreign" "a segment of another store" cp "$other/segments/$first" "segments/$foreign"
  damaged "a segment that another store's replaced" cp "$other/segments/$first" "segments/$first"
  damaged "a segment that is too long" bash -c "head -c 1M /dev/zero >>segments/$first"
  damaged "a segment that is too short" truncate -s 8192 "segments/$first"
  damaged "a segment that is empty" truncate -s 0 "segments/$first"
  named manifest "another store's manifest" cp "$other/manifest" manifest
  damaged "a symbolic link in the place of a segment" \
    bash -c "mv segments/$first elsewhere && ln -s ../elsewhere segments/$first"
  named "$open" "a symbolic link in the place of the open segment" \
    bash -c "mv segments/$open elsewhere && ln -s ../elsewhere segments/$open"
  named "$foreign" "a symbolic link among the segments" ln -s /etc/passwd "segments/$foreign"
  named "$foreign" "a FIFO among the segments" mkfifo "segments/$foreign"
  named "$foreign" "a directory among the segments" mkdir "segments/$foreign"
  named "$foreign" "a second name of a segment" ln "segments/$first" "segments/$foreign"
  named "note.txt" "a note among the segments" bash -c "echo mine >segments/note.txt"
  changed "a note in the store" bash -c "echo mine >note.txt"
  changed "a clock set back by years" find . -exec touch -d 2040-01-01 {} +
  if is_root; then changed "another owner's segment" chown 65534:65534 "segments/$first"; fi
done
