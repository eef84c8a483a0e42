#!/bin/busybox sh
# shellcheck shell=dash
# The machine's first program, in the initramfs: puts the root file system together and hands over to systemd.
PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 run /run

fail() {
    echo "init.sh: $*" >/dev/console
    poweroff -f
}

for module in /modules/*; do insmod "$module" || fail "$module"; done
read -r words </proc/cmdline
for word in $words; do
    case $word in
    vm.project=*) project=${word#*=} ;;
    vm.kernel=*) kernel=${word#*=} ;;
    vm.run=*) run=${word#*=} ;;
    esac
done

mount -t virtiofs -o ro host /host || fail "the host's files"
mount -t tmpfs -o mode=755,size=75% memory /memory
mkdir /memory/upper /memory/work
chmod 755 /memory/upper
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root || fail "the root file system"
# The checkout may lie in one of these.
for place in tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "/root/$place"; done
mkdir -p "/root$project"
mount -t virtiofs project "/root$project" || fail "the checkout"
mkdir -p /root/lib/modules
mount --bind "/root$kernel/lib/modules" /root/lib/modules || fail "the kernel's modules"

# With these systemd takes the machine for a container, and lets AppArmor be.
rm -f /root/.dockerenv /root/run/.containerenv
# The host's services are not the machine's.
rm -rf /root/etc/systemd/system
cp -r /units /root/etc/systemd/system
echo vm >/root/etc/hostname
printf '127.0.0.1 localhost vm\n' >/root/etc/hosts
mkdir /run/vm
cp "/root$run/settings" "/root$run/command" /command.sh /run/vm/

for place in proc sys dev run; do mount -o move "/$place" "/root/$place"; done
[ ! -x /root/lib/systemd/systemd ] || exec switch_root /root /lib/systemd/systemd
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount -t cgroup2 -o nsdelegate cgroup2 /root/sys/fs/cgroup
hostname vm
exec switch_root /root /bin/bash /run/vm/command.sh
