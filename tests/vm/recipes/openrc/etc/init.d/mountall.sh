#!/sbin/openrc-run
# The script of this name in Debian's initscripts, with checkroot.sh in it: its journal has
# mended the root.
description="The root writable, and what fstab names"

depend() {
	provide mountall
	need mountkernfs
	after udev
}

start() {
	mount -o remount,rw / && mount -a
}

stop() {
	return 0
}
