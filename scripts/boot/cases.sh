# The cases of scripts/boot.sh. Each boots one machine or some, one after the
# other, with the same storage. Sourced by bash.
# shellcheck shell=bash disable=SC2034,SC2154  # variables of the one that sources it

quick_cases="basic power_cut missing persists load"
long_cases="bare initramfs hook other_bases directory config reset full vfat broken read_only kept_init memory limits systemd"

# Storages on what the kernel of the tests' machine may lack: some minutes each.
suite_cases="hole_vfat nfs_remove nfs_kinds nfs_clients conformance_vfat conformance_nfs pjdfstest_vfat pjdfstest_nfs"

# storage_cases are those of cases-storage.sh.
list_cases() {
    if [ "${1:-}" = quick ]; then printf '%s\n' $quick_cases; else printf '%s\n' $quick_cases $long_cases $storage_cases $suite_cases; fi
}

# A tmpfs as storage: what was mounted before is there, list knows the root.
case_basic() {
    boot basic "mini_fo.storage=tmpfs:32M"
    small
    [ -z "$quick" ] || return
    boot basic "at_work"
    small
}

# The load under which a daemon that needs its own tree stands still.
case_load() {
    cpus=2 limit=300
    boot load "mini_fo.storage=tmpfs:32M load=${quick:+20}"
    [ -n "$quick" ] || boot load "mini_fo.storage=tmpfs:32M mini_fo.options=live_base=0.01"
}

# ext4 by its label; a busybox shutdown while a program writes leaves it clean.
case_persists() {
    storage_ext4 s.ext4
    boot write "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    clean "$work/s.ext4"
    boot written "mini_fo.storage=/dev/vdb:ext4:noatime" "$work/s.ext4"
    clean "$work/s.ext4"
}

# The power goes between syncs: everything that was synced is there.
case_power_cut() {
    storage_ext4 s.ext4
    local rounds=3 round safe
    [ -z "$quick" ] || rounds=1
    for round in $(seq $rounds); do
        storage_ext4 s.ext4
        until="boot: synced $((round * 17))" 
        boot synced "mini_fo.storage=LABEL=storage" "$work/s.ext4"
        unset until
        safe=$(tr -d '\r' < "$log" | sed -n 's/^boot: synced \([0-9]*\)$/\1/p' | tail -n 1)
        [ -n "$safe" ] || complain "nothing was synced"
        boot survived "mini_fo.storage=LABEL=storage safe=${safe:-0}" "$work/s.ext4"
    done
}

# A storage that is not there: the root as it is, or memory.
case_missing() {
    boot plain "mini_fo.storage=LABEL=nowhere mini_fo.wait=1"
    tells 'no device LABEL=nowhere'
    [ -z "$quick" ] || return
    boot basic "mini_fo.storage=/dev/vdz mini_fo.wait=1 mini_fo.fallback=tmpfs"
    tells 'no device /dev/vdz'
}

# Nothing is mounted when it starts: no /proc, /sys, /run, /dev.
case_bare() {
    boot basic "boot=bare mini_fo.storage=tmpfs:32M"
}

# Called by an initramfs, which leaves the rest to it.
case_initramfs() {
    next=/sbin/init
    storage_ext4 s.ext4
    boot basic "boot=initramfs mini_fo.storage=tmpfs:32M"
    boot write "boot=initramfs mini_fo.storage=LABEL=storage" "$work/s.ext4"
    clean "$work/s.ext4"
    boot written "boot=initramfs mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot plain "boot=initramfs mini_fo.storage=LABEL=nowhere mini_fo.wait=1"
}

# Called by an initramfs that changes the root by itself.
case_hook() {
    next=/sbin/init
    boot basic "boot=hook mini_fo.storage=tmpfs:32M"
    boot plain "boot=hook mini_fo.storage=LABEL=nowhere mini_fo.wait=1"
}

# Other read-only roots.
case_other_bases() {
    root=$work/root.ext2
    boot basic "mini_fo.storage=tmpfs:32M"
    if [ -e "$work/root.erofs" ]; then
        root=$work/root.erofs
        boot basic "mini_fo.storage=tmpfs:32M"
    else
        skip "no erofs-utils"
    fi
}

# A directory of the root, which can be written.
case_directory() {
    cp "$work/root.ext2" "$work/writable.ext2"
    root_options=readonly=off
    root=$work/writable.ext2
    boot write "mini_fo.storage=/var/lib"
    boot written "mini_fo.storage=/var/lib"
    boot plain "mini_fo.storage=/nosuch"
    unset root_options
}

# The settings lie in the image. A word that means nothing is told.
case_config() {
    cp -a "$work/root" "$work/configured"
    printf 'storage=LABEL=storage\nfallback=tmpfs # or not\nwait=2\n' > "$work/configured/etc/mini_fo.conf"
    mksquashfs "$work/configured" "$work/configured.squashfs" -quiet -no-progress -all-root >/dev/null
    root=$work/configured.squashfs
    storage_ext4 s.ext4
    boot write "mini_fo.nonsense" "$work/s.ext4"
    tells 'mini_fo.nonsense: there is no such setting'
    tells 'fallback=tmpfs # or not'
    boot written "" "$work/s.ext4"
    boot plain ""
    rm -r "$work/configured"
}

