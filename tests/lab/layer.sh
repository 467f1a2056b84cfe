#!/bin/sh
# Installs packages into a layer. usage: layer.sh FOLDER LOWER PACKAGE...   (LOWER empty: the folder itself is a root)
# Runs in a mount namespace of its own, so that nothing stays mounted.
set -eu
folder=$1 lower=$2
shift 2

if [ -n "$lower" ]; then
    work=$(mktemp -d "$(dirname "$folder")/.work.XXXXXX")
    mkdir "$work/work" "$work/root"
    root=$work/root
    # Plain copies only: a layer is also packed into images, where redirects and data-less copies mean nothing.
    mount -t overlay -o "lowerdir=$lower,upperdir=$folder,workdir=$work/work,redirect_dir=off,index=off" overlay "$root"
else
    root=$folder
    mount --bind "$root" "$root"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" # no service starts where it is installed
    chmod 755 "$root/usr/sbin/policy-rc.d"
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
        'path-exclude=/usr/share/locale/*' > "$root/etc/dpkg/dpkg.cfg.d/lab"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/var/cache/apt" # downloads and indexes stay out of the layer
mkdir -p "$root/var/cache/apt/archives/partial"
cp /etc/resolv.conf "$root/run/resolv.conf"
mount --bind "$root/run/resolv.conf" "$root/etc/resolv.conf"

install() { chroot "$root" apt-get install --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }
here=$(printf '%s\n' "$@" | grep -v / || :) elsewhere=$(printf '%s\n' "$@" | grep / || :)
[ -z "$here" ] || install $here

if [ -n "$elsewhere" ]; then # PACKAGE/SUITE; what it needs of that suite is named as well, the rest stays as it is
    read -r _ mirror own _ < "$root/etc/apt/sources.list"
    mount -t tmpfs tmpfs "$root/etc/apt/sources.list.d"
    mount -t tmpfs tmpfs "$root/var/lib/apt/lists" # too large for a layer
    mkdir -p "$root/var/lib/apt/lists/partial"
    for suite in $(printf '%s\n' $elsewhere | sed 's|.*/||' | sort -u); do
        echo "deb $mirror $suite main" >> "$root/etc/apt/sources.list.d/other.list"
    done
    echo "APT::Default-Release \"$own\";" > "$root/run/apt.conf"
    export APT_CONFIG=/run/apt.conf
    chroot "$root" apt-get update -o Acquire::Check-Valid-Until=false # signed all the same; a clock or a mirror may be off
    install $elsewhere
fi

cd /
if [ -n "$lower" ]; then
    umount -R "$root"
    rm -rf "$work"
fi
