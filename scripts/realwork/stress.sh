#!/bin/bash
# stress-ng: its file-system stressors with --verify, natively and in the mount
# at the same time. Each works in a directory of its own that the base has.
. "$(dirname "$0")/common.sh"
needs stress-ng

seconds=2
stressors="access acl chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate
    fcntl fd-race fiemap file-ioctl filename flock fpunch fsize fstat hdd inotify inode-flags io
    io-uring iomix lease link locka lockf lockmix lockofd metamix mknod mmap mmapaddr mmapfiles mmapfixed msync
    open readahead rename rmap revio seek sendfile splice statmount symlink sync-file touch
    truncate unlink utime verity xattr"
stressors=" $(tr -s ' \n' ' ' <<< "$stressors") "

# Small enough for a page cache and a disk that others use too.
bounds="--copy-file-bytes 128M --dirdeep-inodes 2000 --dirdeep-bytes 1M --fallocate-bytes 16M --fiemap-bytes 16M
    --hdd-bytes 16M --iomix-bytes 16M --mmap-bytes 16M --readahead-bytes 16M --revio-bytes 16M --seek-size 16M
    --sendfile-size 1M --sync-file-bytes 16M --dentries 512 --dir-dirs 512 --fpunch-bytes 16M --hdd-opts rd-rnd,wr-rnd,fsync"

# Runs the stressor $1 in the present directory. (getdent is not among them: it
# walks /proc and /sys, wherever it is run.)
stress() {
    local known='' name size
    # Options that this version does not know would make it fail.
    while read -r name size; do
        [[ $name == --$1-* || ($1 == dentry && $name == --dentries) ]] &&
            grep -q -- "${name#--}" "$scene/log/options" && known="$known $name $size"
    done < <(xargs -n 2 <<< "$bounds")
    case $1 in
        mmap) known="$known --mmap-file" ;;
        # By itself it looks at /dev.
        fstat) known="$known --fstat-dir ." ;;
    esac
    mkdir -p work
    # shellcheck disable=SC2086  # a list of words on purpose
    timeout --kill-after=5 60 stress-ng --temp-path "$PWD/work" --timeout $seconds --verify --"$1" 2 $known
}

# A stressor that was slow to end is killed by stress-ng and leaves files, at
# times append-only ones; all of them can be removed.
no_leftovers() {
    chattr -R -f -ai . || true
    find . -mindepth 3 -delete
    [ -z "$(find . -mindepth 3 | head -n 5 | tee /dev/stderr)" ]
}
still_works() { echo works > works && [ "$(cat works)" = works ] && rm works; }

prepare stress
stress-ng --help > "$scene/log/options" 2>&1
for name in $stressors; do mkdir -p "$base/$name/work"; done
scene
passed='' natively=''
for name in $stressors; do
    grep -qE -- "--$name N" "$scene/log/options" || continue
    (cd "$plain/$name" && stress "$name") > "$scene/log/native" 2>&1 < /dev/null &
    native=$!
    (cd "$mnt/$name" && stress "$name") > "$scene/log/mount" 2>&1 < /dev/null
    status=$?
    wait $native
    native=$?
    # 3 and 4: not possible on this machine, as stress-ng says.
    if [ $native != 0 ]; then
        natively="$natively $name"
    elif [ $status = 0 ]; then
        passed="$passed $name"
    elif [ $status = 124 ] || [ $status = 137 ]; then
        failed "$name did not end" "$scene/log/mount"
    else
        failed "$name: status $status" "$scene/log/mount"
    fi
done
say ok "$(wc -w <<< "$passed") stressors:$passed"
[ -z "$natively" ] || say skipped "natively not possible here:$natively"
both "what was left behind can be removed" no_leftovers
only "the mount still works" still_works
remount cold
same_tree "the trees are the same" "$plain" "$mnt"
end_scene
finish
