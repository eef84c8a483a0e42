"""Where a container's cgroup lies, from the mount tables of several kinds of machines."""

import pytest

from pyrun.base import files
from pyrun.cgroup import layout

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /sys/fs/cgroup/elogind rw,relatime - cgroup cgroup rw,name=elogind
"""
HYBRID_OWN = "9:name=elogind:/\n4:memory:/me/x\n3:name=systemd:/init.scope\n2:cpu,cpuacct:/\n0::/u\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

# name: (mountinfo, /proc/self/cgroup, mounts whose path leads elsewhere, [(names, mount point, own cgroup)])
TABLE = {
    "hybrid": (
        HYBRID,
        HYBRID_OWN,
        (),
        [
            (["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", ""),
            (["memory"], "/sys/fs/cgroup/memory", "/me/x"),
            (["name=systemd"], "/sys/fs/cgroup/systemd", "/init.scope"),
            ([""], "/sys/fs/cgroup/unified", "/u"),
        ],
    ),
    "v1 alone": (
        HYBRID.replace("cgroup2", "tmpfs"),
        HYBRID_OWN,
        ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"),
        [(["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", "")],
    ),
    "v2": (V2, "0::/user.slice/session-1.scope\n", (), [([""], "/sys/fs/cgroup", "/user.slice/session-1.scope")]),
    "v2 with a v1 freezer elsewhere": (
        V2 + "50 23 0:50 / /mnt/freezer rw - cgroup cgroup rw,freezer\n",
        "1:freezer:/\n0::/a\n",
        (),
        [([""], "/sys/fs/cgroup", "/a")],
    ),
    "v2 mounted over v1": (
        HYBRID + "60 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n",
        HYBRID_OWN,
        ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"),
        [([""], "/sys/fs/cgroup", "/u")],
    ),
    "v1 with a cgroup2 of somebody else": (
        "32 31 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n41 31 0:38 / /run/cilium/cgroupv2 rw - cgroup2 none rw\n",
        "2:pids:/\n0::/\n",
        (),
        [(["pids"], "/sys/fs/cgroup/pids", "")],
    ),
    "one hierarchy mounted twice, the first out of reach": (
        "32 31 0:29 / /old/pids rw - cgroup cgroup rw,pids\n33 31 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
        "2:pids:/p\n",
        ("/old/pids",),
        [(["pids"], "/sys/fs/cgroup/pids", "/p")],
    ),
    "a container without a cgroup namespace sees a part of the tree": (
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        "4:memory:/docker/abc/sub\n",
        (),
        [(["memory"], "/sys/fs/cgroup/memory", "/sub")],
    ),
    "a process outside of its cgroup namespace": (V2, "0::/../other\n", (), [([""], "/sys/fs/cgroup", "")]),
    "a mount point with a blank": (
        "35 31 0:32 / /my\\040cgroups/pids rw - cgroup cgroup rw,pids\n",
        "4:pids:/\n",
        (),
        [(["pids"], "/my cgroups/pids", "")],
    ),
    "nothing mounted": ("22 1 0:20 / / rw - ext4 /dev/vda rw\n", "0::/\n", (), []),
}


@pytest.mark.parametrize("name", TABLE)
def test_layout(name):
    mountinfo, own, hidden, expected = TABLE[name]
    mounts = layout.parse(mountinfo, own, lambda point, device: point not in hidden)
    assert [(mount.names, mount.point, mount.own) for mount in mounts] == expected


@pytest.mark.parametrize(
    ("mountinfo", "own"),
    [("31 23 0:28 - cgroup2 c rw\n", "0::/\n"), ("31 23 0:28 / / rw - cgroup2\n", "0::/\n"), (r"31 23 0:28 / /a\9 rw - cgroup2 c rw", "0::/\n"),
     (V2, "0")],
)
def test_what_the_kernel_does_not_write(mountinfo, own):
    with pytest.raises(ValueError, match="."):
        layout.parse(mountinfo, own, lambda point, device: True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("a//b/", "/a/b"),
        ("/../../etc", "/etc"),
        ("a/../../../b", "/b"),
        ("./a/./b", "/a/b"),
        ("..", "/"),
        ("/", "/"),
    ],
)
def test_a_path_never_leaves_the_hierarchy(path, expected):
    assert files.clean(path) == expected
