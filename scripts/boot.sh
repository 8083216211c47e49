#!/bin/bash
# Boots whole systems in QEMU, with mini_fo as the first program and the overlay
# as the root. Kernels and packages are fetched; what cannot be had is skipped.
#
# Usage: scripts/boot.sh [--quick] [CASE...]     scripts/boot.sh --list | --help
#   MINI_FO=PROGRAM   the program to put into the images (default: the debug build)
#   KERNELS="stable newest full"   see scripts/boot/kernels.sh
#   BOOT_KEEP=DIR     the logs of the consoles stay there
#   ONLY="renames,times"   of the suites on other storages these groups alone
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:/usr/sbin:/sbin
. scripts/boot/cases.sh
. scripts/boot/cases-storage.sh

quick=
chosen=()
for word in "$@"; do
    case $word in
        --quick) quick=yes ;;
        --list) list_cases; exit 0 ;;
        --help | -h) sed -n '2,$s/^# \{0,1\}//p;/^set/q' scripts/boot.sh; exit 0 ;;
        -*) echo "boot: no option is called '$word' (scripts/boot.sh --help)" >&2; exit 2 ;;
        *) list_cases | grep -qxF -e "$word" || {
            # shellcheck disable=SC2046  # one line
            echo "boot: no case is called '$word'; there are:" $(list_cases) >&2
            exit 2
        }
            chosen+=("$word") ;;
    esac
done

mini_fo=${MINI_FO:-${CARGO_TARGET_DIR:-$PWD/target}/debug/mini_fo}
skips=${MINI_FO_SKIP_LOG:-/dev/null}
skip() { echo "SKIPPED boot: $*" | tee -a "$skips"; }

[ "$(uname -m)" = x86_64 ] || { skip "the tests know PCs only"; exit 0; }
scripts/setup.sh boot
for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mksquashfs:squashfs-tools \
    mke2fs:e2fsprogs mkfs.vfat:dosfstools xz:xz-utils strings:binutils; do
    command -v "${tool%:*}" >/dev/null || { skip "${tool%:*} is not installed (package ${tool#*:})"; exit 0; }
done
[ -x "$mini_fo" ] || cargo build --quiet -p mini_fo || exit 1

