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

chroot "$root" apt-get install --yes --no-install-recommends -o Dpkg::Use-Pty=0 "$@"

cd /
if [ -n "$lower" ]; then
    umount -R "$root"
    rm -rf "$work"
fi
