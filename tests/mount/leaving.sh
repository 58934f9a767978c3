#!/bin/bash
# A mount that is left while somebody uses it: umount refuses, umount -l waits for the last user, SIGTERM does not wait.
. "$(dirname "$0")/lib.sh"
is_root || skip "umount of a busy mount is root's"
need python3

# holder FILE: opens it, says so, and for each line it is told writes and reads it, and says what came of it.
start_holder() {
  mkfifo "$work/told"
  exec {answers}< <(exec python3 - "$1" "$work/told" <<'PY'
import os, sys
os.chdir(os.path.dirname(sys.argv[1]))
fd = os.open(os.path.basename(sys.argv[1]), os.O_CREAT | os.O_RDWR)
print("ready", flush=True)
for line in open(sys.argv[2]):
    try:
        os.pwrite(fd, line.encode(), 0)
        os.stat(".")
        print("done", os.pread(fd, 100, 0).decode().strip(), flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
PY
  )
  holder=$!
  children+=("$holder")
  exec {told}>"$work/told"
  rm "$work/told"
  answer ready
}
tell() { echo "$1" >&"$told"; }
answer() {
  local line
  read -r line <&"$answers" || fail "the holder is gone"
  same "$line" "$1" "the holder's answer"
}
end_holder() {
  exec {told}>&-
  wait_for_end "$holder"
  exec {answers}<&-
}

refused_while_in_use() {
  start_holder "$mnt/dir/held"
  fails_with "busy" umount "$mnt"
  tell one
  answer "done one"
  echo still >"$mnt/usable"
  end_holder
}

detached_with_an_open_file() {
  start_holder "$mnt/dir/held"
  umount -l "$mnt"
  ! is_mounted "$mnt" || fail "still mounted"
  tell two
  answer "done two"
  end_holder
  wait_for_lock # the last user is gone, and so is the daemon
  mount_store
  same "$(cat "$mnt/dir/held")" two "written after umount -l"
}

ended_with_a_process_in_it() {
  start_holder "$mnt/dir/held"
  tell three
  answer "done three"
  kill "$(daemon_pid)"
  wait_for_lock
  ! is_mounted "$mnt" || fail "still mounted"
  tell four
  local line
  read -r line <&"$answers"
  case $line in "Transport endpoint is not connected" | "Software caused connection abort") ;; *) fail "after SIGTERM: $line" ;; esac
  end_holder
  mount_store
  same "$(cat "$mnt/dir/held")" three "written before SIGTERM"
}

one_after_another() {
  mkdir "$mnt/dir"
  refused_while_in_use
  detached_with_an_open_file
  ended_with_a_process_in_it
}

in_both_modes one_after_another
