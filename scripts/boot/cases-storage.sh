# Cases of scripts/boot.sh: what a storage lies on, how it is found, and what is
# wrong with it. Sourced by bash, as cases.sh.
# shellcheck shell=bash disable=SC2034,SC2154  # variables of the one that sources it

storage_cases="uuid late fsck file_systems jffs2 ubifs keep_full"

# By its UUID, behind other file systems, in capitals too.
case_uuid() {
    local uuid=3f2a5b7c-0d1e-4f60-8a9b-c0d1e2f3a4b5
    storage_ext4 other.ext4
    storage_ext4 s.ext4
    tune2fs -U $uuid "$work/s.ext4" >/dev/null
    boot write "mini_fo.storage=UUID=$uuid" "$work/other.ext4" "$work/s.ext4"
    clean "$work/s.ext4"
    # The other one has not been touched, and takes the other place.
    boot written "mini_fo.storage=UUID=${uuid^^}" "$work/s.ext4" "$work/other.ext4"
    debugfs -R 'stat mini_fo' "$work/other.ext4" 2>&1 | grep -q 'not found' || complain "the wrong device was taken"
}

# A device that comes later: a disk that is plugged in, and a loop device, whose node
# is there before it is one.
case_late() {
    storage_ext4 s.ext4
    hardware=(-device "pcie-root-port,id=slot1,chassis=1"
        -drive "file=$work/s.ext4,format=raw,if=none,id=late")
    monitor=plug_in_when_waited_for
    boot write "mini_fo.storage=LABEL=storage mini_fo.wait=60 loglevel=7"
    tells 'waiting for LABEL=storage'
    clean "$work/s.ext4"
    boot written "mini_fo.storage=/dev/vdb mini_fo.wait=60 loglevel=7"
    tells 'waiting for /dev/vdb'
    unset hardware monitor
    # A file system that begins later on the disk, so that the disk itself has none.
    rm -f "$work/looped"
    truncate -s 1M "$work/looped"
    cat "$work/s.ext4" >> "$work/looped"
    next=/sbin/init
    boot written "boot=initramfs loop=3 loglevel=7 mini_fo.storage=LABEL=storage" "$work/looped"
    tells 'waiting for LABEL=storage'
    boot written "boot=initramfs loop=3 loglevel=7 mini_fo.storage=/dev/loop0" "$work/looped"
    tells 'waiting for /dev/loop0'
}

# Talks to QEMU's monitor.
plug_in_when_waited_for() {
    for _ in $(seq 600); do
        grep -q 'waiting for' "$log" 2>/dev/null && break
        sleep 0.1
    done
    echo 'device_add virtio-blk-pci,drive=late,bus=slot1,id=plugged'
}

# Errors that fsck -a repairs, and errors that it leaves to somebody else.
case_fsck() {
    local block
    storage_ext4 s.ext4
    boot write "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    block=$(debugfs -R 'blocks mini_fo/new/large' "$work/s.ext4" 2>/dev/null | awk '{ print $1 }')
    debugfs -w -R "freeb $block 3" "$work/s.ext4" 2>/dev/null
    debugfs -w -R 'set_super_value state 2' "$work/s.ext4" 2>/dev/null
    boot written "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    tells '/dev/vdb was repaired (fsck: 1)'
    clean "$work/s.ext4"
    e2fsck -fn "$work/s.ext4" >/dev/null 2>&1 || complain "errors are left"

    debugfs -w -R 'mkdir other' "$work/s.ext4" 2>/dev/null
    debugfs -w -R 'set_inode_field other mode 0100644' "$work/s.ext4" 2>/dev/null
    debugfs -w -R 'set_super_value state 2' "$work/s.ext4" 2>/dev/null
    boot plain "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    tells 'is damaged, and fsck -a did not repair it'
    boot basic "mini_fo.storage=LABEL=storage mini_fo.fallback=tmpfs" "$work/s.ext4"
    tells 'is damaged, and fsck -a did not repair it .*changes go to memory'
    boot written "mini_fo.storage=LABEL=storage mini_fo.fsck=yes" "$work/s.ext4"
    tells '/dev/vdb was repaired (fsck: 1)'
    e2fsck -fn "$work/s.ext4" >/dev/null 2>&1 || complain "errors are left"
}

