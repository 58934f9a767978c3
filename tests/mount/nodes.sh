#!/bin/bash
# Names and nodes of every kind: FIFOs, devices, sockets, extended attributes, rename flags, listings that change.
. "$(dirname "$0")/lib.sh"
need python3 setfattr getfattr

special_files() {
  mkfifo fifo
  [ -p fifo ] || fail "mkfifo"
  (echo through >fifo) &
  children+=($!)
  same "$(cat fifo)" through "FIFO"
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
  [ -S socket ] || fail "socket"
  if is_root; then
    mknod null c 1 3 && mknod disk b 7 200
    same "$(stat -c '%F %t %T' null)" "character special file 1 3" "character device"
    same "$(stat -c '%F %t %T' disk)" "block special file 7 c8" "block device"
    # nodev unless asked otherwise.
    fails_with "Permission denied" cat null
  fi
}

attributes() {
  echo x >attributed
  setfattr -n user.colour -v green attributed
  same "$(getfattr --only-values -n user.colour attributed)" green "attribute"
  python3 - attributed <<'PY'
import errno, os, sys
file = sys.argv[1]
def refused(code, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == code, (errno.errorcode[error.errno], args)
    else:
        raise AssertionError(f"not refused: {args}")
os.setxattr(file, "user.big", b"v" * 60000)
assert os.getxattr(file, "user.big") == b"v" * 60000
refused(errno.EEXIST, os.setxattr, file, "user.big", b"", os.XATTR_CREATE)
refused(errno.ENODATA, os.setxattr, file, "user.none", b"", os.XATTR_REPLACE)
refused(errno.ENODATA, os.getxattr, file, "user.none")
refused(errno.ENODATA, os.removexattr, file, "user.none")
refused(errno.EOPNOTSUPP, os.setxattr, file, "system.posix_acl_access", b"")
refused(errno.EOPNOTSUPP, os.setxattr, file, "colour", b"")
assert sorted(os.listxattr(file)) == ["user.big", "user.colour"], os.listxattr(file)
os.removexattr(file, "user.big")
PY
  remount_here
  same "$(getfattr --only-values -n user.colour attributed)" green "attribute after a remount"
  same "$(getfattr -d attributed | grep -c =)" 1 "number of attributes"
}

# When something was made: only libfuse 3.18 passes it on.
time_of_birth() {
  touch born
  local birth
  birth=$(stat -c %w born)
  [ "$birth" != - ] || return 0
  touch -d 2001-01-01 born && chmod 600 born && mv born reborn && echo text >reborn
  remount_here
  same "$(stat -c %w reborn)" "$birth" "time of birth"
  same "$(stat -c '%a %s %F' reborn)" "600 5 regular file" "attributes beside it"
}

remount_here() { cd "$work"; remount; cd "$mnt"; }

rename_flags() {
  python3 - <<'PY'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
def rename(old, new, flags):
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags) == 0:
        return 0
    return ctypes.get_errno()
def put(name, text):
    with open(name, "w") as file:
        file.write(text)
def get(name):
    with open(name) as file:
        return file.read()
put("a", "A"); put("b", "B"); os.mkdir("d"); put("d/inside", "I")
assert rename("a", "b", NOREPLACE) == errno.EEXIST
assert (get("a"), get("b")) == ("A", "B")
assert rename("a", "c", NOREPLACE) == 0 and get("c") == "A" and not os.path.exists("a")
assert rename("c", "b", EXCHANGE) == 0 and (get("c"), get("b")) == ("B", "A")
assert rename("c", "none", EXCHANGE) == errno.ENOENT
assert rename("b", "d", EXCHANGE) == 0 and get("d") == "A" and get("b/inside") == "I"
os.mkdir("e"); os.mkdir("e/f")
assert rename("b", "e/f", EXCHANGE) == 0 and get("e/f/inside") == "I" and os.listdir("b") == []
assert os.stat("e").st_nlink == 3 and os.stat(".").st_nlink == 4, (os.stat("e").st_nlink, os.stat(".").st_nlink)
assert rename("e", "e/f/g", 0) == errno.EINVAL
assert rename("e", "b", 0) == 0 and get("b/f/inside") == "I"
os.mkdir("x"); put("x/y", "")
assert rename("b", "x", 0) in (errno.ENOTEMPTY, errno.EEXIST)
assert rename("d", "x", 0) == errno.EISDIR and rename("x", "d", 0) == errno.ENOTDIR
if os.getuid() == 0:
    assert rename("d", "moved", WHITEOUT) == 0 and get("moved") == "A"
    hole = os.stat("d")
    assert hole.st_rdev == 0 and hole.st_mode & 0o170000 == 0o020000
    os.unlink("d")
PY
}

# Deleting, adding and renaming while a directory is listed neither skips nor repeats what is left alone.
changing_listings() {
  python3 - <<'PY'
import os
COUNT = 5000
os.mkdir("many")
for i in range(COUNT):
    os.close(os.open(f"many/{i:05d}-{'n' * (i % 90)}", os.O_CREAT | os.O_WRONLY))
names = set(os.listdir("many"))
assert len(names) == COUNT
seen, removed = [], set()
with os.scandir("many") as entries:
    for number, entry in enumerate(entries):
        seen.append(entry.name)
        if number % 3 == 0 and entry.name not in removed:  # one that was seen
            os.unlink(f"many/{entry.name}"); removed.add(entry.name)
        if number % 500 == 7:                              # one that comes later, perhaps
            victim = f"{COUNT - 1 - number:05d}-{'n' * ((COUNT - 1 - number) % 90)}"
            if victim not in removed and victim in names:
                os.unlink(f"many/{victim}"); removed.add(victim)
        if number % 100 == 9:
            os.close(os.open(f"many/new-{number}", os.O_CREAT | os.O_WRONLY))
old = [name for name in seen if not name.startswith("new-")]
assert len(old) == len(set(old)), "an entry was listed twice"
missing = names - removed - set(old)
assert not missing, f"not listed: {sorted(missing)[:3]} and others, {len(missing)} in all"
assert {n for n in os.listdir("many") if not n.startswith("new-")} == names - removed
PY
  rm -r many
  [ ! -e many ] || fail "rm -r of a large directory"
}

limits() {
  local longest
  longest=$(printf 'n%.0s' {1..255})
  touch "$longest" && [ -e "$longest" ] || fail "a name of 255 bytes"
  fails_with "File name too long" touch "${longest}n"
  fails_with "Directory not empty" rmdir with_something
  fails_with "Is a directory" python3 -c 'import os; os.unlink("with_something")'
  fails_with "Not a directory" ls "$longest/below"
}

all_nodes() {
  cd "$mnt"
  mkdir special && (cd special && special_files)
  attributes
  time_of_birth
  mkdir renames && (cd renames && rename_flags)
  changing_listings
  mkdir with_something && touch with_something/x && limits
}

in_both_modes all_nodes
