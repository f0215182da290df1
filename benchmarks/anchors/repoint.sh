#!/bin/sh
# Repoints a runtime's root the way it is done by hand: stop, back up, copy, bind, restart, wait
# five seconds, then ask up to five times, three seconds apart.
#
#   repoint.sh ROOT NEW SOCKET STOP START ASK
#
# STOP, START and ASK are commands: the service's stop and start, and the question to CRI for the
# image file system, which succeeds once there is an answer.
set -eu

root=$1 new=$2 socket=$3 stop=$4 start=$5 ask=$6

$stop
cp -a "$root" "$root.backup"
rsync -aHAX "$root/" "$new/"
mount --bind "$new" "$root"
$start

# Whatever may make the runtime look at its new root.
ctr -a "$socket" namespace create k8s.io 2>/dev/null || true
ctr -a "$socket" --namespace k8s.io images ls >/dev/null 2>&1 || true
ctr -a "$socket" --namespace k8s.io snapshots ls >/dev/null 2>&1 || true
$ask >/dev/null 2>&1 || true
sleep 5

tries=5
while [ "$tries" -gt 0 ]; do
    if ctr -a "$socket" --namespace k8s.io images ls >/dev/null 2>&1 && $ask >/dev/null 2>&1; then
        exit 0
    fi
    tries=$((tries - 1))
    sleep 3
done
echo "the runtime does not tell of an image file system" >&2
exit 1
