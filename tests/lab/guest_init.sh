#!/bin/sh
# The first process of the guest: mounts what an init system would, runs the script it was given, tells its status, powers off.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export PATH HOME LC_ALL
dmesg -n 1 # the kernel's words do not belong into the script's output
mount -t devpts devpts /dev/pts # /proc, /sys, /dev and /run come from the initial ramdisk
mkdir -p /dev/shm /dev/mqueue
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/init # a group with processes of its own hands no controllers down
for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$pid" > /sys/fs/cgroup/init/cgroup.procs; done 2> /dev/null
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control; done
mount --make-rshared /
umount /run 2> /dev/null # the ramdisk's forbids to execute
mount -t tmpfs -o mode=755 run /run
hostname guest
ip link set lo up
for module in overlay tun br_netfilter inet_diag tcp_diag udp_diag unix_diag netlink_diag af_packet_diag; do modprobe -q "$module"; done
mkdir -p /given /var/cache/perdure
mount -o ro /dev/vdb /given
mount /dev/vdc /var/cache/perdure # an overlay's upper must not lie in its lower
stty -F /dev/ttyS0 -onlcr 2> /dev/null
exec > /dev/ttyS0 2>&1 < /dev/null
printf '\nLAB BEGIN\n'
sh /given/script
printf '\nLAB END %s\n' "$?"
sync
echo o > /proc/sysrq-trigger
sleep 60
