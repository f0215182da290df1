#!/bin/sh
# What k3s-uninstall.sh leaves of a node, in our words.
set -u
data=${K3S_DATA_DIR:-/var/lib/rancher/k3s}

/usr/local/bin/k3s-killall.sh

for name in k3s k3s-agent; do
  if command -v systemctl >/dev/null; then
    systemctl disable "$name"
    systemctl reset-failed "$name"
  fi
  if command -v rc-update >/dev/null; then
    rc-update delete "$name" default
  fi
  rm -f "/etc/systemd/system/$name.service" "/etc/systemd/system/$name.service.env" "/etc/init.d/$name"
done
command -v systemctl >/dev/null && systemctl daemon-reload

for command in kubectl crictl ctr; do
  [ -L "/usr/local/bin/$command" ] && rm -f "/usr/local/bin/$command"
done
rm -rf /etc/rancher/k3s /run/k3s /run/flannel "$data" /var/lib/kubelet
rm -f /usr/local/bin/k3s /usr/local/bin/k3s-killall.sh /usr/local/bin/k3s-uninstall.sh
exit 0
