#!/bin/sh
# debian.sh SUITE COMMAND: runs a shell command in a fresh Debian of this release, in a copy of the checkout. Needs root and debootstrap.
# The kernel and the network are the machine's, and the devices that every program needs, and the kernel's log: bound one by one, so that nothing in the root can
# remove or replace them. What is mounted stays in a namespace of its own. The root is removed when all went well.
set -eu
unset PIP_FIND_LINKS # a folder of this machine

suite=$1 command=$2
cd "$(dirname "$0")/.."
root=$PWD/build/debian/$suite
rm -rf --one-file-system "$root"
mkdir -p "$root"
debootstrap --variant=minbase --include=ca-certificates,make "$suite" "$root" http://deb.debian.org/debian >"$root.log" || {
    cat "$root.log" >&2
    exit 1
}
# How this machine reaches Python's packages is no business of the release's.
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    if [ -f "$file" ]; then cp "$file" "$root$file"; fi
done
# A mirror may lag behind what its release promises; packages are signed all the same.
echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/lagging-mirror"
mkdir "$root/src"
git -c safe.directory="$PWD" ls-files -z | tar --create --null --ignore-failed-read --files-from=- | tar --extract --directory="$root/src"

# No chroot: from one, no user namespace can be made.
# shellcheck disable=SC2016 # for the inner shell
unshare --mount --propagation private sh -euc '
    mount --bind "$1" "$1"
    cd "$1"
    for name in proc sys; do mount --rbind "/$name" "$name"; done
    [ ! -e /dev/kmsg ] || touch dev/kmsg
    for name in null zero full random urandom tty kmsg; do [ ! -e "/dev/$name" ] || mount --bind "/dev/$name" "dev/$name"; done
    mount -t devpts devpts dev/pts
    mount -t tmpfs shm dev/shm
    mount -t tmpfs run run
    pivot_root . mnt
    umount --lazy /mnt
    cd /src
    exec sh -euxc "$2"
' sh "$root" "$command"
rm -rf --one-file-system "$root"
