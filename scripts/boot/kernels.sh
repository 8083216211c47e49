#!/bin/bash
# Fetches the kernels that the boot tests run: that of this release of Debian, and
# the newest that its archive has, both as they are made for clouds; and the first as
# it is made for all machines ("full": five times as large). They are unpacked below target/boot and
# never installed.
#
#   scripts/boot/kernels.sh stable|newest|full    prints the directory with vmlinuz
#                                                 and modules/; status 1: cannot be had
set -u
cd "$(dirname "$0")/../.." || exit 1

which=${1:?stable, newest or full}
boot=$PWD/target/boot
kept=$boot/kernel-$which
meta=linux-image-cloud-amd64
[ "$which" != full ] || meta=linux-image-amd64

# A kernel is looked for once a week.
if [ -e "$kept/vmlinuz" ] && [ -z "$(find "$kept/vmlinuz" -mtime +7)" ]; then
    echo "$kept"
    exit 0
fi

say() { echo "boot: $*" >&2; }
old() {
    say "$*"
    [ -e "$kept/vmlinuz" ] && { say "the $which kernel of last time is taken"; echo "$kept"; exit 0; }
    exit 1
}

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || old "kernels are fetched on Debian, amd64"
mkdir -p "$boot" || exit 1
work=$(mktemp -d "$boot/fetch.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

apt=()
if [ "$which" = newest ]; then
    # The backports of the newest release, from where this system gets its own.
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(SUITE) $(REPO_URI)' |
        awk '$1 == "Packages" && $2 == "main" && $3 !~ /-/ { print "deb " $4 " stable-backports main" }' |
        sort -u > "$work/sources.list"
    [ -s "$work/sources.list" ] || old "apt knows no archive of Debian"
    apt=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
    apt-get "${apt[@]}" -qq -o APT::Sandbox::User=root update >&2 || old "the lists of backports cannot be fetched"
fi

# The package and what it needs, as far as that is a kernel.
packages() {
    local queue="$meta" seen=" " package
    while [ -n "$queue" ]; do
        # shellcheck disable=SC2086  # a list of words on purpose
        set -- $queue
        package=$1
        shift
        queue="$*"
        case $seen in *" $package "*) continue ;; esac
        seen="$seen$package "
        [ "$package" = "$meta" ] || echo "$package"
        queue="$queue $(apt-cache "${apt[@]}" depends --important "$package" 2>/dev/null |
            sed -n 's/^ *|\?Depends: \(linux-[a-z]*-[0-9].*\)$/\1/p' | tr '\n' ' ')"
        queue=${queue# }
        queue=${queue% }
    done
}

wanted=$(packages)
if [ -z "$wanted" ] && [ "$which" != newest ] && [ "$(id -u)" = 0 ]; then
    # The lists may never have been fetched.
    apt-get -qq update >&2
    wanted=$(packages)
fi
[ -n "$wanted" ] || old "no package $meta"
say "fetching $(echo "$wanted" | tr '\n' ' ')"
mkdir "$work/debs" "$work/tree"
# shellcheck disable=SC2086  # a list of words on purpose
(cd "$work/debs" && apt-get "${apt[@]}" -qq -o APT::Sandbox::User=root download $wanted >&2) ||
    old "it cannot be fetched"
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/tree" || old "$deb cannot be unpacked"
done

vmlinuz=$(find "$work/tree" -name 'vmlinuz*' -type f | head -1)
modules=$(find "$work/tree" -path '*/lib/modules/*' -name kernel -type d | head -1)
[ -n "$vmlinuz" ] && [ -n "$modules" ] || old "the packages hold no kernel as expected"
mkdir "$work/kernel" && mv "$vmlinuz" "$work/kernel/vmlinuz" &&
    mv "$(dirname "$modules")" "$work/kernel/modules" || exit 1
basename "$(dirname "$modules")" > "$work/kernel/version"
touch "$work/kernel/vmlinuz"
rm -rf "$kept"
mv "$work/kernel" "$kept" || exit 1
echo "$kept"
