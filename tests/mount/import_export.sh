#!/bin/bash
# cairnfs import and export: into and out of a store at rest and one that is mounted, all that a tree has; again, after a kill.
. "$(dirname "$0")/lib.sh"
. "$here/apps/archives.sh"
need rsync setfattr python3

# said COMMAND...: it must work; what it says is in $work/said.
said() { "$@" >"$work/said" 2>&1 || fail "$*: $(cat "$work/said")"; }

there_and_back() {
  said cairnfs import "$plain" "$store:kept/here"
  mount_store
  same_odd_tree "$plain" "$mnt/kept/here"
  same "$(stat -c %a "$mnt/kept")" 755 "a directory on the way"
  rm -rf out
  said cairnfs export "$store:kept/here" out # mounted
  same_odd_tree "$plain" out
  said cairnfs import "$plain" "$mnt:again" # by the name of the mount point
  same_odd_tree "$plain" "$mnt/again"
  umount_store
  check_store
  rm -rf out
  said cairnfs export "$store:/kept/here/" out
  same_odd_tree "$plain" out
  [ "$(du -k out/sparse | cut -f1)" -lt 10000 ] || fail "a sparse file became dense"
  said cairnfs export -q "$store" all
  same_odd_tree "$plain" all/again
  [ ! -s said ] || fail "-q, but: $(cat said)"
  rm -r all
}

# What is there already is not copied again; what changed is; nothing else is touched.
again() {
  local files
  files=$(find "$plain" -mindepth 1 -printf . | wc -c)
  said cairnfs import "$plain" "$store:kept/here"
  grep -q "imported $files files, 0 B in" said || fail "copied again: $(cat said)"
  mount_store
  echo mine >"$mnt/kept/here/mine"
  rm "$mnt/kept/here/headers/"*.h # as if these had not come yet
  echo other >"$mnt/kept/here/deep/link"
  echo other >"$mnt/kept/here/dangling.new" && mv "$mnt/kept/here/dangling.new" "$mnt/kept/here/dangling"
  chmod 777 "$mnt/kept/here/deep"
  umount_store
  said cairnfs import "$plain" "$store:kept/here"
  mount_store
  same "$(cat "$mnt/kept/here/mine")" mine "a file of somebody else's"
  rm "$mnt/kept/here/mine"
  same_odd_tree "$plain" "$mnt/kept/here" --omit-dir-times
  umount_store
  check_store
}

access_lists() {
  command -v setfacl >/dev/null || return 0
  rm -rf listed out
  mkdir listed && echo x >listed/file && setfacl -m u:1234:r listed/file && setfacl -d -m g:99:rx listed || return 0
  said cairnfs import listed "$store:listed"
  said cairnfs export "$store:listed" out
  same "$(cd out && getfacl -Rn .)" "$(cd listed && getfacl -Rn .)" "access control lists"
}

# Files of the target with several names: each becomes one file of the source or stays what it was for its other names.
other_links() {
  local i
  rm -rf linked linked.out onto others
  mkdir linked onto others
  for i in {1..20}; do echo "first $i" >"linked/a$i" && ln "linked/a$i" "linked/b$i"; done
  said cairnfs import linked "$store:linked"
  rm -r linked && mkdir linked
  for i in {1..20}; do
    echo "second $i" >"linked/a$i" && ln "linked/a$i" "linked/c$i"
    echo "third $i" >"linked/b$i" && ln "linked/b$i" "linked/d$i"
    # Of another time: with the same size and time it would be taken for the same.
    echo precious >"others/$i" && touch -d 2001-01-01 "others/$i" && ln "others/$i" "onto/a$i" && ln "others/$i" "onto/b$i"
  done
  said cairnfs import linked "$store:linked"
  said cairnfs export "$store:linked" linked.out
  same_odd_tree linked linked.out
  said cairnfs export "$store:linked" onto
  same_odd_tree linked onto
  same "$(sort -u others/*)" precious "what has other names in the target"
}

