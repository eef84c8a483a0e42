#!/bin/sh
# needs.sh PACKAGE…: installs the Debian packages that are missing. Where none is, it does nothing and needs no root.
set -u

if ! command -v dpkg >/dev/null || ! command -v apt-get >/dev/null; then
    echo "make: no apt here, so nothing is installed; wanted are, by Debian's names: $*" >&2
    exit 0
fi
missing=
for package; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "make: Debian packages are missing, which root installs: apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words
if ! { apt-get -q -y update && apt-get -q -y install --no-install-recommends $missing; }; then
    echo "make: Debian packages are missing, and could not be installed:$missing" >&2
    exit 1
fi
