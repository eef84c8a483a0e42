"""linux.devices and the devices every container has -> ops (config-linux.md#devices, #default-devices)."""

from __future__ import annotations

from pyrun._native import lib
from pyrun.base.files import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, clean
from pyrun.plan.records import Plan

DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)
TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


def makedev(major: int, minor: int) -> int:
    """dev_t as glibc packs it (makedev(3))."""
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32


def emit(plan: Plan, entries: list[dict], binds: bool) -> None:
    """Device nodes and links in /dev. entries: linux.devices. binds: the nodes are bind mounts of the host's, as none can be made."""
    taken = set()
    for index, entry in enumerate(entries):
        where = f"linux.devices[{index}]"
        path = clean(entry["path"])
        if path == "/dev/ptmx" and binds:
            continue  # the host's makes terminals in the host's devpts; the link below is what is meant
        taken.add(path)
        kind = entry["type"]
        # A FIFO has no numbers.
        device = 0 if kind == "p" else makedev(entry["major"], entry["minor"])
        mode = TYPES[kind] | entry["fileMode"] & 0o7777
        _emit_node(plan, where, path, mode, device, entry["uid"], entry["gid"], binds)
    for name, major, minor in DEFAULT:
        path = f"/dev/{name}"
        if path not in taken:
            _emit_node(plan, "default devices", path, S_IFCHR | 0o666, makedev(major, minor), 0, 0, binds)
    for text, path in LINKS:
        plan.symlink("default devices", path, text=text, path=path)
    if "/dev/ptmx" not in taken:
        # An image's own node would open the host's devpts; the link opens the container's.
        plan.symlink("default devices", "/dev/ptmx", flags=lib.SYMLINK_REPLACE, text="pts/ptmx", path="/dev/ptmx")


def _emit_node(plan: Plan, where: str, path: str, mode: int, device: int, uid: int, gid: int, binds: bool) -> None:
    bind = binds and mode & S_IFMT != S_IFIFO
    plan.device(
        where, path, flags=lib.DEVICE_BIND if bind else 0, path=path, source=path if bind else "", mode=mode, device=device, uid=uid,
        gid=gid
    )
