#!/bin/bash
# ccache with its cache on a mount: one that fits, and one that is much too small. No compile fails, and the second time it
# hits where everything fits.
. "$(dirname "$0")/lib.sh"
need ccache c++ python3

mode=cache
export CCACHE_DIR CCACHE_NOCOMPRESS=1 CCACHE_MAXSIZE=0
root=$(cd "$here/../.." && pwd)
mapfile -t sources < <(ls "$root"/src/base/*.cc "$root"/src/format/[crs]*.cc)

compile_all() {
  local source
  for source in "${sources[@]}"; do
    ccache c++ -std=c++20 -O0 -I"$root/src" -I"$root/include" -c "$source" -o "$work/object.o" || fail "compiling $source"
  done
}
hits() { ccache --print-stats | awk '$1 == "direct_cache_hit" { print $2 }'; }

cache_limit=256M
make_store
mount_store
CCACHE_DIR=$mnt
compile_all
before=$(hits)
remount # it is warm after a restart
compile_all
same "$(($(hits) - before))" "${#sources[@]}" "hits of the second run"
umount_store
check_store
rm -rf --one-file-system "$store"

cache_limit=16M
make_store
mount_store -o min_age=0
# Something larger than the cache goes through it, so that ccache's files are being evicted meanwhile.
(while [ ! -e "$work/enough" ]; do { head -c 4000000 /dev/urandom >"$mnt/noise-$RANDOM"; } 2>/dev/null || true; sleep 0.3; done) &
children+=($!)
compile_all
compile_all
touch "$work/enough"
wait "$!"
evicted=$(cairnfs stat --json "$mnt" | python3 -c 'import json, sys; s = json.load(sys.stdin); print(s["evicted_cold"] + s["evicted_young"])')
[ "$evicted" -gt 20 ] || fail "only $evicted files were evicted: the mount was not too small"
umount_store
check_store
