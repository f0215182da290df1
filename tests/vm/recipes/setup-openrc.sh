#!/bin/sh
# Runs in the new root. Makes it boot fast on an emulated CPU and be reachable by ssh; changes
# nothing that the daemon looks at.
set -eu
# '*' is "no password"; '!' would be "locked", which sshd refuses without PAM.
usermod -p '*' root
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
sed -i -e '/getty/d' /etc/inittab
echo 'rc_cgroup_mode="unified"' >>/etc/rc.conf
# What this machine has nothing for, what only tidies up, and what mountkernfs.sh and mountall.sh
# do here. The shutdown is Debian's.
for script in \
    agetty bootlogs bootmisc.sh brightness checkfs.sh checkroot-bootclean.sh checkroot.sh hostname.sh \
    hwclock.sh killprocs kmod mount-configfs mountall-bootclean.sh mountdevsubfs.sh \
    mountnfs-bootclean.sh mountnfs.sh procps rc.local rmnologin savecache single urandom; do
  rm -f "/etc/init.d/$script" /etc/runlevels/*/"$script"
done
ln -sf /proc/mounts /etc/mtab
for service in network vm-ready containerd kubelet; do
  rc-update -q add "$service" default
done
