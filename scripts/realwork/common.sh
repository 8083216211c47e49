# shellcheck shell=bash
# What the jobs of scripts/realwork.sh share. A job sources this file, fills
# $base, calls scene, does its work with both and only, and ends with finish.
#
# Directories: $base is never to change, $plain starts as a copy of it, $mnt
# shows it through mini_fo with $storage. Larger jobs have several scenes.
set -u
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
job=$(basename "$0" .sh)
place=${REALWORK_PLACE:?run this through scripts/realwork.sh}
mini_fo=${MINI_FO:?}
failures=0

say() { printf '%-8s%s: %s\n' "$1" "$job" "$2"; }

failed() {
    failures=$((failures + 1))
    say FAILED "$1"
    [ -z "${2:-}" ] || tail -n "${3:-15}" "$2" | sed 's/^/            /'
}

# Ends the job as left out.
left_out() {
    say skipped "$1"
    exit 77
}

needs() {
    local tool
    for tool in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || left_out "$tool is not installed"
    done
}

# Seconds with a tenth, since $1 = $EPOCHREALTIME.
since() {
    local us=$((${EPOCHREALTIME/./} - ${1/./}))
    printf '%d.%d' $((us / 1000000)) $((us / 100000 % 10))
}

# --- the tree -----------------------------------------------------------------

# New empty directories for a scene called $1.
prepare() {
    scene=$place/$1
    base=$scene/base plain=$scene/plain storage=$scene/storage mnt=$scene/mnt
    mkdir -p "$base" "$storage" "$mnt" "$scene/view" "$scene/log"
}

mount_tree() {
    "$mini_fo" mount "$base" "$mnt" --storage "$storage" --log "$scene/log/daemon" || {
        failed "cannot mount" "$scene/log/daemon"
        exit 1
    }
}

umount_tree() {
    "$mini_fo" umount "$mnt" > "$scene/log/umount" 2>&1 || {
        failed "cannot unmount" "$scene/log/umount"
        "$mini_fo" umount --lazy "$mnt"
    }
}

# What is not written through reaches nobody after this.
remount() {
    umount_tree
    mount_tree
    [ "${1:-}" != cold ] || { sync && echo 3 > /proc/sys/vm/drop_caches; }
}

# Takes the proof of $base, copies it to $plain and mounts.
scene() {
    cp -a "$base" "$plain"
    mount --bind "$base" "$scene/view" && mount -o remount,bind,noatime "$scene/view" || exit 1
    facts "$scene/view" proof > "$scene/log/base-before"
    mount_tree
}

# Unmounts and proves that the base is what it was.
end_scene() {
    cd "$place" || exit 1
    umount_tree
    facts "$scene/view" proof > "$scene/log/base-after"
    if diff "$scene/log/base-before" "$scene/log/base-after" > "$scene/log/base-diff"; then
        say ok "the base is unchanged ($(wc -l < "$scene/log/base-after") facts)"
    else
        failed "THE BASE CHANGED" "$scene/log/base-diff"
    fi
    umount "$scene/view"
    if grep -qi panicked "$scene/log/daemon" 2>/dev/null; then
        failed "the daemon panicked" "$scene/log/daemon"
    fi
    [ -n "${REALWORK_KEEP:-}" ] || rm -rf --one-file-system "$scene"
}

# Ends the job.
finish() {
    [ $failures = 0 ] || say FAILED "$failures of its checks"
    [ $failures = 0 ]
    exit
}

# Everything about the tree in $1 that programs can see, one fact a line. With
# $2 = times also the times of modification, with $2 = proof all times, inode
# numbers and the sizes and link counts of directories.
facts() (
    cd "$1" || exit 1
    case ${2:-} in
        proof) format='%P\t%y %m %U:%G %s links=%n %i %A@ %T@ %C@ %l\0' dirs=$format ;;
        times) format='%P\t%y %m %U:%G %s links=%n %T@ %l\0' dirs='%P\t%y %m %U:%G %T@\0' ;;
        *) format='%P\t%y %m %U:%G %s links=%n %l\0' dirs='%P\t%y %m %U:%G\0' ;;
    esac
    { find . -type d -printf "$dirs"; find . ! -type d -printf "$format"; } | sort -z | tr '\n\0' '?\n'
    find . \( -type b -o -type c \) -print0 | sort -z | xargs -0r stat -c 'device %n %t:%T'
    find . -type f -print0 | sort -z | xargs -0r sha256sum
    find . -print0 | sort -z | xargs -0r getfattr -h -d -m - -e hex --
    # Which names are one file.
    find . ! -type d -links +1 -printf '%i\t%P\0' | sort -z |
        while IFS=$'\t' read -r -d '' ino name; do
            [ "$ino" = "${last:-}" ] || { last=$ino first=$name; }
            printf 'link %q = %q\n' "$name" "$first"
        done | sort
)

# Compares two trees. $1: what it is; $2, $3: the trees; $4: times or nothing;
# $5: an extended regular expression of lines to leave out.
same_tree() {
    facts "$2" "${4:-}" | grep -avE "${5:-^$}" > "$scene/log/tree-1"
    facts "$3" "${4:-}" | grep -avE "${5:-^$}" > "$scene/log/tree-2"
    if ! [ -s "$scene/log/tree-1" ]; then
        failed "$1: nothing to compare"
    elif diff "$scene/log/tree-1" "$scene/log/tree-2" > "$scene/log/tree-diff"; then
        say ok "$1 ($(wc -l < "$scene/log/tree-1") facts)"
    else
        failed "$1: < plain, > mount" "$scene/log/tree-diff" 30
    fi
}

# --- work ---------------------------------------------------------------------

# Runs the function $2 (and its arguments) in the directory $1. The first of
# its commands that fails ends it.
work_in() (
    set -e
    cd "$1"
    shift
    "$@"
)

# Runs the function $2 (and its arguments) in $plain and in $mnt, and compares
# what it prints on standard output. Its status must be 0 both times; natively
# failing work leaves the check out.
both() {
    local what=$1 begin status took_plain took_mount
    shift
    begin=$EPOCHREALTIME
    # Not within `if`, where bash ignores `set -e`.
    work_in "$plain" "$@" > "$scene/log/plain" 2> "$scene/log/plain-err" < /dev/null
    status=$?
    took_plain=$(since "$begin")
    if [ $status != 0 ]; then
        say skipped "$what: it fails on the plain directory too: $(tail -n 1 "$scene/log/plain-err")"
        return 0
    fi
    begin=$EPOCHREALTIME
    work_in "$mnt" "$@" > "$scene/log/mount" 2> "$scene/log/mount-err" < /dev/null
    status=$?
    took_mount=$(since "$begin")
    if [ $status != 0 ]; then
        failed "$what" "$scene/log/mount-err"
    elif ! cmp -s "$scene/log/plain" "$scene/log/mount"; then
        diff "$scene/log/plain" "$scene/log/mount" > "$scene/log/output-diff"
        failed "$what: other output; < plain, > mount" "$scene/log/output-diff"
    else
        say ok "$what (plain $took_plain s, mount $took_mount s)"
    fi
}

# Runs the function $2 (and its arguments) in $mnt only. Its status must be 0.
only() {
    local what=$1 begin=$EPOCHREALTIME
    shift
    work_in "$mnt" "$@" > "$scene/log/mount-err" 2>&1 < /dev/null
    # shellcheck disable=SC2181  # within `if`, bash ignores `set -e`
    if [ $? = 0 ]; then
        say ok "$what ($(since "$begin") s)"
    else
        failed "$what" "$scene/log/mount-err"
    fi
}
