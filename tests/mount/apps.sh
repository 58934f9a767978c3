#!/bin/bash
# Programs that people use, on the mount: each must come to the same end as on ext4. Short versions of what needs no package
# that a build lacks; `apps.sh --full` does all of it, and says what it would need. CAIRNFS_APPS="sqlite tar" restricts it.
#
# apps/*.sh hold the programs: each file defines functions app_NAME, run in a directory of their own on the mount, with
# $full true or false. They leave with 77 when the machine lacks something.
. "$(dirname "$0")/lib.sh"
full=false
[ "${1-}" != --full ] || full=true
for file in "$here"/apps/*.sh; do . "$file"; done

# quick_or FULL QUICK: the number that fits the version.
quick_or() { if $full; then echo "$1"; else echo "$2"; fi; }
lacks() { say "left out: $app, which needs $*"; exit 77; }

all_apps() {
  local app code started
  chmod 755 "$work" "$work/$mode" "$mnt" # other users are let in
  for app in ${CAIRNFS_APPS:-$(compgen -A function app_ | sed s/^app_//)}; do
    started=$SECONDS code=0
    mkdir "$mnt/$app"
    (cd "$mnt/$app" && trap - EXIT && "app_$app") || code=$?
    [ $code -eq 0 ] || [ $code -eq 77 ] || fail "$app"
    [ $code -eq 77 ] || say "$mode: $app, $((SECONDS - started)) s"
    rm -rf "${mnt:?}/$app" || fail "removing what $app left"
  done
}

cache_limit=4G
in_both_modes all_apps
