#!/bin/bash
# Makes a root that systemd runs, with what the busybox root has: a tree in
# target/boot/systemd, made once, from where this system gets its packages.
#
#   systemd.sh BUSYBOX_ROOT DIRECTORY    status 1: it cannot be had
set -u
cd "$(dirname "$0")/../.." || exit 1
busybox_root=$1 root=$2
kept=$PWD/target/boot/systemd.tar

say() { echo "boot: $*" >&2; }

if ! [ -e "$kept" ] || [ -n "$(find "$kept" -mtime +30)" ]; then
    command -v mmdebstrap >/dev/null || { say "mmdebstrap is not installed"; exit 1; }
    [ "$(id -u)" = 0 ] || { say "a systemd root is made by root"; exit 1; }
    # shellcheck disable=SC2016  # apt's own variables
    lines=$(apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(CODENAME) $(REPO_URI)' |
        awk '$1 == "Packages" && $2 == "main" && $3 !~ /-/ { print "deb " $4 " " $3 " main" }' | sort -u)
    suite=$(echo "$lines" | awk '{ print $3; exit }')
    [ -n "$suite" ] || { say "apt knows no archive of Debian"; exit 1; }
    say "making a root with systemd ($suite)"
    echo "$lines" | mmdebstrap --format=tar --variant=minbase --mode=root \
        --include=systemd-sysv,e2fsprogs,kmod --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$suite" "$kept.new" - >&2 && mv "$kept.new" "$kept" || { rm -rf "$kept.new"; exit 1; }
fi
mkdir "$root" && tar -xf "$kept" -C "$root" --exclude=./dev/* || exit 1
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

# The program, its links, the modules and the tests are those of the other root.
cp "$busybox_root/usr/bin/mini_fo" "$root/usr/bin/"
ln -s /usr/bin/mini_fo "$root/usr/sbin/mini_fo-init"
mkdir -p "$root/usr/lib/systemd/system-shutdown" "$root/usr/lib/boot" "$root/usr/lib/modules"
ln -s /usr/bin/mini_fo "$root/usr/lib/systemd/system-shutdown/mini_fo.shutdown"
cp -r "$busybox_root/usr/lib/boot/." "$root/usr/lib/boot/"
cp -r "$busybox_root/lib/modules/." "$root/usr/lib/modules/"
cp -r "$busybox_root/usr/share/tree" "$busybox_root/usr/share/large" "$root/usr/share/"
echo original > "$root/etc/original"
echo 'user:x:1000:1000:user:/home:/bin/sh' >> "$root/etc/passwd"
rm -f "$root/etc/machine-id" && echo uninitialized > "$root/etc/machine-id"
# What takes a slow machine its time and is of no use here.
for unit in systemd-networkd systemd-resolved systemd-timesyncd systemd-udevd systemd-udev-trigger \
    getty@tty1 serial-getty@ttyS0 systemd-pstore apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap; do
    case $unit in *.timer) ;; *) unit=$unit.service ;; esac
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat > "$root/etc/systemd/system/boot-test.service" <<'UNIT'
[Unit]
Description=the test that t= names
After=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh /usr/lib/boot/runner
ExecStopPost=/bin/systemctl poweroff --no-block
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../boot-test.service "$root/etc/systemd/system/graphical.target.wants/boot-test.service"
