# shellcheck shell=bash
# A tree with everything that a file system can hold, for the jobs that copy
# trees. Sourced after common.sh.

# Fills the directory $1.
everything() (
    cd "$1" || exit 1
    set -e
    mkdir -p plain/deep/{1,2,3}/{a,b} empty
    for i in $(seq 200); do head -c $((i * 37)) /dev/zero | tr '\0' "$((i % 10))" > "plain/deep/$((i % 3 + 1))/file$i"; done
    head -c 3000000 /dev/urandom > plain/random
    : > plain/zero
    # Hard links within and across directories, of every kind that allows them.
    mkdir links other
    echo linked > links/a
    ln links/a links/b
    ln links/a other/c
    ln -s a links/symlink
    ln links/symlink other/symlink-again
    mkfifo links/fifo
    ln links/fifo other/fifo-again
    # Sparse: a hole at the start, in the middle, at the end.
    truncate -s 64M sparse
    printf middle | dd of=sparse bs=1 seek=33554432 conv=notrunc status=none
    truncate -s 1M all-hole
    # Special files.
    mkdir special
    mknod special/null c 1 3
    mknod special/zero-device c 0 0
    mknod special/block b 7 200
    mkfifo special/fifo
    perl -e 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("special/socket")) or die'
    # Names: spaces, newline, bytes that are no UTF-8, leading dash, quotes, 255 bytes.
    mkdir names
    (
        cd names
        touch -- ' ' 'a b' $'new\nline' $'\xff\xfe' -rf "it's" 'quo"te' 'back\slash' '*' 'tab	x' .hidden ..twodots "$(printf 'n%.0s' $(seq 255))" é
        mkdir -- $'dir\nline' -p.d
        echo in > $'dir\nline/file'
    )
    ln -s /nonexistent dangling
    ln -s "$(printf 'x%.0s' $(seq 1000))" long-symlink
    # Owners, modes, times.
    mkdir owners
    for who in 1:1 65534:65534 1000:100 4000000:4000000; do
        echo "$who" > "owners/$who"
        ln -s "$who" "owners/link-$who"
        chown -h "$who" "owners/$who" "owners/link-$who"
    done
    for mode in 0000 0400 0777 4755 2755 1777 6711; do
        echo "$mode" > "owners/mode$mode"
        chmod "$mode" "owners/mode$mode"
        mkdir "owners/dir$mode"
        chmod "$mode" "owners/dir$mode"
    done
    touch -d '1970-01-01 00:00:00.000000001 UTC' owners/1:1
    touch -d '2038-01-19 03:14:08.999999999 UTC' owners/mode0777
    touch -h -d '2001-09-09 01:46:40.5 UTC' owners/link-1:1
    # ACLs and extended attributes on files, directories, symlinks and devices.
    mkdir acls
    echo acl > acls/file
    setfacl -m u:1:rwx,g:1:r,m::rx acls/file
    setfacl -m u:2:rwx -m d:u:3:rx,d:g:4:rwx acls
    mkdir acls/inherits
    echo inherits > acls/inherits/file
    setfattr -n user.text -v value plain/zero
    setfattr -n user.binary -v 0x00ff0a00 plain/random
    setfattr -n user.empty acls/file
    setfattr -n user.long -v "$(printf 'v%.0s' $(seq 1500))" plain
    setfattr -h -n trusted.link -v t dangling
    setfattr -n trusted.device -v t special/null
    setfattr -n security.mini -v label other/c
    setcap cap_net_raw+ep owners/mode0777
    touch -d '2005-05-05 05:05:05.123456789 UTC' empty plain names .
)

# Work on such a tree that leaves something of every kind different.
rework() (
    set -e
    cd "$1"
    echo more >> plain/deep/1/file3
    rm plain/deep/2/file1 plain/deep/3/file2
    mv plain/deep/1 moved
    rm -r plain/deep/2 && mkdir plain/deep/2 && echo new > plain/deep/2/new
    mv owners/mode0777 owners/was0777
    ln owners/was0777 owners/linked0777
    ln other/c other/d
    echo changed > other/d
    setfacl -m u:77:r plain/zero && setfacl -b acls/file && setfattr -x user.text plain/zero
    setfattr -n user.new -v new plain/zero
    truncate -s 40M sparse
    chown 5:6 owners/dir0777 && chmod 2750 owners/dir0777
    rm special/null && mknod special/null c 1 5
    mv dangling names/
    rmdir empty && echo file > empty
    rm all-hole && mkdir all-hole
    touch -d '2006-06-06 06:06:06.5 UTC' plain/deep/2/new empty all-hole
)
