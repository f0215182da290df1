#!/bin/sh
# make-image.sh TREE WORK SIZE: WORK/root.img, WORK/initrd.img and WORK/containerd-root from TREE,
# with WORK/upper over it.
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
# An initramfs of a shell and the few modules that reach the disk: Debian's own starts a udev of its
# own first, which is a fifth of a boot.
initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/modules" "$initrd/dev" "$initrd/proc" "$initrd/sys" "$initrd/root"
cp "$root/usr/bin/busybox" "$initrd/bin/"
cp "$work/init" "$initrd/init"
chmod 755 "$initrd/init"
chroot "$root" modprobe --set-version "$(ls "$root/lib/modules")" --show-depends --all \
  virtio_pci virtio_blk ext4 | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
number=10
while read -r module; do
  case $module in
  *.xz) busybox xz -dc "$root$module" >"$initrd/modules/$number.ko" ;;
  *) cp "$root$module" "$initrd/modules/$number.ko" ;;
  esac
  number=$((number + 1))
done <"$work/modules"
(cd "$initrd" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd.img"
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
rm -rf "$work/scratch" "$work/merged" "$work/initrd" "$work/import.sh" "$work/init" "$work/modules"
