#!/bin/bash
# Installs what the tests and the demonstration need and the machine lacks.
# Usage: scripts/setup.sh demo|test|boot
# Never fails for want of rights: it says what is missing and goes on. Packages are
# named before they are installed; MINI_FO_SETUP=no installs none.
set -u
cd "$(dirname "$0")/.." || exit 1

what=${1:-test}

# Program, and the Debian package that has it.
needs="cc:gcc mksquashfs:squashfs-tools fusermount3:fuse3 unshare:util-linux"
if [ "$what" = boot ]; then
    needs="qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mksquashfs:squashfs-tools
        mke2fs:e2fsprogs mkfs.vfat:dosfstools mkfs.erofs:erofs-utils xz:xz-utils
        strings:binutils mmdebstrap:mmdebstrap mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs
        ubinize:mtd-utils"
elif [ "$what" = test ]; then
    needs="$needs git:git rsync:rsync sqlite3:sqlite3 setfattr:attr setfacl:acl make:make
        mkfs.erofs:erofs-utils mke2fs:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs
        xorriso:xorriso setcap:libcap2-bin mkfs.exfat:exfatprogs mount.exfat-fuse:exfat-fuse
        bindfs:bindfs newuidmap:uidmap podman:podman crun:crun umoci:umoci zsh:zsh fish:fish chromedriver:chromium-driver dpkg-shlibdeps:dpkg-dev lintian:lintian"
fi

missing=
for need in $needs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${need%%:*}" >/dev/null 2>&1 ||
        missing="$missing ${need#*:}"
done
# A kernel without ISO 9660 reads the "CD" of the tests through FUSE.
if [ "$what" = test ] && ! modprobe -q iso9660 2>/dev/null && ! grep -q iso9660 /proc/filesystems &&
    ! command -v fuseiso >/dev/null 2>&1; then
    missing="$missing fuseiso"
fi
# pjdfstest is linked with libacl.
if [ "$what" = test ] && ! [ -e /usr/include/sys/acl.h ]; then
    missing="$missing libacl1-dev"
fi

scripts/rust.sh || exit 1

[ -n "$missing" ] || exit 0
if [ "${MINI_FO_SETUP:-yes}" = no ]; then
    echo "setup: not installed, as asked for (MINI_FO_SETUP=no):$missing"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    echo "setup: not root and no sudo without a password: not installed; what needs them is left out"
    echo "setup: an administrator can do it: apt-get install$missing"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: no apt-get here; install these by the means of this system:$missing"
    exit 0
fi
echo "setup: installing packages (MINI_FO_SETUP=no installs none):$missing"
# shellcheck disable=SC2086  # lists of words on purpose
{
    $root apt-get -qq update || true
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null ||
        echo "setup: some packages could not be installed; what needs them is left out"
}
exit 0
