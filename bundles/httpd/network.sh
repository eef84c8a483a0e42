#!/bin/sh
# network.sh PID: joins the network namespace of a process to the host by a veth pair; prints the address on its side.
# The subnet is one that no route of this host leads to. `ip link del veth-httpd` takes the pair away again.
set -eu
pid=$1

# No route covers any of it, but for one to everywhere, and none leads to a part of it.
free() {
    ! ip -4 route show table all match "$1" | grep -qv default && [ -z "$(ip -4 route show table all root "$1")" ]
}

subnet=
for number in $(seq 0 255); do
    if free "10.213.$number.0/30"; then
        subnet=10.213.$number
        break
    fi
done
[ -n "$subnet" ] || { echo "network.sh: all of 10.213.0.0/16 is in use here" >&2; exit 1; }

ip link add veth-httpd type veth peer name eth0 netns "$pid"
trap 'ip link del veth-httpd' EXIT
ip addr add "$subnet.1/30" dev veth-httpd
ip link set veth-httpd up
nsenter --target "$pid" --net ip addr add "$subnet.2/30" dev eth0
nsenter --target "$pid" --net ip link set eth0 up
trap - EXIT
echo "$subnet.2"