work=$(mktemp -d /tmp/mini_fo-boot-XXXXXX) || exit 1
qemu=
cleanup() {
    # What is waited for is timeout(1); the machine is its child.
    [ -z "$qemu" ] || { pkill -9 -P "$qemu"; kill -9 "$qemu" 2>/dev/null; }
    [ -z "${BOOT_KEEP:-}" ] || { mkdir -p "$BOOT_KEEP" && cp "$work"/*.log "$BOOT_KEEP"; }
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Whether $case is for a kernel.
runs_on() {
    case $case in
        jffs2 | ubifs) [ "$1" = full ] ;;
        *) [ "$1" != full ] ;;
    esac
}

declare -A kernels=()
[ ${#chosen[@]} -gt 0 ] || mapfile -t chosen < <(list_cases ${quick:+quick})
[ -z "$quick" ] && wanted="stable newest" || wanted="stable"
# Few cases want what most machines have not.
[ -n "${KERNELS:-}" ] || for case in "${chosen[@]}"; do runs_on full && { wanted="$wanted full"; break; }; done
for kind in ${KERNELS:-$wanted}; do
    if directory=$(scripts/boot/kernels.sh "$kind"); then
        kernels[$kind]=$directory
    else
        skip "no $kind kernel can be had"
    fi
done
[ ${#kernels[@]} -gt 0 ] || exit 0

# Debug information would fill the image.
program=$work/mini_fo
strip -o "$program" "$mini_fo" 2>/dev/null || cp "$mini_fo" "$program"
scripts/boot/images.sh root "$program" "$work/root" "${kernels[@]}" || exit 1
mksquashfs "$work/root" "$work/root.squashfs" -quiet -no-progress -all-root -comp gzip >/dev/null || exit 1
mke2fs -qF -t ext2 -L base -d "$work/root" "$work/root.ext2" 128M >/dev/null || exit 1
if command -v mkfs.erofs >/dev/null; then
    mkfs.erofs --quiet "$work/root.erofs" "$work/root" >/dev/null 2>&1 ||
        mkfs.erofs "$work/root.erofs" "$work/root" >/dev/null || exit 1
fi
for kind in "${!kernels[@]}"; do
    PROGRAM=$program scripts/boot/images.sh initramfs "${kernels[$kind]}" "$work/initramfs-$kind" || exit 1
done
sums=$(cd "$work" && sha256sum root.squashfs root.ext2)

accel=(-accel "tcg,thread=multi" -cpu "max,-cx16")
if [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then accel=(-accel kvm -cpu host); fi

# Starts a machine; waits for its end, or for a line. Drives: the root, then others.
#   boot TEST WORDS [DRIVE...]       $root, $memory, $limit, $until, $next, $cpus,
#   $hardware (more of the machine) and $monitor (a command that tells QEMU's monitor
#   what to do) are read
boot() {
    local name=$1 drives=() drive status rc=0
    words=$2
    shift 2
    boots=$((boots + 1))
    log=$work/$case-$kernel-$boots.log
    for drive in "$@"; do drives+=(-drive "file=$drive,format=raw,if=virtio,discard=unmap"); done
    ${monitor:-true} | timeout -k 5 "${limit:-120}" qemu-system-x86_64 -M q35 "${accel[@]}" -smp "${cpus:-1}" \
        -m "${memory:-256}" -nodefaults -no-user-config -display none -monitor stdio "${hardware[@]}" \
        -serial "file:$log" -no-reboot -kernel "${kernels[$kernel]}/vmlinuz" \
        -initrd "$work/initramfs-$kernel" \
        -drive "file=${root:-$work/root.squashfs},format=raw,if=virtio,${root_options:-readonly=on}" "${drives[@]}" \
        -append "console=ttyS0 panic=-1 quiet root=/dev/vda next=${next:-/sbin/mini_fo-init} t=$name $words " >/dev/null &
    qemu=$!
    if [ -n "${until:-}" ]; then
        # The power goes.
        for _ in $(seq 1200); do
            grep -q "$until" "$log" 2>/dev/null && break
            kill -0 "$qemu" 2>/dev/null || break
            sleep 0.1
        done
        pkill -9 -P "$qemu"
        wait "$qemu" 2>/dev/null
        qemu=
        return 0
    fi
    wait "$qemu"
    status=$?
    qemu=
    [ $status = 0 ] || { complain "QEMU ended with $status (124: time ran out)"; rc=1; }
    grep -q "^boot: passed $name" "$log" || { complain "the test $name did not pass"; rc=1; }
    ! grep -qE 'boot: FAIL|Kernel panic|BUG:|BOOT-FAIL|Oops' "$log" || { complain "the console tells of faults"; rc=1; }
    return $rc
}

complain() {
    echo "  FAILED $case, $kernel kernel: $*"
    result=failed
    shown=$log
}

# What a console has to tell.
tells() { grep -q -- "$1" "$log" || complain "the console does not tell: $1"; }

# A daemon is small, at rest and at work, unless it is a debug build.
small() {
    local kib
    [[ $mini_fo == */release/* ]] || return
    for kib in $(tr -d '\r' < "$log" | sed -n 's/^boot: memory of the daemon[a-z ]*: \([0-9]*\) kB.*/\1/p'); do
        [ "$kib" -le 4096 ] || complain "the daemon has $kib kB"
    done
    [ -n "${kib:-}" ] || complain "the memory of the daemon is not told"
    [[ $words != *at_work* ]] || tells 'memory of the daemon at work: [0-9]'
}

# A file system that needs no recovery.
clean() {
    if dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery; then complain "the storage needs recovery"; fi
    dumpe2fs -h "$1" 2>/dev/null | grep -qx 'Filesystem state: *clean' || complain "the storage is not clean"
}

storage_ext4() { rm -f "$work/$1"; mke2fs -qF -t ext4 -L storage "$work/$1" "${2:-64M}" >/dev/null || exit 1; }

failed=
run() {
    case=$1 kernel=$2 boots=0 result=passed shown=
    unset root memory limit until next cpus monitor
    hardware=()
    local begun=$SECONDS facts
    "case_$case"
    [ $result = failed ] || [ "$boots" -gt 0 ] || result=skipped
    (cd "$work" && echo "$sums" | sha256sum --quiet -c) || complain "the base was written"
    facts=$(cat "$work/$case-$kernel-"*.log 2>/dev/null | sed -n 's/\r$//; s/^boot: \(memory of the daemon[a-z ]*: [0-9].*\|vfat.*\)$/\1/p' | sort -u | tr '\n' ';')
    echo "boot $case, $kernel kernel ($boots boots, $((SECONDS - begun)) s): $result ${facts:+($facts)}"
    if [ $result = failed ]; then
        failed="$failed $case/$kernel"
        [ -z "$shown" ] || tail -n 40 "$shown" | sed 's/^/    | /'
    fi
}

for kernel in stable newest full; do
    [ -n "${kernels[$kernel]:-}" ] || continue
    for case in "${chosen[@]}"; do
        runs_on "$kernel" && run "$case" "$kernel"
    done
done
[ -z "$failed" ] || { echo "boot: FAILED:$failed"; exit 1; }
