#!/bin/bash
# debootstrap into the mount, then apt-get install in a chroot of it; and the
# other way round: a bootstrapped tree as base, apt-get install in the mount.
# Compared with the same on plain directories. The packages come from where the
# machine's own apt has them from.
. "$(dirname "$0")/common.sh"
needs debootstrap dpkg apt-get chroot

# Small packages with what installing consists of: a program, many symbolic
# links and a trigger, a user and a diverted or moved configuration.
packages=(hello ca-certificates less)

# Suite and mirror of this machine: apt's own list of its sources.
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016  # apt-get's own variables
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$1 == suite && $3 == "main" { print $2; exit }')
[ -n "$suite" ] && [ -n "$mirror" ] || left_out "this machine's apt has no source for its own suite"
# debootstrap downloads with wget, which does not ask apt for the proxy.
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "$proxy" ] || [ "$proxy" = DIRECT ] || export http_proxy=$proxy
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir "$place/cache"

bootstrap() {
    debootstrap --variant=minbase --cache-dir="$place/cache" ${keyring:+--keyring="$keyring"} \
        "$suite" "$PWD/root" "$mirror" > "$scene/log/debootstrap-$(basename "$PWD")" 2>&1 ||
        { tail -n 5 "$scene/log/debootstrap-$(basename "$PWD")" "root/debootstrap/debootstrap.log" >&2; return 1; }
    rm -rf root/var/cache/apt/archives/*.deb
}

# apt inside is set up as outside.
network() {
    local file
    for file in /etc/resolv.conf /etc/hosts; do cat "$file" > "root$file"; done
    rm -rf root/etc/apt/sources.list root/etc/apt/sources.list.d
    cp -a /etc/apt/sources.list.d root/etc/apt/
    [ ! -e /etc/apt/sources.list ] || cp -a /etc/apt/sources.list root/etc/apt/
    cp -a /etc/apt/apt.conf.d/. root/etc/apt/apt.conf.d/
    cp -an /usr/share/keyrings/. root/usr/share/keyrings/
    cp -an /etc/apt/trusted.gpg.d/. root/etc/apt/trusted.gpg.d/ 2>/dev/null || true
    printf '#!/bin/sh\nexit 101\n' > root/usr/sbin/policy-rc.d
    chmod 755 root/usr/sbin/policy-rc.d
}

inside() {
    local status=0
    mount -t proc proc root/proc && mount --rbind /dev root/dev || return 1
    chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} "$@" || status=$?
    umount -l root/dev && umount root/proc || return 1
    return "$status"
}

install_packages() {
    network
    inside apt-get -q update > "$scene/log/apt" 2>&1 || { tail -n 5 "$scene/log/apt" >&2; return 1; }
    inside apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 install "${packages[@]}" > "$scene/log/apt" 2>&1 ||
        { tail -n 15 "$scene/log/apt" >&2; return 1; }
    inside hello
    inside dpkg --audit
    installed
}

# shellcheck disable=SC2016  # dpkg's own variables
installed() { inside dpkg-query -W -f '${Package} ${Version} ${Status}\n'; }

verify() { inside dpkg --verify; }

remove_packages() {
    inside apt-get -q -y -o Dpkg::Use-Pty=0 purge "${packages[@]}" > "$scene/log/apt" 2>&1 || { tail -n 15 "$scene/log/apt" >&2; return 1; }
    inside apt-get -q -y -o Dpkg::Use-Pty=0 dist-upgrade --allow-downgrades > "$scene/log/apt" 2>&1 || { tail -n 15 "$scene/log/apt" >&2; return 1; }
    installed
}

# Logs, caches of apt and ldconfig, random seeds: they hold times or chance.
changing='^root/(var/log|var/cache/(apt|ldconfig|debconf)|var/lib/apt/(lists|extended_states|periodic)|etc/machine-id|tmp)
  \./root/(var/log/|var/cache/(apt|ldconfig|debconf)/|var/lib/(apt/|systemd/|urandom)|etc/(machine-id|shadow|ld.so.cache))
^root/var/cache/|(dpkg|debconf)[^ ]*-old|root/var/lib/dpkg/(status|info/format)'
changing=$(paste -sd'|' <<< "$changing")

prepare into
scene
both "minbase of $suite" bootstrap
same_tree "the trees are the same" "$plain" "$mnt" '' "$changing"
cp -a "$plain/root" "$place/root"
both "apt-get install ${packages[*]} in a chroot of it" install_packages
remount cold
both "dpkg --verify after a remount" verify
same_tree "the trees are the same" "$plain" "$mnt" '' "$changing"
end_scene

prepare base
mv "$place/root" "$base/root"
scene
both "the same tree as base: apt-get install ${packages[*]} in a chroot of the mount" install_packages
remount cold
both "dpkg --verify after a remount" verify
same_tree "the trees are the same" "$plain" "$mnt" '' "$changing"
both "apt-get purge and dist-upgrade" remove_packages
same_tree "the trees are the same" "$plain" "$mnt" '' "$changing"
end_scene
finish
