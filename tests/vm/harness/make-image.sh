#!/bin/sh
# make-image.sh TREE WORK SIZE: WORK/root.img and WORK/containerd-root from TREE, with WORK/upper over it.
# Runs in a mount and pid namespace of its own; TREE is not changed.
set -eu
tree=$1 work=$2 size=$3
mkdir "$work/scratch" "$work/merged"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/scratch" "$work/merged"
root=$work/merged
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
chown -R 0:0 "$root/root/.ssh"
cp "$work/import.sh" "$root/run/import.sh"
mv "$root/setup.sh" "$root/run/setup.sh"
chroot "$root" sh /run/setup.sh
# Snapshots of an overlay mount cannot be made on an overlay mount: the runtime root lies beside it.
mkdir -p "$work/containerd-root" "$root/var/lib/containerd"
mount --bind "$work/containerd-root" "$root/var/lib/containerd"
mount --rbind /dev "$root/dev"
chroot "$root" sh /run/import.sh
umount -R "$root/dev"
umount "$root/var/lib/containerd" "$root/run" "$root/sys" "$root/proc"
cp -a "$work/containerd-root/." "$root/var/lib/containerd/"
mke2fs -q -F -t ext4 -L rootfs -E lazy_itable_init=1,nodiscard -d "$root" "$work/root.img" "$size"
umount "$root"
rm -rf "$work/scratch" "$work/merged" "$work/import.sh"
