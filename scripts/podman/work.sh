# What podman and buildah do, and what they show of it: for ../podman.sh, which compares
# the output of two mount programs. Numbers, times and digests are left out of it.
set -euo pipefail

step() { echo "== $*"; }
note() { echo "NOTE $*" >&2; }

# What a tree is: types, modes, owners, contents. Of directories neither size nor links.
tree() {
    (cd "${1:?}" && find . -xdev \( -type d -printf '%P %y %m %U:%G\n' \) \
        -o \( -type f -printf '%P %y %m %U:%G %s %n ' -exec sh -c 'sha256sum <"$0"' {} \; \) \
        -o -printf '%P %y %m %U:%G %l\n') | grep -v '^[^ ]*\(resolv.conf\|hosts\|hostname\|.containerenv\) ' | LC_ALL=C sort
}
export -f tree

# Builds copy their own program into memory and seal it, which fails with EBUSY at times,
# whatever the mount program is.
build() {
    local try
    for try in 1 2 3; do
        if "$@" >built 2>failed; then cat built; cat failed >&2; return 0; fi
        grep -q 'sealing memfd copy' failed || break
    done
    cat failed >&2
    return 1
}

# In the namespaces that the engine has its mounts in.
inside() {
    if [ "$(id -u)" = 0 ]; then "$@"; else podman unshare "$@"; fi
}

# Usage: show IMAGE-OR-CONTAINER: its tree, mounted.
show_container() { inside bash -c 'set -e; m=$(podman mount "$1"); tree $m; podman umount "$1" >/dev/null' - "$1"; }
show_image() { inside bash -c 'set -e; m=$(podman image mount "$1"); tree $m; podman image umount "$1" >/dev/null' - "$1"; }

# What is in an archive on standard input.
archive() { tar -tv --numeric-owner | sed -E 's/ [0-9]{4}-[0-9-]+ [0-9:]+ / /' | LC_ALL=C sort; }

step import
mkdir -p rootfs/{bin,etc,tmp,data/sub/deep,opt/many,proc,sys,dev,run,var}
cp "$(command -v busybox)" rootfs/bin/busybox
for name in sh cat chmod chown cp echo find id ln ls mkdir mknod mv rm sleep stat touch dd; do
    ln -s busybox rootfs/bin/$name
done
echo 'root:x:0:0:::/bin/sh' >rootfs/etc/passwd
echo 'daemon:x:1:1:::/bin/sh' >>rootfs/etc/passwd
echo base >rootfs/etc/base
echo one >rootfs/data/one
echo two >rootfs/data/sub/two
echo deep >rootfs/data/sub/deep/file
ln rootfs/data/one rootfs/data/hard
for number in $(seq 200); do echo $number >rootfs/opt/many/$number; done
head -c 3000000 /dev/zero | tr '\0' x >rootfs/opt/big
chmod 1777 rootfs/tmp
chmod 4755 rootfs/opt/many/1
tar -C rootfs --owner=0 --group=0 -c . | podman import - localhost/base:1 >/dev/null
show_image localhost/base:1

step build
cat >Containerfile <<'FILE'
FROM localhost/base:1
RUN echo new > /etc/new && rm /data/one && chmod 700 /data/sub
RUN rm -r /data && mkdir /data && echo again > /data/three && ln /data/three /data/four
RUN mv /etc/base /etc/moved && chown 5:6 /etc/moved && mv /opt/many /opt/several
RUN echo x | dd of=/opt/big bs=1 seek=1500000 conv=notrunc && rm /opt/several/1?0 && chown 7:8 /opt && chmod 751 /opt
RUN rm /bin/stat && mkdir /bin/stat && echo > /bin/stat/file && ln -s nowhere /etc/link
RUN mkdir -p /data/three.d/a/b && rm -r /data/three.d && touch /data/three.d && chmod 711 /
COPY added /etc/added
USER 1
RUN id > /tmp/id
FILE
echo added >added
build podman build -q --isolation chroot --network host --layers -t localhost/multi:1 . >/dev/null
podman history --format '{{.Size}} {{.CreatedBy}}' localhost/multi:1 | sed 's/sha256:[0-9a-f]*\|file:[0-9a-f]*\|in [^ ]*//g; s/#(nop).*//'
show_image localhost/multi:1

step build again, from the cache, and squashed
build podman build -q --isolation chroot --network host --layers -t localhost/multi:2 . >/dev/null
test "$(podman image inspect -f '{{.Id}}' localhost/multi:1)" = "$(podman image inspect -f '{{.Id}}' localhost/multi:2)" && echo the same
build podman build -q --isolation chroot --network host --squash-all -t localhost/flat:1 . >/dev/null
show_image localhost/flat:1

step a container is changed through its mount
podman create --name one --pull never localhost/multi:1 /bin/sh >/dev/null
inside bash -c 'set -e; m=$(podman mount one)
    echo changed >> $m/etc/new; rm $m/etc/passwd; mkdir $m/fresh; echo f > $m/fresh/file
    mv $m/fresh $m/renamed; echo 5 > $m/data/five; ln $m/data/five $m/data/six; chmod 600 $m/data/six
    mkfifo $m/fifo; rm $m/opt/several/9?; touch $m/opt/several/only
    chown -h 9:9 $m/etc/link; setfattr -n user.told -v yes $m/etc/new 2>/dev/null || true
    podman diff one | LC_ALL=C sort; tree $m; podman umount one >/dev/null'

step diff of it while it is not mounted
podman diff one | LC_ALL=C sort

step it shows the same again
show_container one