# Factory defaults: by a word once, by a file, and what is kept.
case_reset() {
    storage_ext4 s.ext4
    boot write "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot kept "mini_fo.storage=LABEL=storage mini_fo.reset=1 mini_fo.keep=/new:/usr/share/tree:/none" "$work/s.ext4"
    tells 'reset to factory defaults'
    boot asks "mini_fo.storage=LABEL=storage mini_fo.reset=1" "$work/s.ext4"
    boot reset "mini_fo.storage=LABEL=storage mini_fo.reset=1 mini_fo.keep=/etc/hosts:/etc" "$work/s.ext4"
    boot reset "mini_fo.storage=LABEL=storage mini_fo.reset=1" "$work/s.ext4"
    ! grep -q 'reset to factory' "$log" || complain "it is reset again and again"
}

# A full storage, and who may have the rest.
case_full() {
    storage_ext4 s.ext4 24M
    boot full "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    clean "$work/s.ext4"
}

case_vfat() {
    rm -f "$work/s.vfat"
    mkfs.vfat -C -n STORAGE "$work/s.vfat" 65536 >/dev/null
    boot vfat "mini_fo.storage=LABEL=STORAGE" "$work/s.vfat"
}

# A file system that is no more, and one that fsck repairs.
case_broken() {
    storage_ext4 s.ext4
    boot write "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    dd if=/dev/urandom of="$work/s.ext4" bs=1k seek=2 count=40960 conv=notrunc status=none
    boot plain "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot basic "mini_fo.storage=LABEL=storage mini_fo.fallback=tmpfs" "$work/s.ext4"
    dd if=/dev/zero of="$work/s.ext4" bs=1M count=64 status=none
    boot plain "mini_fo.storage=/dev/vdb" "$work/s.ext4"
    tells 'no file system is known there'
}

# One boot without changes.
case_read_only() {
    storage_ext4 s.ext4
    boot write "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot read-only "mini_fo.storage=LABEL=storage mini_fo.ro" "$work/s.ext4"
    boot written "mini_fo.storage=LABEL=storage" "$work/s.ext4"
}

# The overlay hides the init: that of the base is executed.
case_kept_init() {
    storage_ext4 s.ext4
    boot no-init "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot plain "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    tells 'the overlay has no init'
}

# The memory is full: not the daemon dies.
case_memory() {
    boot memory "mini_fo.storage=tmpfs:50%"
}

# systemd: the daemon does not hold the shutdown up, and the hook leaves a clean
# storage.
case_systemd() {
    local begun
    if [ -z "${systemd_root:-}" ]; then
        if ! scripts/boot/systemd.sh "$work/root" "$work/systemd"; then
            skip "no root with systemd can be had"
            return
        fi
        mksquashfs "$work/systemd" "$work/systemd.squashfs" -quiet -no-progress >/dev/null || exit 1
        systemd_root=$work/systemd.squashfs
    fi
    root=$systemd_root memory=512 limit=400 cpus=2
    storage_ext4 s.ext4 128M
    boot write "mini_fo.storage=LABEL=storage systemd.show_status=1" "$work/s.ext4"
    clean "$work/s.ext4"
    quick_end
    boot written "mini_fo.storage=LABEL=storage at_work" "$work/s.ext4"
    small
    clean "$work/s.ext4"
    quick_end
}

# By the kernel's own clock: from the end of the test to the end of the machine.
quick_end() {
    local passed down
    down=$(tr -d '\r' < "$log" | sed -n 's/^\[ *\([0-9]*\)\..*reboot: Power down.*/\1/p' | tail -n 1)
    passed=$(tr -d '\r' < "$log" | sed -n 's/^boot: ended at \([0-9]*\).*/\1/p' | tail -n 1)
    [ -n "$down" ] && [ -n "$passed" ] || { complain "the console does not tell when it ended"; return; }
    [ $((down - passed)) -lt 40 ] || complain "the shutdown took $((down - passed)) s"
}

# What root may on a machine of its own: as many open files as there can be; and what
# a mount says that gets no threads.
case_limits() {
    memory=1024 limit=600
    boot threads "mini_fo.storage=tmpfs:32M"
    cp -a "$work/root" "$work/many"
    mkdir -p "$work/many/usr/share/many/a" "$work/many/usr/share/many/b"
    (cd "$work/many/usr/share/many" && seq 19900 | split -l 1 -a 5 -d - a/ && seq 19900 | split -l 1 -a 5 -d - b/)
    mksquashfs "$work/many" "$work/many.squashfs" -quiet -no-progress -all-root -comp gzip >/dev/null
    rm -r "$work/many"
    root=$work/many.squashfs
    boot descriptors "mini_fo.storage=tmpfs:32M"
}

