#!/bin/bash
# One large file of random bytes: the same sum when it is written, read back, and read after a remount.
# CAIRNFS_BIG=1 makes it 3 GiB; CAIRNFS_BIG_MIB names the size.
. "$(dirname "$0")/lib.sh"
need sha256sum
mib=${CAIRNFS_BIG_MIB:-256}
[ "${CAIRNFS_BIG:-0}" != 1 ] || mib=3072
free=$(($(stat -f -c '%a * %S' "$work") >> 20))
[ "$free" -gt $((mib * 3)) ] || skip "$mib MiB three times do not fit $work ($free MiB free)"
cache_limit=$((mib * 2 + 256))M

large() {
  local written
  written=$(head -c "${mib}M" /dev/urandom | tee "$mnt/large" | sha256sum)
  same "$(stat -c %s "$mnt/large")" $((mib << 20)) "size"
  same "$(sha256sum <"$mnt/large")" "$written" "read back"
  remount
  same "$(sha256sum <"$mnt/large")" "$written" "after a remount"
  # Twice the same, so that the second is not what the kernel had in its cache of the first.
  remount
  same "$(dd if="$mnt/large" bs=1M iflag=direct status=none | sha256sum)" "$written" "direct reads"
  rm "$mnt/large"
}

in_both_modes large
