#!/bin/sh
# The two steps of the guest that want mounts. Runs in a mount namespace of its own.
# usage: guest.sh image LOWER FILE SIZE             packs an overlay of layers into an ext4 image
#        guest.sh run LOWER PLACE FOLDER COMMAND…   runs a command in an overlay of layers; PLACE is its /mnt, FOLDER its /media
set -eu
what=$1 lower=$2
shift 2
root=$(mktemp -d)
trap 'umount -lR "$root"; rmdir "$root"' EXIT
mount -t overlay -o "lowerdir=$lower" overlay "$root"
if [ "$what" = image ]; then
    mke2fs -q -F -t ext4 -m 0 -E lazy_itable_init=1 -d "$root" "$1" "$2"
else
    mount --bind "$1" "$root/mnt"
    mount --bind "$2" "$root/media"
    mount --bind /dev "$root/dev"
    shift 2
    chroot "$root" "$@"
fi
