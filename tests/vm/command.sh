#!/bin/bash
# What vm-command.service runs: the command, then the end of the machine.
# shellcheck source=/dev/null
. /run/vm/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb HOME=/root
for port in /sys/class/virtio-ports/*; do out=/dev/${port##*/}; done
exec </dev/null >"$out" 2>&1
cd "$PROJECT" || exit
busybox ip link set lo up

as_user() {
    # Where these files are, useradd gives a user subordinate ids.
    touch /etc/subuid /etc/subgid
    useradd --create-home --groups users --shell /bin/bash --uid 4242 user
    loginctl enable-linger user
    local directory=/run/user/4242
    for _ in {1..600}; do [ -S $directory/bus ] && break; sleep 0.1; done
    # A service of the user's own systemd is in a cgroup that the user owns.
    runuser -u user -- env HOME=/home/user XDG_RUNTIME_DIR=$directory DBUS_SESSION_BUS_ADDRESS=unix:path=$directory/bus \
        systemd-run --user --quiet --wait --collect --pipe --property=Delegate=yes --working-directory="$PROJECT" \
        --setenv=PATH --setenv=LANG --setenv=TERM --setenv=XDG_RUNTIME_DIR --setenv=DBUS_SESSION_BUS_ADDRESS \
        /bin/bash /run/vm/command
}

if [ "$AS" = root ]; then setsid --wait /bin/bash /run/vm/command; else as_user; fi
echo $? >"$RUN/code"
sync --file-system "$RUN"
echo o >/proc/sysrq-trigger
sleep 30
