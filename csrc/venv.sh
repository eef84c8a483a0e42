#!/bin/sh
# venv.sh PYTHON DIRECTORY FILE…: a virtual environment of this Python with the packages of requirements files, as far as it is not there.
# One of another Python, or of another version of it, is made anew.
set -eu

python=$1 venv=$2
shift 2
command -v "$python" >/dev/null || {
    echo "make: $python is not there: PYTHON=… says which Python is taken, 3.11 or newer" >&2
    exit 1
}
which=$("$python" -c 'import sys; print(sys.executable, sys.version.split()[0]); sys.exit(sys.version_info < (3, 11))') || {
    echo "make: this is Python ${which##* } ($python); pyrun takes 3.11 or newer: PYTHON=… says which" >&2
    exit 1
}
if [ "$which" != "$(cat "$venv/python" 2>/dev/null)" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    echo "$which" >"$venv/python"
fi
for file; do
    done=$venv/$(sha256sum "$file" | cut -c 1-16)
    [ -e "$done" ] && continue
    # Where there is no network pip would try for minutes.
    "$venv/bin/python" -m pip install --quiet --retries 1 --timeout 15 -r "$file" || {
        echo "make: the packages of $file are missing; without a network see \"Without a network\" in README.md" >&2
        exit 1
    }
    touch "$done"
done
