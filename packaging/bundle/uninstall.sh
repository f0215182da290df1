#!/bin/sh
# Removes what install.sh has put here. A root that is on a stick goes back to the node's own
# directory first, or nothing is removed. Settings and what was remembered stay.
set -eu

prefix=/opt/nodestoraged
if [ -z "${DESTDIR:=}" ]; then
    "$prefix/lib/nodestoraged/leave"
    if [ -d /run/systemd/system ]; then
        systemctl --quiet disable --now nodestoraged.service || true
    elif [ -e /run/openrc/softlevel ]; then
        rc-service --quiet --ifstarted nodestoraged stop || true
        rc-update --quiet --all del nodestoraged || true
    fi
    if command -v openrc-run >/dev/null; then
        "$prefix/lib/nodestoraged/openrc-fence" remove
    fi
fi
while read -r file; do
    case $file in
        /etc/nodestoraged/* | /etc/conf.d/*) continue ;;
    esac
    rm -f "$DESTDIR$file"
    # Drop-ins of units; other directories may have been there before us.
    case $file in
        *.service.d/* | *.socket.d/*) rmdir "$DESTDIR${file%/*}" 2>/dev/null || true ;;
    esac
done <"$DESTDIR$prefix/outside"
rm -f "$DESTDIR/usr/local/bin/nodestoragectl" "$DESTDIR/usr/local/sbin/nodestoraged"
rm -rf "$DESTDIR$prefix"
[ -z "$DESTDIR" ] || exit 0
# Nobody is left to lower a fence.
rm -rf /run/nodestorage-fence
[ ! -d /run/systemd/system ] || systemctl daemon-reload
