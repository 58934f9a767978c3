#!/bin/bash
# npm with its cache on a mount that is too small for it: both installs work, and give the same files. Needs the registry.
. "$(dirname "$0")/lib.sh"
need npm node
package=typescript@5.4.5
timeout 60 npm view "$package" name >/dev/null 2>&1 || skip "npm's registry is not reachable"

mode=cache
cache_limit=16M
make_store
mount_store
for round in 1 2; do
  mkdir "$work/project-$round"
  (cd "$work/project-$round" && npm install --no-audit --no-fund --cache "$mnt/npm" "$package" >"$work/npm.out" 2>&1) ||
    { cat "$work/npm.out" >&2; fail "npm install, round $round"; }
done
diff -r "$work/project-1/node_modules/typescript" "$work/project-2/node_modules/typescript" || fail "the two installs differ"
umount_store
check_store
