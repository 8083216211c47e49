# A system of its own to run a recipe in: changes go to a tmpfs, and / is a shared
# mount. Runs as process 1 of namespaces of its own, which end with it.
#
# sandbox.sh BOX PROGRAM WHO SETUP <LINES: the lines are run by a shell that reads
# them from a pipe, so that shells which they start go on with the rest.
set -eu
box=$1 program=$2 who=$3 setup=$4
cat >"$box/lines"
mount -t tmpfs -o mode=755 none "$box/mem" || exit 77
mkdir "$box/mem/upper" "$box/mem/work" "$box/mem/root"
root=$box/mem/root
mount -t overlay none -o "lowerdir=/,upperdir=$box/mem/upper,workdir=$box/mem/work" "$root" || exit 77
for dir in sys dev; do mount --rbind --make-rprivate /$dir "$root/$dir"; done
mount -t proc proc "$root/proc"
for dir in run tmp mnt media opt; do mount -t tmpfs -o mode=1777 none "$root/$dir"; done
cp "$box/lines" "$root/tmp/lines"
cp "$program" "$root/usr/local/bin/mini_fo"
ln -sf /usr/local/bin/mini_fo "$root/sbin/mount.mini_fo"
mkdir "$root/tmp/old"
cd "$root"
pivot_root . tmp/old
cd /
umount -l /tmp/old
mknod -m 666 /tmp/fuse c 10 229
mount --bind /tmp/fuse /dev/fuse
mount --make-rshared /
mkdir -p /home/me
cd /home/me
export PATH=/usr/local/bin:/usr/sbin:/sbin:/usr/bin:/bin SHELL=/bin/bash HOME=/home/me
unset XDG_RUNTIME_DIR
bash -euc "$setup"
before=$(cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/(dev|sys|proc)' | sort)
case $who in
    root) cat /tmp/lines | bash -e ;;
    user)
        chown 65534:65534 /home/me
        # shellcheck disable=SC2002  # a pipe, not a file
        cat /tmp/lines | setpriv --reuid=65534 --regid=65534 --clear-groups bash -e
        ;;
esac
after=$(cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/(dev|sys|proc)' | sort)
if [ "$before" != "$after" ]; then
    printf "THE SYSTEM'S MOUNTS CHANGED:\n%s\n%s\n" "$before" "$after"
    exit 1
fi
