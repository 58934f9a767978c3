# SQLite with writers side by side and one that is killed; PostgreSQL. Sourced by apps.sh.
# shellcheck shell=bash

# sqlite_writer FILE NUMBER COUNT: as many transactions, each of which is told when it is done.
sqlite_writer() {
  python3 - "$@" <<'PY'
import sqlite3, sys
file, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = sqlite3.connect(file, timeout=120, isolation_level=None)
for i in range(count):
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO t VALUES (?, ?, randomblob(500))", (number, i))
    database.execute("UPDATE totals SET n = n + 1")
    database.execute("COMMIT")
    print(i, flush=True)
PY
}

app_sqlite() {
  command -v sqlite3 >/dev/null || lacks sqlite3
  local journal count i pids
  count=$(quick_or 500 40)
  for journal in DELETE WAL; do
    sqlite3 "$journal.db" "PRAGMA journal_mode = $journal; CREATE TABLE t (writer, i, r); CREATE TABLE totals (n);
      INSERT INTO totals VALUES (0);" >/dev/null
    pids=()
    for i in 1 2 3; do sqlite_writer "$journal.db" "$i" "$count" >"done-$i" & pids+=($!); done
    exec {lines}< <(exec python3 -c "
import sqlite3
database = sqlite3.connect('$journal.db', timeout=120, isolation_level=None)
for i in range(1_000_000):
    database.execute('BEGIN IMMEDIATE')
    database.execute('INSERT INTO t VALUES (9, ?, randomblob(500))', (i,))
    database.execute('UPDATE totals SET n = n + 1')
    database.execute('COMMIT')
    print(i, flush=True)
")
    local victim=$! told=0
    while [ "$told" -lt 20 ]; do read -r told <&"$lines"; done
    kill -9 "$victim"
    wait_for_end "$victim"
    for i in "${pids[@]}"; do wait "$i" || fail "a writer of $journal.db"; done
    exec {lines}<&-
    same "$(sqlite3 "$journal.db" 'PRAGMA integrity_check')" ok "integrity of $journal.db"
    same "$(sqlite3 "$journal.db" 'SELECT count(*) FROM t WHERE writer < 9')" $((3 * count)) "rows of the writers that lived"
    same "$(sqlite3 "$journal.db" 'SELECT (SELECT n FROM totals) = (SELECT count(*) FROM t)')" 1 "whole transactions only"
    [ "$(sqlite3 "$journal.db" 'SELECT count(*) FROM t WHERE writer = 9')" -gt "$told" ] || fail "what the killed one was told is gone"
  done
}

app_postgresql() {
  $full || exit 77
  is_root || lacks "root, to become postgres"
  local bin
  bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
  [ -x "$bin/initdb" ] || lacks "the package postgresql"
  id postgres >/dev/null 2>&1 || lacks "the user postgres"
  as_postgres() { setpriv --reuid postgres --regid postgres --init-groups env PATH="$bin:$PATH" "$@"; }
  mkdir data socket && chown postgres data socket && chmod 700 data
  as_postgres initdb -D "$PWD/data" >initdb.log || fail "initdb"
  as_postgres pg_ctl -s -w -D "$PWD/data" -l "$PWD/socket/log" -o "-k $PWD/socket -c listen_addresses=" start || fail "start"
  as_postgres pgbench -h "$PWD/socket" -i -q -s 10 postgres >/dev/null 2>&1 || fail "pgbench -i"
  as_postgres pgbench -h "$PWD/socket" -c 8 -j 2 -T 60 postgres >pgbench.log 2>&1 || { cat pgbench.log >&2; fail "pgbench"; }
  say "$(grep -o 'tps = .*' pgbench.log | head -1)"
  as_postgres pg_ctl -s -D "$PWD/data" -m immediate stop || fail "stop"
  as_postgres pg_ctl -s -w -D "$PWD/data" -l "$PWD/socket/log" -o "-k $PWD/socket -c listen_addresses=" start || fail "recovery"
  as_postgres psql -h "$PWD/socket" -qAtc 'CREATE EXTENSION amcheck' postgres 2>/dev/null &&
    { as_postgres pg_amcheck -h "$PWD/socket" postgres || fail "pg_amcheck"; }
  same "$(as_postgres psql -h "$PWD/socket" -qAtc 'SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts' postgres)" \
    t "the balance after a crash of PostgreSQL"
  as_postgres pg_ctl -s -D "$PWD/data" -m fast stop || fail "stop"
}
