#!/bin/bash
# tar --acls --xattrs --selinux: a round trip out of the mount and into it,
# compared with a round trip between plain directories.
. "$(dirname "$0")/common.sh"
. "$here/tree.sh"
needs tar setfacl setfattr setcap perl

# SELinux contexts are stored where there are some; elsewhere tar only warns,
# as it does about sockets.
options=(--acls --xattrs '--xattrs-include=*' --selinux --sparse --numeric-owner)
pack() { tar -C "$1" "${options[@]}" --format=pax -cf "$2" . ; }
unpack() { tar -C "$1" "${options[@]}" -xpf "$2"; }
round_trip() { mkdir "$2" && pack "$1" "$scene/round-trip.tar" && unpack "$2" "$scene/round-trip.tar"; }

prepare tar
everything "$base" 2> "$scene/log/everything" || left_out "the tree cannot be made: $(tail -n 1 "$scene/log/everything")"
scene
only "control: a round trip between plain directories" round_trip "$plain" "$scene/control"
only "out of the mount of a base" round_trip . "$scene/out"
same_tree "and it is the same" "$scene/control" "$scene/out" times
only "into the mount" round_trip "$plain" again
same_tree "and it is the same" "$scene/control" "$mnt/again" times
remount cold
same_tree "after a remount" "$scene/control" "$mnt/again" times
(rework "$scene/control")
only "a change of what was unpacked" rework again
same_tree "and it is the same" "$scene/control" "$mnt/again"
only "the changed tree out of the mount" round_trip again "$scene/out2"
same_tree "and it is the same" "$mnt/again" "$scene/out2" times '^special/socket'
only "from the mount into the mount" round_trip again twice
same_tree "and it is the same" "$scene/out2" "$mnt/twice" times
only "cleaned up" rm -r again twice
both "the tree unpacked over what the base has" unpack . "$scene/round-trip.tar"
same_tree "and it is the same" "$plain" "$mnt" times
remount cold
same_tree "after a remount" "$plain" "$mnt" times
end_scene
finish
