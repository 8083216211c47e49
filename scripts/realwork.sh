#!/bin/bash
# Real work inside the mount, and the same work on a plain directory of the same
# file system: what comes out must be the same, and the base must stay as it was.
#
# Usage: scripts/realwork.sh [JOB...]      all jobs: git cargo debootstrap sqlite
#                                          postgres rsync tar stress fio
# MINI_FO: the program (default: the release build). Needs root.
# REALWORK_DIR: where to work, some 6 GB (default: /var/tmp).
# REALWORK_KEEP=1 keeps the trees and logs of jobs that failed.
set -u
cd "$(dirname "$0")/.." || exit 1

all="git cargo debootstrap sqlite postgres rsync tar stress fio"
export MINI_FO=${MINI_FO:-${CARGO_TARGET_DIR:-$PWD/target}/release/mini_fo}
log=${MINI_FO_SKIP_LOG:-/dev/null}

skip() {
    echo "skipped realwork: $*" | tee -a "$log"
    exit 0
}

# A job is named by its file.
for job in "$@"; do
    case " $all " in
        *" $job "*) ;;
        *) echo "realwork: no job is called '$job'; there are: $all" >&2; exit 2 ;;
    esac
done
[ $# -gt 0 ] || eval set -- "$all"

# Program, and the Debian package that has it.
missing_packages() {
    local need
    for need in git:git rsync:rsync sqlite3:sqlite3 setfattr:attr setfacl:acl setcap:libcap2-bin \
        debootstrap:debootstrap fio:fio stress-ng:stress-ng perl:perl setpriv:util-linux; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${need%%:*}" >/dev/null 2>&1 || echo "${need#*:}"
    done
    compgen -G '/usr/lib/postgresql/*/bin/pgbench' >/dev/null || printf '%s\n' postgresql postgresql-contrib
}

setup() {
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    echo "realwork: installing $missing"
    command -v apt-get >/dev/null || { echo "realwork: no apt-get here; jobs that lack a program are left out"; return 0; }
    apt-get -qq update || true
    # shellcheck disable=SC2086  # a list of words on purpose
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null ||
        echo "realwork: some packages could not be installed; jobs that lack a program are left out"
}

[ "$(id -u)" = 0 ] || skip "needs root"
[ -e /dev/fuse ] || skip "no /dev/fuse"
setup
[ -x "$MINI_FO" ] || cargo build --quiet --release -p mini_fo || exit 1

work=$(mktemp -d "${REALWORK_DIR:-/var/tmp}/mini_fo-realwork-XXXXXX") || exit 1
chmod 755 "$work"
# Mounts and processes end with their namespaces; only files can be left.
cleanup() {
    [ -z "${child:-}" ] || kill -KILL "$child" 2>/dev/null
    cd / || return
    if [ -n "${REALWORK_KEEP:-}" ] && [ -n "${failed:-}" ]; then
        echo "realwork: kept in $work"
    else
        rm -rf --one-file-system "$work"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Every job has its own mounts and its own processes, which end with it even
# when it is killed. The limit is for a mount that hangs.
run_job() {
    mkdir "$work/$1" || return 1
    # shellcheck disable=SC2016  # for the inner shell
    REALWORK_PLACE=$work/$1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        bash -c 'timeout --kill-after=20 "$1" bash "$2"; exit $?' init "${REALWORK_LIMIT:-600}" "scripts/realwork/$1.sh" &
    child=$!
    wait "$child"
    local status=$?
    child=
    if [ $status = 0 ] || [ -z "${REALWORK_KEEP:-}" ]; then
        rm -rf --one-file-system "${work:?}/$1"
    fi
    return $status
}

passed='' failed='' skipped=''
begin=$SECONDS
for job in "$@"; do
    echo "== $job"
    start=$SECONDS
    run_job "$job"
    case $? in
        0) passed="$passed $job"; verdict=ok ;;
        77) skipped="$skipped $job"; verdict=skipped ;;
        124 | 137) failed="$failed $job"; verdict="FAILED: it was still running after its time limit, or was killed" ;;
        *) failed="$failed $job"; verdict=FAILED ;;
    esac
    echo "== $job: $verdict ($((SECONDS - start)) s)"
done

echo
echo "realwork: $((SECONDS - begin)) s; ok:${passed:- none}; FAILED:${failed:- none}; skipped:${skipped:- none}"
[ -z "$skipped" ] || echo "SKIPPED realwork:$skipped" >> "$log"
[ -z "$failed" ]