# Deeper than a path can say; names that a terminal would obey; an attribute that there is no room for.
awkward() {
  rm -rf awkward awkward.out
  mkdir awkward
  python3 - <<'PY'
import os
def down(make):
    for i in range(40):
        if make: os.mkdir(f"{i}" + "x" * 200)
        os.chdir(f"{i}" + "x" * 200)
os.chdir("awkward")
down(True)
open("leaf", "w").write("deep")
os.symlink("leaf", "link")
os.chmod("leaf", 0o640)
os.setxattr("leaf", "user.depth", b"40")
os.utime("leaf", (1, 1))
PY
  said cairnfs import awkward "$store:awkward"
  said cairnfs export "$store:awkward" awkward.out
  python3 - <<'PY'
import os
os.chdir("awkward.out")
for i in range(40): os.chdir(f"{i}" + "x" * 200)
st = os.stat("leaf")
assert open("leaf").read() == "deep" and os.readlink("link") == "leaf"
assert st.st_mode & 0o7777 == 0o640 and st.st_mtime == 1 and os.getxattr("leaf", "user.depth") == b"40"
PY
  rm -rf awkward.out
  mount_store
  mkdir -p "$mnt/attribute" outside
  for i in {1..9}; do echo "$i" >"$mnt/attribute/$i"; done
  chmod 640 "$mnt/attribute/"*
  setfattr -n user.large -v "$(printf 'v%.0s' {1..60000})" "$mnt/attribute/5"
  echo "$mode" >"$mnt/attribute/"$'esc\e[2J\nape' && mkdir -p "onto/attribute/"$'esc\e[2J\nape'
  # A path below a mount goes through no link, as below a store at rest.
  ln -s "$work/outside" "$mnt/way-out"
  expect_error any "way-out" -- cairnfs import "$plain" "$mnt:way-out"
  expect_error any "way-out" -- cairnfs import "$plain" "$mnt:way-out/further"
  expect_error any "'..'" -- cairnfs import "$plain" "$mnt:../outside"
  same "$(ls outside)" "" "what came out of the mount"
  rm "$mnt/way-out"
  umount_store
  ! cairnfs export "$store:attribute" onto/attribute >said 2>&1 || fail "an attribute of 60,000 bytes, and a directory in the way"
  grep -qF 'esc\x1b[2J ape: ' said || fail "a name that a terminal obeys: $(cat -v said)"
  same "$(cd onto/attribute && cat {1..9} | tr -d '\n')" 123456789 "files beside an attribute that is too large"
  same "$(stat -c %a onto/attribute/5)" 640 "the mode of a file of which an attribute is too large"
  for jobs in 0 129 100000 -1; do expect_error any "jobs" -- cairnfs import -j "$jobs" "$plain" "$store"; done
  said cairnfs import -j 128 "$plain" "$store:jobs"
  said cairnfs import -j 1 "$plain" "$store:jobs"
  rm -rf awkward onto
}

# What does not fit into a cache is not said to be there.
too_much() {
  local way
  [ "$mode" = cache ] || return 0
  mkdir many && for i in {1..200}; do head -c 500K /dev/urandom >"many/$i"; done
  for way in at_rest mounted; do
    mkfs.cairnfs --force --mode cache --limit 32M "$store"
    [ $way = at_rest ] || mount_store
    ! cairnfs import many "$store:many" >said 2>&1 || fail "100 MB in a cache of 32 MiB, $way: $(cat said)"
    grep -q "cairnfs: [0-9]* of these are not there any more" said || fail "$way: $(cat said)"
    [ $way = at_rest ] || umount_store
    check_store
  done
  rm -r many
}

# Killed on the way, at several places, and started again: it comes to the same end. In cache mode only what was sealed stays.
killed() {
  local moment
  mkfs.cairnfs --force --mode "$mode" ${limit:+--limit "$limit"} "$store"
  for moment in 0.05 0.1 0.2 0.4; do
    { timeout -s KILL "$moment" cairnfs import -q "$large" "$store:large" || true; } 2>/dev/null
    wait_for_lock
    fsck.cairnfs --scrub "$store" >fsck.out || fail "fsck after a kill: $(cat fsck.out)"
  done
  said cairnfs import "$large" "$store:large"
  mount_store
  same_tree "$large" "$mnt/large"
  umount_store
  check_store
}

refusals() {
  expect_error any "no-such-store" "mkfs.cairnfs" -- cairnfs import "$plain" no-such-store:x
  expect_error any "no-such-directory" "No such file" -- cairnfs import no-such-directory "$store"
  expect_error any "no-such-path" -- cairnfs export "$store:no-such-path" out
  expect_error any "may not lie in one another" -- cairnfs import "$work" "$store"
  expect_error any "may not lie in one another" -- cairnfs export "$store" "$store/out"
  expect_error any "'..'" -- cairnfs import "$plain" "$store:../x"
  expect_error any "plain/file" -- cairnfs import "$plain/file" "$store"
  expect_error any "--help" -- cairnfs import "$plain"
  mount_store
  rm -rf "$mnt/kept/here/file" && mkdir "$mnt/kept/here/file"
  echo replaced >"$mnt/kept/here/deep.new" && rm -rf "$mnt/kept/here/deep" && mv "$mnt/kept/here/deep.new" "$mnt/kept/here/deep"
  umount_store
  ! cairnfs import "$plain" "$store:kept/here" >said 2>&1 || fail "directories in the way were passed over"
  grep -q "cairnfs: deep: .*directory" said && grep -q "cairnfs: file: .*directory" said &&
    grep -q "2 files could not be copied" said || fail "what was said: $(cat said)"
  mount_store
  same "$(cat "$mnt/kept/here/deep")" replaced "a file in a directory's place"
  same "$(stat -c %s "$mnt/kept/here/sparse")" 52428800 "the rest"
  umount_store
}

plain=$work/plain large=$work/large
odd_tree "$plain"
cp -a "$(sample_tree)" "$large"
for i in {1..20}; do head -c 3M /dev/urandom >"$large/random$i"; done
for mode in ${CAIRNFS_MODES:-cas cache}; do
  limit=
  [ "$mode" = cas ] || limit=$cache_limit
  make_store
  there_and_back
  again
  access_lists
  refusals
  other_links
  awkward
  killed
  too_much
done
