#!/bin/sh
# rootfs.sh BUNDLE…: makes bundles/BUNDLE/rootfs out of busybox-static (Debian's package) and what lies in the bundle:
# bin/* is copied, *.c is compiled. An older rootfs is replaced.
set -eu
cd "$(dirname "$0")"

busybox=$(command -v busybox) || { echo "rootfs.sh: busybox is missing: apt-get install busybox-static" >&2; exit 1; }
[ $# -gt 0 ] || { echo "usage: $0 BUNDLE…" >&2; exit 2; }

for bundle; do
    bundle=$(basename "$bundle")
    [ -f "$bundle/config.json" ] || { echo "rootfs.sh: no such bundle: $bundle" >&2; exit 1; }
    root=$bundle/rootfs
    rm -rf "$root"
    for directory in bin dev etc proc root run sys tmp usr/bin; do mkdir -p "$root/$directory"; done
    chmod 1777 "$root/tmp"
    cp "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    for program in "$bundle"/bin/*; do
        [ ! -f "$program" ] || install -m 755 "$program" "$root/bin/"
    done
    for source in "$bundle"/*.c; do
        [ ! -f "$source" ] || "${CC:-cc}" -O2 -Wall -Wextra -static -o "$root/bin/$(basename "$source" .c)" "$source"
    done
done
