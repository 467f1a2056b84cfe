#!/bin/sh
# Turns the new namespaces it is started in into a node, then becomes the node's init. Only the supervisor calls it.
# LAB_NAME, LAB_ADDRESS, LAB_FOLDER (upper, work, root, data), LAB_LOWER, LAB_SHARED; lists with a line each: LAB_CGROUPS
# (place kind options), LAB_DATA (folders that must not lie on an overlay), LAB_BINDS (read-only, at the same path).
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

echo here
read -r _ # the supervisor has moved the network link in
mount --make-rslave / # the lab's stores come and go in here too, nothing of ours goes out

root=$LAB_FOLDER/root
mount -t overlay -o "lowerdir=$LAB_LOWER,upperdir=$LAB_FOLDER/upper,workdir=$LAB_FOLDER/work" overlay "$root"
cd "$root"

mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount --bind /dev dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 run run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmp tmp

# The control group namespace makes the node's own subtree the root of every hierarchy.
[ "$(echo "$LAB_CGROUPS" | wc -l)" -gt 1 ] && mount -t tmpfs -o nosuid,nodev,noexec,mode=755 cgroup sys/fs/cgroup
echo "$LAB_CGROUPS" | while read -r place kind options; do
    mkdir -p ".$place"
    mount -t "$kind" -o "nosuid,nodev,noexec${options:+,$options}" cgroup ".$place"
    if [ "$kind $place" = "cgroup2 /sys/fs/cgroup" ]; then # as the supervisor has done with our parent
        for pid in $$ 0; do echo $pid > .$place/init/cgroup.procs; done # 0 is this end of the pipe
        for controller in $(cat .$place/cgroup.controllers); do echo "+$controller" > .$place/cgroup.subtree_control; done
    fi
done

for folder in $LAB_DATA; do
    mkdir -p "$LAB_FOLDER/data/$folder" ".$folder"
    mount --bind "$LAB_FOLDER/data/$folder" ".$folder"
done
mkdir -p srv/lab
mount --rbind "$LAB_SHARED" srv/lab
echo "$LAB_BINDS" | while read -r path; do
    [ -n "$path" ] || continue
    if [ -d "$path" ]; then mkdir -p ".$path"; else mkdir -p ".${path%/*}" && : >> ".$path"; fi
    mount --rbind "$path" ".$path"
    mount -o remount,bind,ro ".$path"
done

hostname "$LAB_NAME"
echo "$LAB_NAME" > etc/hostname
printf '127.0.0.1 localhost\n%s %s\n' "$LAB_ADDRESS" "$LAB_NAME" > etc/hosts
: > etc/resolv.conf # there is nobody to ask

mkdir -p mnt
pivot_root . mnt
cd /
umount -l /mnt
mount --make-rshared /

ip link set lo up
ip address add "$LAB_ADDRESS/24" dev eth0
ip link set eth0 up
echo ready
exec tini -- sleep infinity < /dev/null > /dev/null 2>&1