step commit, and what the image has
podman commit -q one localhost/committed:1 >/dev/null
show_image localhost/committed:1
podman diff localhost/committed:1 | LC_ALL=C sort

step export
podman export one | archive

# What the other program loses, so that it cannot tell how it should be: a link of an
# object of the image, the setgid bit of a directory, and that a directory was replaced.
if [ "$PROGRAM" = mini_fo ]; then
    printf '%s\n' 'FROM localhost/base:1' 'RUN chmod 2751 /opt' >Containerfile.more
    build podman build -q --isolation chroot --network host -f Containerfile.more -t localhost/more:1 . >/dev/null
    podman create --name more --pull never localhost/more:1 /bin/sh >/dev/null
    inside bash -c 'set -e; m=$(podman mount more); ln $m/data/hard $m/data/five; chmod 600 $m/data/one; echo more >> $m/data/five
        rm -r $m/opt/many; mkdir $m/opt/many; touch $m/opt/many/only; podman umount more >/dev/null'
    podman commit -q more localhost/more:2 >/dev/null
    for shown in "$(show_container more)" "$(show_image localhost/more:2)"; do
        diff <(grep -E '^(opt|data/(one|hard|five))' <<<"$shown" | grep -v '^opt/big' | cut -d' ' -f1-6) - <<'MORE' >&2
data/five f 600 0:0 9 3
data/hard f 600 0:0 9 3
data/one f 600 0:0 9 3
opt d 2751 0:0
opt/many d 2755 0:0
opt/many/only f 644 0:0 0 1
MORE
    done
    podman rm more >/dev/null
fi

step commit of a container that is mounted, and its mount goes on
inside bash -c 'set -e; m=$(podman mount one); podman commit -q one localhost/live:1 >/dev/null
    echo after > $m/after; cat $m/after; podman umount one >/dev/null'
show_image localhost/live:1

step save and load
podman save -q -o saved.tar localhost/committed:1
podman rmi -f localhost/committed:1 >/dev/null
podman load -q -i saved.tar >/dev/null
show_image localhost/committed:1

step files are copied in and out
podman cp added one:/etc/copied
podman cp one:/etc/new - | archive
podman diff one | LC_ALL=C sort

step buildah from scratch, with many layers on top
scratch=$(buildah from scratch)
inside bash -c 'set -e; m=$(buildah mount $1); stat -c "%a %u:%g" $m; cp -a rootfs/. $m; buildah umount $1 >/dev/null' - "$scratch"
buildah commit -q "$scratch" localhost/layer:0 >/dev/null
buildah rm "$scratch" >/dev/null
for number in $(seq 12); do
    container=$(buildah from --pull-never localhost/layer:$((number - 1)))
    build buildah run --isolation chroot "$container" sh -c "echo $number > /etc/n$number; rm /opt/many/$number; echo $number >> /etc/base"
    buildah commit -q "$container" localhost/layer:$number >/dev/null
    buildah rm "$container" >/dev/null
done
show_image localhost/layer:12

step two containers of one image
podman create --name two --pull never localhost/layer:12 /bin/sh >/dev/null
podman create --name three --pull never localhost/layer:12 /bin/sh >/dev/null
inside bash -c 'set -e; a=$(podman mount two); b=$(podman mount three)
    echo a > $a/etc/base; rm $b/etc/base; cat $a/etc/base; ls $b/etc; podman umount two three >/dev/null'
podman diff two; podman diff three

step run
# It cannot be raised everywhere.
limits=(--ulimit nproc=4096:4096 --ulimit "nofile=$(ulimit -Sn):$(ulimit -Hn)")
limits=("${limits[@]//unlimited/-1}")
if why=$(podman run --rm "${limits[@]}" --pull never localhost/base:1 /bin/true 2>&1) || why=$(podman run --rm "${limits[@]}" --pull never localhost/base:1 /bin/sh -c : 2>&1); then
    podman run "${limits[@]}" --name four --pull never --user 0 localhost/multi:1 /bin/sh -c 'cat /etc/moved > /out; rm /etc/new; ls -ln /etc /data; exit 3' | sed -E 's/ [A-Z][a-z]{2} +[0-9]+ [0-9:]+ / /' || echo "status $?"
    podman diff four | grep -v '/\(run\|proc\|sys\|dev\)\b' | LC_ALL=C sort
    podman start -a four >/dev/null || echo "status $?"
    podman run -d "${limits[@]}" --name five --pull never --user 0 localhost/multi:1 /bin/sleep 600 >/dev/null
    podman exec five sh -c 'echo exec > /etc/exec; cat /etc/exec'
    podman commit -q five localhost/running:1 >/dev/null
    podman kill five >/dev/null
    podman wait five >/dev/null
    show_image localhost/running:1
    podman run --rm "${limits[@]}" --pull never --read-only localhost/base:1 /bin/sh -c 'echo > /x; ls /'
    mkdir -p volume && echo volume >volume/file
    podman run --rm "${limits[@]}" --pull never -v "$PWD/volume:/volume:O" localhost/base:1 /bin/sh -c 'echo more > /volume/more; rm /volume/file; ls /volume'
    ls volume
else
    note "no container can be started here, so its mount is entered instead: $why"
    inside bash -c 'set -e; m=$(podman mount two); chroot $m /bin/sh -c "cat /etc/base; rm /etc/base; echo in > /etc/in; ls /etc"; podman umount two >/dev/null'
    podman diff two | LC_ALL=C sort
fi

step all is removed
podman rm -f -t 0 -a >/dev/null
podman rmi -f -a >/dev/null
inside bash -c 'grep -c "$PWD/graph.*merged" /proc/self/mounts || true'