case_nfs_remove() { on_other_storage nfs nfs-remove; }
case_nfs_kinds() { on_other_storage nfs nfs-kinds; }
case_nfs_clients() { on_other_storage nfs nfs-clients; }
case_hole_vfat() { on_other_storage vfat hole; }
case_conformance_vfat() { on_other_storage vfat conformance; }
case_conformance_nfs() { on_other_storage nfs conformance; }
case_pjdfstest_vfat() { on_other_storage vfat pjdfstest; }
case_pjdfstest_nfs() { on_other_storage nfs pjdfstest; }

# Runs a suite inside, and compares what does not pass with the list of what is lost.
# ONLY="renames,times" runs these groups alone.
on_other_storage() {
    local kind=$1 suite=$2
    storage_tools || return
    rm -f "$work/base.ext4" "$work/on"
    truncate -s 2G "$work/base.ext4"
    mke2fs -qF -t ext4 -N 400000 -O ^has_journal "$work/base.ext4" >/dev/null || exit 1
    truncate -s 1G "$work/on"
    case $kind in
        vfat)
            # A hole of 2 GiB is written there: that it must not fit is a case of its own.
            [ "$suite" = hole ] && truncate -s 300M "$work/on" || truncate -s 3G "$work/on"
            mkfs.vfat "$work/on" >/dev/null || exit 1
            ;;
        *) mke2fs -qF -t ext4 -N 200000 "$work/on" >/dev/null || exit 1 ;;
    esac
    # On a machine that does other work besides, a suite on NFS may take an hour.
    root=$tools_root next=/sbin/init memory=1024 limit=7200 cpus=2
    boot storage "kind=$kind do=$suite only=${ONLY:-}" "$work/base.ext4" "$work/on"
    case $suite in
        conformance | pjdfstest) judge_lost "$kind" "$suite" ;;
        *) tr -d '\r' < "$log" | sed -n 's/^told /    /p' ;;
    esac
    rm -f "$work/base.ext4" "$work/on"
}

# What does not pass is listed, and what is listed does not pass: of KIND, by SUITE.
judge_lost() {
    local list=scripts/boot/lost.$1 of=$work/of-$2
    tr -d '\r' < "$log" | sed -n "s/^lost $2 \([^ ]*\).*/\1/p" | sort -u > "$work/lost"
    "${CARGO_TARGET_DIR:-$PWD/target}/release/mini_fo_conformance" list | sort -u > "$work/of-conformance"
    # What is for this kernel; and what is lost each time, of this suite.
    sed -n "s/^\([a-z0-9_]*::[^ ]*\)\( sometimes\| on $kernel\|\)\$/\1/p" "$list" | sort -u > "$work/known"
    sed -n "s/^\([a-z0-9_]*::[^ ]*\)\( on $kernel\|\)\$/\1/p" "$list" | sort -u > "$work/always"
    comm -23 "$work/always" "$work/of-conformance" > "$work/of-pjdfstest"
    while read -r name; do
        complain "$(tr -d '\r' < "$log" | grep -m 1 "^lost $2 $name ")"
    done < <(comm -23 "$work/lost" "$work/known")
    [ -n "${ONLY:-}" ] || while read -r name; do
        complain "it is listed in $list, and passes: $name"
    done < <(comm -12 "$work/always" "$of" | comm -23 - "$work/lost")
    tr -d '\r' < "$log" | awk -v what="$2, storage on $1, $kernel kernel" '
        /^told [0-9]+ cases, [0-9]+ failures in / { all += $2; lost += $4 }
        /^told Summary: / { for (n = 3; n < NF; n++) {
            if ($(n + 1) ~ /^failed/) lost = $n
            if ($(n + 1) ~ /^skipped/) left_out = $n
            if ($(n + 1) ~ /^total/) all = $n } }
        END { printf "    %s: %d of %d pass, %d do not", what, all - lost - left_out, all, lost
            print left_out ? ", " left_out " are left out" : "" }'
    tells 'told the end'
}

# A root with the suites in it.
storage_tools() {
    [ -z "${tools_root:-}" ] || return 0
    local target=${CARGO_TARGET_DIR:-$PWD/target}
    scripts/pjdfstest.sh --install
    cargo build --release --quiet -p mini_fo_conformance || exit 1
    [ -x "$target/pjd/bin/pjdfstest" ] || { skip "pjdfstest is not there"; return 1; }
    cp -a "$work/root" "$work/tools" || exit 1
    PROGRAMS="$target/release/mini_fo_conformance $target/pjd/bin/pjdfstest \
        /usr/bin/sleep /usr/bin/id /usr/bin/unshare" \
        scripts/boot/images.sh tools "$work/tools" "${kernels[@]}" || exit 1
    mksquashfs "$work/tools" "$work/tools.squashfs" -quiet -no-progress -all-root -comp gzip >/dev/null || exit 1
    rm -rf "$work/tools"
    tools_root=$work/tools.squashfs
}
