#!/bin/bash
# kill -9 under eight writers on a file system of its own; a few rounds here, hundreds by hand (see kill_rounds.py).
. "$(dirname "$0")/lib.sh"
need python3 mkfs.ext4 losetup
is_root || skip "loop devices need root"
losetup --find >/dev/null 2>&1 || skip "there is no loop device"
mode=cas
mkdir rounds
CAIRNFS_BIN=$(dirname "$(command -v cairnfs)") python3 "$here/kill_rounds.py" --rounds "${CAIRNFS_ROUNDS:-6}" --seed "${CAIRNFS_SEED:-$RANDOM}" rounds
