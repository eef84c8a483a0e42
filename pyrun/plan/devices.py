"""linux.devices and the devices every container has -> ops (config-linux.md#devices, #default-devices)."""

from pyrun._native import lib
from pyrun.base.files import clean

DEFAULT = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)
TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


def makedev(major, minor):
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32


def emit(plan, config, host):
    """Device nodes and links in /dev; none when the config binds a /dev of its own."""
    entries = (config.get("linux") or {}).get("devices") or ()
    taken = set()
    for index, entry in enumerate(entries):
        where = f"linux.devices[{index}]"
        path = clean(entry["path"])
        if path == "/dev/ptmx" and host.binds_devices:
            continue  # the host's makes terminals in the host's devpts; the link below is what is meant
        taken.add(path)
        kind = entry["type"]
        # A FIFO has no numbers.
        device = 0 if kind == "p" else makedev(entry.get("major", 0), entry.get("minor", 0))
        mode = entry.get("fileMode")
        mode = TYPES[kind] | (0o666 if mode is None else mode & 0o7777)
        _emit_node(plan, where, path, mode, device, entry.get("uid") or 0, entry.get("gid") or 0, host)
    for name, major, minor in DEFAULT:
        path = f"/dev/{name}"
        if path not in taken:
            _emit_node(plan, "default devices", path, 0o020666, makedev(major, minor), 0, 0, host)
    for text, path in LINKS:
        plan.symlink("default devices", path, text=text, path=path)
    if "/dev/ptmx" not in taken:
        # An image's own node would open the host's devpts; the link opens the container's.
        plan.symlink("default devices", "/dev/ptmx", flags=lib.SYMLINK_REPLACE, text="pts/ptmx", path="/dev/ptmx")


def _emit_node(plan, where, path, mode, device, uid, gid, host):
    bind = host.binds_devices and mode & 0o170000 != 0o010000
    plan.device(
        where, path, flags=lib.DEVICE_BIND if bind else 0, path=path, source=path if bind else "", mode=mode, device=device, uid=uid,
        gid=gid
    )
