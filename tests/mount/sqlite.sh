#!/bin/bash
# SQLite: a thousand transactions in each journal mode, checked before and after a remount.
. "$(dirname "$0")/lib.sh"
need sqlite3

transactions() {
  cd "$mnt"
  local journal i
  for journal in DELETE WAL; do
    {
      echo "PRAGMA journal_mode = $journal; PRAGMA synchronous = FULL;"
      echo "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, r BLOB);"
      for i in {1..1000}; do echo "BEGIN; INSERT INTO t VALUES ($i, 'value $i', randomblob($i)); COMMIT;"; done
      echo "UPDATE t SET v = 'changed' WHERE id % 7 = 0; DELETE FROM t WHERE id % 10 = 0;"
    } | sqlite3 -bail "$journal.db" >/dev/null
    check "$journal.db"
  done
  cd "$work"; remount; cd "$mnt"
  check DELETE.db
  check WAL.db
}

check() {
  same "$(sqlite3 "$1" 'PRAGMA integrity_check')" ok "integrity_check of $1"
  same "$(sqlite3 "$1" 'SELECT count(*), sum(length(r)) FROM t')" "900|450000" "rows of $1"
}

in_both_modes transactions
