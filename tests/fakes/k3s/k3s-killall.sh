#!/bin/sh
# What k3s-killall.sh does to a node, in our words. Releases before the end of 2024 also took every mount
# below the data directory, and what lay under it: k3s#8527. This is one of those.
set -u
data=${K3S_DATA_DIR:-/var/lib/rancher/k3s}

for unit in /etc/systemd/system/k3s*.service; do
  [ -s "$unit" ] && systemctl stop "$(basename "$unit")"
done
for script in /etc/init.d/k3s*; do
  [ -x "$script" ] && "$script" stop
done

tree() {
  echo "$1"
  for child in $(ps -e -o ppid= -o pid= | awk -v parent="$1" '$1 == parent { print $2 }'); do
    tree "$child"
  done
}
for shim in $(ps -e -o pid= -o args= | awk -v path="$data/data/" \
    'index($2, path) == 1 && $2 ~ /\/bin\/containerd-shim/ { print $1 }'); do
  tree "$shim" | xargs -r kill -9 2>/dev/null
done

unmount_and_remove() {
  awk -v prefix="$1" 'index($2, prefix) == 1 { print $2 }' /proc/self/mounts | sort -r |
    while read -r path; do
      umount -f "$path" && rm -rf "$path"
    done
}
unmount_and_remove /run/k3s
unmount_and_remove "$data"
unmount_and_remove /var/lib/kubelet/pods
unmount_and_remove /var/lib/kubelet/plugins
unmount_and_remove /run/netns/cni-
rm -rf /var/lib/cni
exit 0
