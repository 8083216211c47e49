#!/bin/bash
# sqlite3: a database of the base and a new one, with a rollback journal and
# with a write-ahead log (shared memory by mmap, byte-range locks), several
# writers at once, writers that are killed, and a log left by a killed writer
# in the base itself.
. "$(dirname "$0")/common.sh"
needs sqlite3

rows=300
writers=4

make_database() {
    sqlite3 "$1" "PRAGMA journal_mode=$2; CREATE TABLE t(writer INT, n INT, x BLOB, UNIQUE(writer, n));
        CREATE INDEX i ON t(n);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000)
        INSERT INTO t SELECT 0, n, zeroblob(200 + n % 300) FROM c;" > /dev/null
}

# One writer: $rows transactions of its own.
writer() {
    for ((n = 1; n <= rows; n++)); do
        echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($2, $n, zeroblob(100 + $n % 50));
            UPDATE t SET x = zeroblob(length(x) + 1) WHERE writer = 0 AND n = $n; COMMIT;"
    done | sqlite3 -bail -cmd '.timeout 60000' "$1"
}

several_writers() {
    local pids='' w status=0
    for ((w = 1; w <= writers; w++)); do writer "$1" "$w" & pids="$pids $!"; done
    # A reader beside them never sees half a transaction: all have the same sum.
    for w in 1 2 3 4 5; do
        sqlite3 -cmd '.timeout 60000' "$1" "SELECT CASE WHEN (SELECT sum(length(x)) FROM t WHERE writer = 0) -
            (SELECT sum(200 + n % 300) FROM t WHERE writer = 0) = (SELECT count(*) FROM t WHERE writer > 0)
            THEN 'whole' ELSE 'half a transaction was seen' END;"
    done
    for w in $pids; do wait "$w" || status=1; done
    summary "$1"
    return "$status"
}

summary() {
    sqlite3 -cmd '.timeout 60000' "$1" "PRAGMA integrity_check; SELECT writer, count(*), sum(length(x)) FROM t GROUP BY writer;
        PRAGMA journal_mode;"
    sqlite3 -cmd '.timeout 60000' "$1" 'SELECT writer, n, hex(x) FROM t ORDER BY 1, 2;' | sha256sum
}

# A writer that reports every commit and is killed amid its work. What it has
# reported must be there, and nothing of the transaction after it.
killed_writer() {
    local pid acknowledged found
    rm -f "$scene/acknowledged"
    for ((n = 1; n <= 100000; n++)); do
        echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($2, $n, zeroblob(900)); INSERT INTO t VALUES($2, -$n, zeroblob(90)); COMMIT; SELECT $n;"
    done | sqlite3 -bail "$1" > "$scene/acknowledged" 2>/dev/null &
    pid=$!
    sleep 1.5
    kill -KILL "$pid"
    wait "$pid" || true
    acknowledged=$(grep -c . "$scene/acknowledged" || true)
    found=$(sqlite3 "$1" "SELECT count(*) FROM t WHERE writer = $2 AND n > 0")
    sqlite3 "$1" "PRAGMA integrity_check; SELECT 'unpaired', count(*) FROM t a WHERE writer = $2
        AND NOT EXISTS (SELECT 1 FROM t b WHERE b.writer = a.writer AND b.n = -a.n);"
    # Its last reports may sit in the buffer of its standard output.
    [ "$found" -ge "$acknowledged" ] || { echo "reported: $acknowledged, found: $found" >&2; return 1; }
    [ "$found" -gt 0 ] || { echo "nothing was written" >&2; return 1; }
    sqlite3 "$1" "DELETE FROM t WHERE writer = $2"
}

work() {
    several_writers "$1"
    sqlite3 "$1" 'DELETE FROM t WHERE n % 3 = 0; VACUUM; PRAGMA integrity_check;'
    sqlite3 "$1" '.backup copy.db' && summary copy.db
    rm copy.db
}

recover() { sqlite3 hot.db 'PRAGMA integrity_check; SELECT count(*) FROM t; PRAGMA wal_checkpoint(TRUNCATE);'; summary hot.db; }

all_summaries() { for file in rollback.db wal.db hot.db; do summary "$file"; done; }

new_database() { make_database new.db "$1" && work new.db && rm new.db*; }

prepare sqlite
make_database "$base/rollback.db" delete
make_database "$base/wal.db" wal
# A database as a power cut leaves it: its last changes are in the log alone.
make_database "$place/running.db" wal
(echo "INSERT INTO t VALUES(9, 9, 'only in the log');"; sleep 2) | sqlite3 "$place/running.db" &
sleep 1
cp "$place/running.db" "$base/hot.db"
cp "$place/running.db-wal" "$base/hot.db-wal"
wait
[ -s "$base/hot.db-wal" ] || left_out "no hot log could be made"

scene
both "a log that a killed writer left in the base" recover
both "$writers writers to a base file, rollback journal" work rollback.db
both "$writers writers to a base file, write-ahead log" work wal.db
both "$writers writers to a new file, rollback journal" new_database delete
both "$writers writers to a new file, write-ahead log" new_database wal
both "a writer killed, rollback journal" killed_writer rollback.db 7
both "a writer killed, write-ahead log" killed_writer wal.db 7
remount cold
both "all databases after a remount" all_summaries
end_scene
finish
