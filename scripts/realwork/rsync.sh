#!/bin/bash
# rsync -aHAXS into and out of the mount: a second run finds nothing to do, in
# either direction, and an independent comparison sees what the same copying
# leaves on a plain directory.
. "$(dirname "$0")/common.sh"
. "$here/tree.sh"
needs rsync setfacl setfattr setcap perl

# To the nanosecond, for much of it is made within one second.
options=(-aHAXS --numeric-ids --modify-window=-1 --delete)

copy() { rsync "${options[@]}" "$1/" "$2/"; }
# Whether rsync would change anything to make $2 like $1; checksums too.
no_difference() {
    rsync "${options[@]}" -n --checksum -i "$1/" "$2/" > "$scene/log/itemized" 2>&1 &&
        ! [ -s "$scene/log/itemized" ] || { cat "$scene/log/itemized"; return 1; }
}
nothing_to_do() {
    only "$1: rsync finds nothing to do" no_difference "$2" "$mnt"
    only "$1: nor the other way" no_difference "$mnt" "$2"
}
# Sparse files must not have grown.
sparse() { [ "$(stat -c %b sparse)" -lt 2048 ] || { stat sparse; return 1; }; }
empty_it() {
    mkdir "$scene/nothing"
    copy "$scene/nothing" .
    [ -z "$(ls -A .)" ]
}

prepare into
source=$place/source
mkdir "$source"
everything "$source" 2> "$scene/log/everything" || left_out "the tree cannot be made: $(tail -n 1 "$scene/log/everything")"
scene
both "a tree into an empty mount" copy "$source" .
nothing_to_do "a tree into an empty mount" "$source"
same_tree "and it is the same" "$plain" "$mnt" times
only "sparse files stay sparse" sparse
remount cold
nothing_to_do "after a remount" "$source"
rework "$source"
both "the changed tree over it" copy "$source" .
nothing_to_do "the changed tree over it" "$source"
remount cold
nothing_to_do "after a remount" "$source"
same_tree "and it is the same" "$plain" "$mnt" times
end_scene

prepare out
everything "$base"
mkdir "$scene/out"
scene
only "a base out of its mount" copy . "$scene/out"
nothing_to_do "a base out of its mount" "$scene/out"
same_tree "and it is the same" "$plain" "$scene/out" times
both "changes to the tree" rework .
same_tree "and it is the same" "$plain" "$mnt"
only "the changed base out of its mount" copy . "$scene/out"
nothing_to_do "the changed base out of its mount" "$scene/out"
remount cold
nothing_to_do "after a remount" "$scene/out"
both "another tree over the base" copy "$source" .
nothing_to_do "another tree over the base" "$source"
same_tree "and it is the same" "$plain" "$mnt" times
only "an empty directory over all" empty_it
end_scene
finish
