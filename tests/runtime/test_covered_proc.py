"""The caller's /proc has mounts on it, as in a container that runs containers: init works with the kernel's files all the same."""

import subprocess

import pytest
from looks import one_line

SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "80", "net.ipv4.ping_group_range": "0 5", "kernel.shm_rmid_forced": "1"}
READ = "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range kernel/shm_rmid_forced"


@pytest.mark.parametrize(
    "script",
    [
        "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys",
        "mount -t tmpfs tmpfs /proc/sys",
        "mount -t tmpfs tmpfs /proc/sys/net/ipv4",
        "mount --bind /proc/version /proc/sys/kernel/shm_rmid_forced",
        "mount -o remount,ro,bind /proc",
    ],
    ids=["read-only", "a tmpfs", "a tmpfs below", "a file", "a read-only procfs"],
)
def test_sysctls(bundle, run, script):
    b = bundle(READ).set("linux.sysctl", SYSCTLS).write()
    command = run.command("run", "--bundle", b.directory, run.new_id())
    found = subprocess.run(["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *command], capture_output=True, text=True)
    assert found.stdout.split() == ["80", "0", "5", "1"], found.stderr


def test_a_fault_names_the_file(bundle):
    line = one_line(bundle().set("linux.sysctl", {"net.ipv4.ip_unprivileged_port_start": "-5"}).call("run", code=1))
    assert "linux.sysctl[net.ipv4.ip_unprivileged_port_start]: write /proc/sys/net/ipv4/ip_unprivileged_port_start: invalid" in line
