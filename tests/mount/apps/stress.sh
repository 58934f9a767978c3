# Python's own tests, fio with checksums, stress-ng. Sourced by apps.sh.
# shellcheck shell=bash

app_python() {
  local python=/usr/bin/python3
  "$python" -c 'import test.test_mailbox' 2>/dev/null || lacks "the package libpython3-testsuite"
  TMPDIR=$PWD "$python" -m test -q --tempdir "$PWD" test_mailbox test_shelve test_tempfile test_shutil test_os test_zipfile \
    >log 2>&1 || { tail -n 30 log >&2; fail "Python's tests"; }
}

app_fio() {
  $full || exit 77
  command -v fio >/dev/null || lacks fio
  local engine
  for engine in psync mmap io_uring; do
    fio --name=verify --filename="$engine" --size=256M --rw=randwrite --bs=4k-64k --ioengine="$engine" --iodepth=8 \
      --verify=crc32c --do_verify=1 --verify_fatal=1 --randrepeat=0 --output=log || { cat log >&2; fail "fio with $engine"; }
  done
}

# A stressor that fails on ext4 too proves nothing.
app_stress_ng() {
  $full || exit 77
  command -v stress-ng >/dev/null || lacks stress-ng
  local stressor seconds=${CAIRNFS_STRESS_SECONDS:-60} beside=$work/beside failed=()
  mkdir -p "$beside"
  for stressor in $(stress-ng --class 'filesystem?' 2>&1 | sed 's/^class.*stressors: //'); do
    case $stressor in bind-mount | binderfs | procfs | ioprio | fanotify) continue ;; esac # about other file systems
    stress-ng --"$stressor" 2 --timeout "$seconds" --temp-path "$PWD" --verify >"$work/stress.log" 2>&1 && continue
    if stress-ng --"$stressor" 2 --timeout "$seconds" --temp-path "$beside" --verify >"$work/stress.log.ext4" 2>&1; then
      failed+=("$stressor")
      grep -iE 'fail|error' "$work/stress.log" | head -n 5 >&2
    fi
  done
  same "${failed[*]}" "" "stressors that fail here and not on ext4"
}
