#!/bin/bash
# One changed byte in a sealed segment: found by fsck --scrub, named with the file it belongs to, never read as content.
. "$(dirname "$0")/lib.sh"
need python3

# flip FILE_WITH_CONTENT: changes one byte of that content wherever the store holds it; prints the segment.
flip() {
  python3 - "$store" "$1" <<'PY'
import pathlib, sys
store, source = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
piece = source.read_bytes()[150000:150064]
for segment in sorted((store / "segments").iterdir()):
    data = segment.read_bytes()
    at = data.find(piece)
    if at >= 0:
        with open(segment, "r+b") as file:
            file.seek(at + 10)
            file.write(bytes([data[at + 10] ^ 0x04]))
        print(segment.name)
        break
else:
    sys.exit("the content is in no segment")
PY
}

for mode in cas cache; do
  make_store --compression none
  mount_store
  for name in first victim last; do
    head -c 1000000 /dev/urandom >"$work/$name.$mode"
    cp "$work/$name.$mode" "$mnt/$name"
  done
  umount_store
  check_store
  segment=$(flip "$work/victim.$mode")

  code=0
  fsck.cairnfs --scrub "$store" >fsck.out 2>&1 || code=$?
  same "$code" 4 "exit code of fsck --scrub"
  grep -qF "$segment" fsck.out || fail "fsck does not name $segment: $(cat fsck.out)"
  grep -q "record\|value" fsck.out || fail "fsck does not name the structure: $(cat fsck.out)"
  grep -q "/victim" fsck.out || fail "fsck does not name the file: $(cat fsck.out)"
  ! grep -q "/first\|/last" fsck.out || fail "fsck names files that are whole: $(cat fsck.out)"
  fsck.cairnfs --scrub --json "$store" >fsck.json || true
  python3 - "$segment" <<'PY'
import json, sys
report = json.load(open("fsck.json"))
assert report["exit_code"] == 4 and not report["clean"]
assert any(sys.argv[1] in f["file"] and f["structure"] and "/victim" in "".join(f["affected"]) for f in report["findings"]), report
PY

  mount_store
  cmp "$mnt/first" "$work/first.$mode" || fail "a whole file reads otherwise"
  cmp "$mnt/last" "$work/last.$mode" || fail "a whole file reads otherwise"
  # Page by page: an error (in cache mode the file may be gone), or the right bytes. Nothing else.
  python3 - "$mnt/victim" "$work/victim.$mode" "$mode" <<'PY'
import errno, os, sys
path, whole, mode = sys.argv[1], open(sys.argv[2], "rb").read(), sys.argv[3]
allowed = {"cas": {errno.EIO}, "cache": {errno.EIO, errno.ENOENT, errno.ESTALE}}[mode]
failures = 0
try:
    fd = os.open(path, os.O_RDONLY)
    for at in range(0, len(whole), 4096):
        try:
            got = os.pread(fd, 4096, at)
            assert got == whole[at:at + 4096], f"wrong bytes at {at}"
        except OSError as error:
            assert error.errno in allowed, error
            failures += 1
except OSError as error:
    assert error.errno in allowed, error
    failures += 1
assert failures > 0, "the damage was read"
assert failures < len(whole) // 4096 or mode == "cache", "the whole file is lost by one byte"
PY
  if [ "$mode" = cache ]; then
    say "the damaged file is a miss, and counted; it can be made again"
    for _ in $(seq 100); do [ -e "$mnt/victim" ] || break; sleep 0.1; done
    fails_with "No such file" cat "$mnt/victim"
    cairnfs stat --json "$mnt" >stat.json
    python3 - <<'PY'
import json
stat = json.load(open("stat.json"))
assert stat["evicted_damaged"] == 1 and stat["corrupt_reads"] >= 1, stat
assert stat["evicted_cold"] == stat["evicted_young"] == stat["evicted_group"] == 0, stat
PY
    cp "$work/victim.$mode" "$mnt/victim"
    cmp "$mnt/victim" "$work/victim.$mode" || fail "a file made again reads otherwise"
  fi
  echo new >"$mnt/new" && same "$(cat "$mnt/new")" new "a new file beside the damage"
  umount_store
done
