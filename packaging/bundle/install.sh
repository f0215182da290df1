#!/bin/sh
# Installs nodestoraged with its libraries to /opt/nodestoraged, or upgrades it. As root:
#
#     ./install.sh                          with the first Python that suits, 3.11 or newer
#     PYTHON=/usr/bin/python3.12 ./install.sh
#
# Starts nothing that did not run, and stops nothing. /opt/nodestoraged/uninstall.sh removes it.
set -eu
umask 022

DESTDIR=${DESTDIR:-}
prefix=/opt/nodestoraged
here=$(cd "$(dirname "$0")" && pwd)
modules=lib/nodestoraged/python

# Suits: it can load what is compiled, which tells of version, processor and C library at once.
suits() {
    "$1" -ISB -c "import sys; sys.path.insert(0, '$here/root$prefix/$modules')
import grpc, google._upb._message, nodestoraged.daemon" 2>/dev/null
}

if [ -z "$DESTDIR" ] && [ -e /usr/lib/nodestoraged/python ]; then
    echo "install.sh: nodestoraged is installed in /usr already; remove that first" >&2
    exit 1
fi
python=
for each in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if found=$(command -v "$each") && suits "$found"; then
        python=$found
        break
    fi
done
if [ -z "$python" ]; then
    echo "install.sh: no Python here can load the libraries; 3.11 or newer with glibc is needed" >&2
    exit 1
fi

# A daemon that runs works with its own version until all of the new one is here.
new=$DESTDIR$prefix/$modules.new
rm -rf "$new"
mkdir -p "$new"
cp -R "$here/root$prefix/$modules/." "$new/"
[ -z "${COMPILE-yes}" ] || "$python" -ISm compileall -q -s "$new" -p "$prefix/$modules" "$new"

# What the version before had outside and this one has not.
if [ -e "$DESTDIR$prefix/outside" ]; then
    grep -vxFf "$here/root$prefix/outside" "$DESTDIR$prefix/outside" | while read -r file; do
        case $file in
            /etc/nodestoraged/* | /etc/conf.d/*) ;;
            *) rm -f "$DESTDIR$file" ;;
        esac
    done
fi
(cd "$here/root$prefix" && find . -path "./$modules" -prune -o -type f -print) |
    while read -r file; do
        mkdir -p "$DESTDIR$prefix/${file%/*}"
        cp "$here/root$prefix/$file" "$DESTDIR$prefix/$file"
    done
while read -r file; do
    case $file in
        /etc/systemd/*) [ -n "$DESTDIR" ] || [ -d /etc/systemd ] || continue ;;
        /etc/init.d/* | /etc/conf.d/*)
            [ -n "$DESTDIR" ] || command -v openrc-run >/dev/null || continue ;;
    esac
    case $file in
        # Somebody's settings.
        /etc/nodestoraged/* | /etc/conf.d/*) [ ! -e "$DESTDIR$file" ] || continue ;;
    esac
    mkdir -p "$DESTDIR${file%/*}"
    cp "$here/root$file" "$DESTDIR$file"
done <"$here/root$prefix/outside"
mkdir -p "$DESTDIR/etc/nodestoraged/conf.d" "$DESTDIR/usr/local/bin" "$DESTDIR/usr/local/sbin"
ln -sf "$prefix/bin/nodestoragectl" "$DESTDIR/usr/local/bin/nodestoragectl"
ln -sf "$prefix/sbin/nodestoraged" "$DESTDIR/usr/local/sbin/nodestoraged"

# -S: only what the bundle carries is imported, never the system's libraries.
for script in bin/nodestoragectl sbin/nodestoraged lib/nodestoraged/leave; do
    sed "1s,.*,#!$python -IS," "$here/root$prefix/$script" >"$DESTDIR$prefix/$script"
done

old=$DESTDIR$prefix/$modules.old
rm -rf "$old"
[ ! -e "$DESTDIR$prefix/$modules" ] || mv "$DESTDIR$prefix/$modules" "$old"
mv "$new" "$DESTDIR$prefix/$modules"
rm -rf "$old"
echo "nodestoraged is in $prefix, run by $python"
[ -z "$DESTDIR" ] || exit 0

getent group nodestorage >/dev/null || groupadd --system nodestorage 2>/dev/null ||
    addgroup -S nodestorage
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart nodestoraged.service
    echo "next: systemctl enable --now nodestoraged"
elif [ -e /run/openrc/softlevel ]; then
    "$prefix/lib/nodestoraged/openrc-fence" install || true
    rc-service --quiet --ifstarted nodestoraged restart || true
    echo "next: rc-update add nodestoraged && rc-service nodestoraged start"
fi
