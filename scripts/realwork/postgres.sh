#!/bin/bash
# PostgreSQL with page checksums: a new cluster in the mount, and a cluster of
# the base that is started from the mount; pgbench, a crash, and pg_checksums.
. "$(dirname "$0")/common.sh"

bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/pgbench' | sort -V | tail -n 1)" 2>/dev/null)
[ -x "$bin/initdb" ] || left_out "PostgreSQL is not installed"
getent passwd postgres > /dev/null || left_out "there is no user postgres"

seconds=20
clients=4

# The server refuses to run as root.
as_postgres() { setpriv --reuid postgres --regid "$(id -g postgres)" --init-groups env HOME=/ PATH="$bin:$PATH" "$@"; }

# Only a socket in a directory of this job; no network.
socket=$place/socket
install -d -m 700 -o postgres "$socket"

start() {
    as_postgres pg_ctl -s -w -t 60 -D "$PWD/$1" -l "$PWD/$1.log" \
        -o "-c listen_addresses= -c unix_socket_directories=$socket -c max_connections=20 -c shared_buffers=32MB" start ||
        { tail -n 20 "$1.log" >&2; return 1; }
}
stop() { as_postgres pg_ctl -s -w -t 60 -D "$PWD/$1" -m "${2:-fast}" stop; }
sql() { as_postgres psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$socket" postgres -c "$1"; }
bench() { as_postgres pgbench -h "$socket" "$@" postgres; }

create() {
    install -d -o postgres "$1" && install -o postgres /dev/null "$1.log"
    as_postgres initdb -D "$PWD/$1" --data-checksums --auth=trust --locale=C.UTF-8 -U postgres > /dev/null
    start "$1"
    bench -q -i -s 5 --foreign-keys > /dev/null 2>&1
    stop "$1"
    checksums "$1"
}

checksums() { as_postgres pg_checksums --check -D "$PWD/$1" | grep -E '^(Checksum operation|Bad checksums)'; }

# Every transaction adds one number to an account, a teller and a branch, and
# notes it: all four sums are the same when none is lost or half done.
balanced() {
    [ "$(sql 'SELECT count(DISTINCT s) FROM (SELECT sum(abalance) s FROM pgbench_accounts UNION ALL
        SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(bbalance) FROM pgbench_branches
        UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history) q')" = 1 ]
}

# The same transactions in the same order leave the same rows.
pinned() {
    start "$1"
    bench -n --random-seed=7 -c 1 -t 500 > /dev/null 2>&1
    sql 'SELECT * FROM pgbench_accounts ORDER BY aid' | sha256sum
    sql 'SELECT tid, bid, aid, delta FROM pgbench_history ORDER BY 1, 2, 3, 4' | sha256sum
    sql 'CREATE INDEX more ON pgbench_accounts(abalance, aid); VACUUM FULL pgbench_history; DROP INDEX more'
    balanced
    stop "$1"
    checksums "$1"
}

# Many clients for a while.
load() {
    start "$1"
    bench -n -c $clients -j 2 -T "$2" > "$scene/log/pgbench" 2>&1 || { cat "$scene/log/pgbench" >&2; return 1; }
    grep '^tps' "$scene/log/pgbench" | sed "s/^tps = \([0-9]*\).*/$(basename "$PWD") \1/" >> "$scene/log/tps"
    grep -q 'number of failed transactions: 0 ' "$scene/log/pgbench"
    balanced
    stop "$1"
    checksums "$1"
}

# The server is ended in the middle of the load as by a crash, and recovers.
crash() {
    start "$1"
    bench -n -c "$clients" -j 2 -T 30 > /dev/null 2>&1 &
    local clients_pid=$!
    sleep 3
    stop "$1" immediate
    wait "$clients_pid" || true
    start "$1"
    balanced
    stop "$1"
    checksums "$1"
}

amcheck() {
    start "$1"
    as_postgres pg_amcheck -h "$socket" --install-missing --heapallindexed postgres
    stop "$1"
}

speed() { awk '$1 == "plain" { p = $2 } $1 == "mnt" { m = $2 } END { printf "plain %d, mount %d transactions/s", p, m }' "$scene/log/tps"; }

prepare postgres
chown postgres "$base"
(cd "$base" && create old > /dev/null) || left_out "no cluster can be made on a plain directory"
scene
both "initdb --data-checksums, pgbench -i, pg_checksums" create new
both "pinned transactions, new cluster" pinned new
both "pinned transactions, cluster of the base" pinned old
(cd "$plain" && set -e && load new 6 && load old 3) > /dev/null 2>&1
only "pgbench, $clients clients, $seconds s, new cluster" load new $seconds
say ok "speed: $(speed)"
only "pgbench, $clients clients, $((seconds / 2)) s, cluster of the base" load old $((seconds / 2))
only "a crash under load, new cluster" crash new
only "a crash under load, cluster of the base" crash old
remount cold
only "pg_checksums after a remount, new cluster" checksums new
only "pg_checksums after a remount, cluster of the base" checksums old
only "pg_amcheck, new cluster" amcheck new
only "pg_amcheck, cluster of the base" amcheck old
end_scene
finish
