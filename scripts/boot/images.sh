#!/bin/bash
# Makes what the boot tests start: an initramfs for a kernel, and a root that
# busybox runs.
#
#   images.sh initramfs KERNEL FILE           KERNEL: a directory of kernels.sh
#   images.sh root PROGRAM DIRECTORY KERNEL...
#   images.sh tools DIRECTORY KERNEL...       adds to a root $PROGRAMS, and the modules
#                                             of file systems to lay storages on
set -eu
here=$(cd "$(dirname "$0")" && pwd)

busybox=$(command -v busybox)
# What an initramfs for these tests needs.
modules="crc32c_generic virtio_pci virtio_blk squashfs erofs ext4 loop"
# What is inserted only where a word asks for it, with parameters.
later="block2mtd mtdblock ubi"
# What mini_fo loads from the root. (The kernel asks for ciphers and checksums by itself.)
more="fuse crc32c_generic ext4 btrfs xfs jffs2 ubifs zstd lzo deflate vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8"
# For storages on other file systems.
others="$more exfat nfs nfsv3 nfsv4 nfsd veth"

# Copies modules and what they need, unpacked, and prints them in the order in
# which they are inserted. $1: kernel, $2: root, the rest: names.
copy_modules() {
    local kernel=$1 root=$2 version name file
    shift 2
    version=$(cat "$kernel/version")
    local to=$root/lib/modules/$version
    mkdir -p "$to"
    declare -gA done_modules=()
    copy_module() {
        local name=${1//-/_} need
        [ -z "${done_modules[$name]:-}" ] || return 0
        done_modules[$name]=1
        file=$(find "$kernel/modules/kernel" \( -name "${name//_/[-_]}.ko" -o -name "${name//_/[-_]}.ko.xz" \) | head -1)
        # What is no module is in the kernel, or nobody has it.
        [ -n "$file" ] || return 0
        case $file in
            *.xz) xz -dc "$file" > "$to/$name.ko" ;;
            *) cp "$file" "$to/$name.ko" ;;
        esac
        for need in $(strings -a "$to/$name.ko" | sed -n 's/^depends=//p' | tr ',' ' ') \
            $(strings -a "$to/$name.ko" | sed -n 's/^softdep=pre: //p'); do
            copy_module "$need"
        done
        echo "$name"
    }
    for name in "$@"; do
        copy_module "$name"
    done
}

# Copies programs with their libraries.
copy_programs() {
    local root=$1 program library
    shift
    for program in "$@"; do
        install -D "$program" "$root$program"
        ldd "$program" 2>/dev/null | sed -n 's/.*\(=> \|^\t\)\(\/[^ ]*\).*/\2/p' | while read -r library; do
            [ -e "$root$library" ] || install -D "$(readlink -f "$library")" "$root$library"
        done
    done
}

initramfs() {
    local kernel=$1 file=$2 work
    work=$(mktemp -d)
    mkdir -p "$work/bin" "$work/dev" "$work/proc" "$work/sys" "$work/root" "$work/run"
    cp "$busybox" "$work/bin/busybox"
    ln -s busybox "$work/bin/sh"
    # shellcheck disable=SC2086  # a list of words on purpose
    copy_modules "$kernel" "$work" $modules > "$work/modules"
    # shellcheck disable=SC2086  # a list of words on purpose
    copy_modules "$kernel" "$work" $later > "$work/modules-later"
    cp "$here/initramfs-init" "$work/init"
    [ -z "${PROGRAM:-}" ] || {
        copy_programs "$work" "$(readlink -f "$PROGRAM")"
        mv "$work$(readlink -f "$PROGRAM")" "$work/bin/mini_fo"
    }
    (cd "$work" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 > "$file"
    rm -rf "$work"
}

root() {
    local program=$1 root=$2 kernel applet
    shift 2
    mkdir -p "$root"/{bin,sbin,etc,usr/bin,usr/sbin,usr/lib/boot,dev,proc,sys,run,tmp,root,home,var/lib,data,mnt}
    chmod 1777 "$root/tmp"
    cp "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s /bin/busybox "$root/bin/$applet"
    done
    ln -s /bin/busybox "$root/sbin/init"
    for applet in modprobe insmod; do ln -s /bin/busybox "$root/sbin/$applet"; done
    copy_programs "$root" "$(readlink -f "$program")" "$(PATH=$PATH:/sbin:/usr/sbin command -v e2fsck)"
    mv "$root$(readlink -f "$program")" "$root/usr/bin/mini_fo"
    (cd "$root" && find . -name e2fsck -exec cp {} sbin/fsck.ext4 \;)
    ln -s /usr/bin/mini_fo "$root/sbin/mini_fo-init"
    cp "$here/inittab" "$root/etc/inittab"
    cp "$here/runner" "$root/usr/lib/boot/runner"
    cp "$here/lib-storage" "$here/answer-rpc" "$root/usr/lib/boot/"
    cp -r "$here/tests" "$root/usr/lib/boot/tests"
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
    echo 'user:x:1000:1000:user:/home:/bin/sh' >> "$root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' > "$root/etc/group"
    echo original > "$root/etc/original"
    mkdir -p "$root/usr/share/tree"
    for n in $(seq 200); do echo "file $n" > "$root/usr/share/tree/$n"; done
    dd if=/dev/urandom of="$root/usr/share/large" bs=1M count=2 status=none
    for kernel in "$@"; do
        # shellcheck disable=SC2086  # a list of words on purpose
        copy_modules "$kernel" "$root" $more > /dev/null
        "$busybox" depmod -b "$root" "$(cat "$kernel/version")" 2>/dev/null || true
    done
    find "$root" -exec touch -h -d 2020-01-01 {} +
}

tools() {
    local root=$1 program kernel
    shift
    for program in $PROGRAMS; do
        program=$(readlink -f "$program")
        copy_programs "$root" "$program"
        [ "$(dirname "$program")" = /usr/bin ] || mv "$root$program" "$root/usr/bin/"
        # Not busybox's.
        [ ! -L "$root/bin/${program##*/}" ] || rm "$root/bin/${program##*/}"
    done
    echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >> "$root/etc/passwd"
    echo 'daemon:x:1:1:daemon:/:/bin/sh' >> "$root/etc/passwd"
    printf 'nogroup:x:65534:\ndaemon:x:1:\n' >> "$root/etc/group"
    for kernel in "$@"; do
        # shellcheck disable=SC2086  # a list of words on purpose
        copy_modules "$kernel" "$root" $others > /dev/null
        "$busybox" depmod -b "$root" "$(cat "$kernel/version")" 2>/dev/null || true
    done
}

what=$1
shift
"$what" "$@"
