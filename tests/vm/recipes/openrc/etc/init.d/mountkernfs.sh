#!/sbin/openrc-run
# The script of this name in Debian's initscripts and three more, without what only other machines
# need. The initramfs has mounted /proc, /sys, /dev and /run already.
description="The rest of the kernel's file systems"

depend() {
	provide mountkernfs
}

start() {
	mkdir -p /dev/pts /dev/shm /run/lock
	mountinfo -q /dev/pts || mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=000 devpts /dev/pts
	mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
	hostname -F /etc/hostname
}

stop() {
	return 0
}
