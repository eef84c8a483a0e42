#!/bin/sh
# sysroot.sh ARCH DIRECTORY PACKAGE…: Debian packages of another architecture and what they depend on, unpacked in DIRECTORY.
# What it makes stays, and is made anew when the packages asked for are others. Needs no root; apt gets a state of its own, so
# nothing on this machine changes.
set -eu

arch=$1 directory=$2
shift 2
if [ "$(cat "$directory/.packages" 2>/dev/null)" = "$*" ]; then exit; fi
fail() {
    echo "sysroot.sh: $1" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "another architecture's libraries are Debian's packages, and there is no apt here"
rm -rf "$directory"
mkdir -p "$directory.new/apt/lists/partial" "$directory.new/apt/archives/partial"
work=$(cd "$directory.new" && pwd)
trap 'rm -rf "$work"' EXIT

# --- the packages ---
# musl-dev asks for a compiler that runs there.
for cpu in aarch64 x86-64; do
    printf 'Package: gcc-%s-linux-gnu\nArchitecture: %s\nVersion: 99\nStatus: install ok installed\n\n' "$cpu" "$arch"
done >"$work/apt/status"
cat >"$work/apt/conf" <<EOF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
EOF
export APT_CONFIG="$work/apt/conf" DEBIAN_FRONTEND=noninteractive
{ apt-get -q update && apt-get -q -y --download-only install "$@"; } >"$work/apt/log" 2>&1 || {
    tail -n 5 "$work/apt/log" >&2
    fail "these packages cannot be had for $arch: $*"
}

# --- unpacked ---
for name in bin lib sbin; do
    mkdir -p "$work/root/usr/$name"
    ln -s "usr/$name" "$work/root/$name"
done
for package in "$work"/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$work/root" || fail "$package cannot be unpacked"
done
# A link such as /lib/ARCH/libm.so.6 would lead to this machine's file, or to none.
find "$work/root" -type l -lname '/*' | while read -r link; do
    ln -srnf "$work/root$(readlink "$link")" "$link"
done
echo "$*" >"$work/root/.packages"
mv "$work/root" "$directory"
