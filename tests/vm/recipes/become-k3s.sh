#!/bin/sh
# become-k3s.sh UNIT: on a booted node with containerd and kubelet. Both go, with their units and
# their root; the stand-in for k3s is installed as its own script would, images as an air-gap archive.
set -eu
unit=$1
data=/var/lib/rancher/k3s
lab=/usr/share/nodestorage-test

remove() {
  if [ -d /run/systemd/system ]; then
    systemctl disable -q --now "$1"
    rm -f "/usr/lib/systemd/system/$1.service" "/etc/systemd/system/$1.service"
  else
    rc-service -q "$1" stop
    rc-update -q delete "$1" default
    rm -f "/etc/init.d/$1" "/etc/conf.d/$1"
  fi
}

remove kubelet
for task in $(ctr -n k8s.io tasks ls -q); do
  ctr -n k8s.io tasks kill -s KILL "$task" || true # ended by itself meanwhile
done
tries=0
while pgrep -f containerd-shim >/dev/null; do
  tries=$((tries + 1))
  [ $tries -lt 60 ]
  sleep 0.5
done
remove containerd
awk '$5 ~ "^/run/containerd/" { print $5 }' /proc/self/mountinfo | xargs -r umount
rm -rf /var/lib/containerd /run/containerd /etc/containerd

mkdir -p "$data/agent/images" "$data/agent/pod-manifests"
cp "$lab/pause.tar" "$lab/app.tar" "$data/agent/images/"
mv /etc/kubernetes/manifests/app.json "$data/agent/pod-manifests/app.json"
mv /usr/bin/kubelet "$lab/kubelet_standin.py"
rm -rf /etc/kubernetes
if [ -d /run/systemd/system ]; then
  mv "/root/$unit.service" "/etc/systemd/system/$unit.service"
  # A real server is READY minutes after its containerd.
  echo K3S_STANDIN_READY_SECONDS=90 >"/etc/systemd/system/$unit.service.env"
  rm "/root/$unit.initd"
  systemctl daemon-reload
  systemctl enable -q "$unit"
  systemctl start --no-block "$unit"
else
  mv "/root/$unit.initd" "/etc/init.d/$unit"
  chmod 755 "/etc/init.d/$unit"
  rm "/root/$unit.service"
  rc-update -q add "$unit" default
  rc-service -q "$unit" start
fi
