#!/bin/bash
# kill -9 of the daemon while programs write: what was synced is there, the tree is a prefix of what was done, fsck is clean.
. "$(dirname "$0")/lib.sh"
need python3

# wait_for_names COUNT: waits until the writer has named that many files.
wait_for_names() {
  local line count=0
  while [ "$count" -lt "$1" ] && read -r line <&"$names"; do count=$((count + 1)); done
  [ "$count" -eq "$1" ] || fail "the writer stopped after $count files"
}

killed_in_the_middle() {
  local pid round
  for round in 1 2 3; do
    cp -a "$(sample_tree)" "$mnt/copy-$round" 2>/dev/null &
    local copy=$!
    children+=("$copy")
    exec {names}< <(exec python3 "$here/synced_writer.py" write "$mnt/synced-$round" "$work/synced-$mode-$round")
    local writer=$!
    children+=("$writer")
    wait_for_names $((round * 40))
    pid=$(daemon_pid)
    kill -9 "$pid"
    wait "$copy" || true # it sees errors from here on
    exec {names}<&-
    wait_for_end "$writer"
    ls "$mnt" >/dev/null 2>&1 && fail "the mount answers without its daemon"
    fails_with "not connected" ls "$mnt"
    cairnfs umount "$mnt"
    check_store
    mount_store
    for done in $(seq 1 "$round"); do
      python3 "$here/synced_writer.py" check "$mnt/synced-$done" "$work/synced-$mode-$done" "$mode"
    done
    echo again >"$mnt/writable-$round"
  done
}

in_both_modes killed_in_the_middle