# Other file systems of disks.
case_file_systems() {
    memory=384
    if command -v mkfs.btrfs >/dev/null; then
        truncate -s 128M "$work/s.btrfs"
        mkfs.btrfs -qf -L storage "$work/s.btrfs" >/dev/null || complain "mkfs.btrfs"
        boot write "mini_fo.storage=LABEL=storage" "$work/s.btrfs"
        btrfs inspect-internal dump-super "$work/s.btrfs" | grep -q '^log_root[[:space:]]*0$' ||
            complain "the log of btrfs is not empty"
        boot written "mini_fo.storage=/dev/vdb" "$work/s.btrfs"
        btrfs check "$work/s.btrfs" >/dev/null 2>&1 || complain "btrfs has errors"
    else
        skip "mkfs.btrfs is not installed (package btrfs-progs)"
    fi
    if command -v mkfs.xfs >/dev/null; then
        truncate -s 320M "$work/s.xfs"
        mkfs.xfs -qf -L storage "$work/s.xfs" || complain "mkfs.xfs"
        boot write "mini_fo.storage=LABEL=storage" "$work/s.xfs"
        # It says so where its log is not empty.
        xfs_repair -n "$work/s.xfs" >"$work/repair" 2>&1 && ! grep -q 'ALERT' "$work/repair" ||
            complain "xfs is not clean: $(head -5 "$work/repair")"
        boot written "mini_fo.storage=/dev/vdb" "$work/s.xfs"
    else
        skip "mkfs.xfs is not installed (package xfsprogs)"
    fi
}

# The file systems of flash memory, on a disk that a module shows as one. Erased flash
# has all bits set, and both begin on it by themselves. The kernels of clouds have no
# such modules.
case_jffs2() {
    memory=384 limit=300
    head -c 33554432 /dev/zero | tr '\0' '\377' > "$work/s.jffs2"
    boot write "flash=mtd mini_fo.storage=/dev/mtdblock0:jffs2" "$work/s.jffs2"
    boot written "flash=mtd mini_fo.storage=/dev/mtdblock0:jffs2" "$work/s.jffs2"
}

case_ubifs() {
    memory=384 limit=300
    if ! command -v ubinize >/dev/null; then
        skip "ubinize is not installed (package mtd-utils)"
        return
    fi
    head -c 67108864 /dev/zero | tr '\0' '\377' > "$work/s.ubi"
    printf '[storage]\nmode=ubi\nvol_id=0\nvol_size=40MiB\nvol_type=dynamic\nvol_name=storage\n' > "$work/ubi.ini"
    ubinize -o "$work/ubi" -p 128KiB -m 1 "$work/ubi.ini" || complain "ubinize"
    dd if="$work/ubi" of="$work/s.ubi" conv=notrunc status=none
    boot write "flash=ubi mini_fo.storage=/dev/ubi0_0:ubifs" "$work/s.ubi"
    boot written "flash=ubi mini_fo.storage=/dev/ubi0_0:ubifs" "$work/s.ubi"
}

# No room for what a reset is to keep: it is told, nothing is lost, and nothing is
# kept by half. When there is room, the reset is made.
case_keep_full() {
    storage_ext4 s.ext4 24M
    boot fill "mini_fo.storage=LABEL=storage" "$work/s.ext4"
    boot filled "mini_fo.storage=LABEL=storage mini_fo.reset=1 mini_fo.keep=/kept" "$work/s.ext4"
    tells 'no reset to factory defaults: .*/kept/.*No space left'
    clean "$work/s.ext4"
    boot filled "mini_fo.storage=LABEL=storage make_room" "$work/s.ext4"
    boot refilled "mini_fo.storage=LABEL=storage mini_fo.reset=1 mini_fo.keep=/kept" "$work/s.ext4"
    tells 'reset to factory defaults'
    clean "$work/s.ext4"
}
