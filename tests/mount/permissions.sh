#!/bin/bash
# Other users: modes are honoured, setuid bits go when others write, setgid directories pass their group on.
. "$(dirname "$0")/lib.sh"
is_root || skip "only root can become somebody else"
need setpriv python3
chmod 711 "$work"

as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

who_may_what() {
  chmod 711 "$work/$mode"
  cd "$mnt"
  chmod 755 .
  echo secret >secret && chmod 600 secret
  fails_with "Permission denied" as_nobody cat secret
  fails_with "Permission denied" as_nobody touch here
  mkdir -m 1777 shared
  as_nobody sh -c 'umask 027; echo mine >shared/mine; mkdir shared/dir'
  same "$(stat -c '%u:%g %a' shared/mine)" "65534:65534 640" "a file of nobody's"
  same "$(stat -c %a shared/dir)" 750 "a directory of nobody's"
  touch shared/roots
  fails_with "Operation not permitted" as_nobody rm -f shared/roots
  fails_with "Operation not permitted" as_nobody chmod 777 secret
  fails_with "Operation not permitted" as_nobody chown 0 shared/mine

  mkdir group && chgrp 12 group && chmod 2777 group
  as_nobody mkdir group/below && as_nobody touch group/file
  same "$(stat -c '%g %a' group/below)" "12 2755" "a directory below a setgid one"
  same "$(stat -c %g group/file)" 12 "group of a file in a setgid directory"

  mkdir -m 777 open # not sticky: fs.protected_regular would refuse what is tested here
  local way
  for way in 'fallocate -o 9 -l 9 ' 'echo more >>' ': >' 'truncate -s 1' 'dd conv=notrunc status=none if=/dev/zero bs=1 count=1 of='; do
    echo text >open/set && chmod 6777 open/set
    case $way in *=) as_nobody sh -c "${way}open/set" ;; *) as_nobody sh -c "$way open/set" ;; esac
    same "$(stat -c %a open/set)" 777 "mode after '$way' by nobody"
    chmod 6777 open/set
    case $way in *=) sh -c "${way}open/set" ;; *) sh -c "$way open/set" ;; esac
    same "$(stat -c %a open/set)" 6777 "mode after '$way' by root"
    rm open/set
  done
  echo text >open/set && chmod 6755 open/set && chown 65534 open/set
  same "$(stat -c %a open/set)" 755 "mode after chown"

  cd "$work"
  cairnfs umount "$mnt"
  mount_store -o noallow_other
  fails_with "Permission denied" as_nobody ls "$mnt"
}

in_both_modes who_may_what
