#!/bin/sh
# Runs in the new root. Makes it boot fast on an emulated CPU and be reachable by ssh; changes
# nothing that the daemon looks at.
set -eu
# '*' is "no password"; '!' would be "locked", which sshd refuses without PAM.
usermod -p '*' root
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
rm -f /etc/machine-id
systemd-machine-id-setup >/dev/null
mkdir -p /var/log/journal
systemctl enable -q ssh.service containerd.service kubelet.service vm-network.service
# Would start sshd instances on sockets that nobody uses.
mkdir -p /etc/systemd/system-generators
ln -sf /dev/null /etc/systemd/system-generators/systemd-ssh-generator
for unit in \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer man-db.timer logrotate.timer motd-news.timer xfs_scrub_all.timer \
    getty@tty1.service serial-getty@ttyS0.service console-getty.service \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-varlink.socket \
    systemd-networkd-persistent-storage.service systemd-networkd-wait-online.service \
    systemd-logind.service systemd-logind-varlink.socket systemd-user-sessions.service \
    systemd-timesyncd.service systemd-pstore.service tmp.mount run-lock.mount \
    systemd-udev-load-credentials.service systemd-modules-load.service systemd-tmpfiles-clean.timer \
    systemd-hwdb-update.service ldconfig.service systemd-boot-random-seed.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-update-utmp.service systemd-journal-catalog-update.service rpcbind.socket \
    modprobe@drm.service modprobe@fuse.service modprobe@configfs.service modprobe@efi_pstore.service \
    modprobe@loop.service modprobe@dm_mod.service systemd-network-generator.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    ssh.socket systemd-random-seed.service keyboard-setup.service console-setup.service; do
  ln -sf /dev/null "/etc/systemd/system/$unit"
done
