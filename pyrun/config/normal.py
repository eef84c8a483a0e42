"""The config as the rest of pyrun reads it: with all the members that pyrun knows, those left out filled in with their defaults.

Nobody changes a normal config. What is saved in the state directory is the config as it was given: other programs and other
releases of pyrun read that, and whoever loads it makes a normal one of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Each:
    """In a table: a list of objects with these members."""

    __slots__ = ("table",)

    def __init__(self, **table: Any) -> None:
        self.table = table


class Maybe(Each):
    """In a table: an object with these members, or None where there is none."""

    __slots__ = ()


# Member -> default; a dict stands for an object that is always there. Lists that are left out are the empty tuple, which nobody
# can add to. Members that every config must have, and those that one place alone reads, need no row.
PROCESS = {
    "terminal": False,
    "consoleSize": {"height": 0, "width": 0},
    # runc's umask for the program is 022, whatever its own is.
    "user": {"uid": 0, "gid": 0, "umask": 0o022, "additionalGids": ()},
    "env": (),
    "capabilities": {"bounding": (), "effective": (), "permitted": (), "inheritable": (), "ambient": ()},
    "rlimits": (),
    "noNewPrivileges": False,
    "apparmorProfile": "",
    "selinuxLabel": "",
    "oomScoreAdj": None,
    "scheduler": Maybe(nice=0, priority=0, flags=(), runtime=0, deadline=0, period=0),
    "ioPriority": Maybe(priority=0),
    "execCPUAffinity": {"initial": "", "final": ""},
}
# No `env` is our own environment for a hook, an empty one is none.
HOOK = Each(args=(), env=None, timeout=None)
OFFSET = Maybe(secs=0, nanosecs=0)
LINUX = {
    "namespaces": Each(path=""),
    "uidMappings": (),
    "gidMappings": (),
    "timeOffsets": {"monotonic": OFFSET, "boottime": OFFSET},
    "devices": Each(major=0, minor=0, fileMode=0o666, uid=0, gid=0),
    "cgroupsPath": "",
    "resources": {},
    "rootfsPropagation": "",
    "maskedPaths": (),
    "readonlyPaths": (),
    "mountLabel": "",
    "personality": None,
    "memoryPolicy": Maybe(nodes="", flags=()),
    "sysctl": {},
    "netDevices": {},
    "intelRdt": None,
    # A profile has hundreds of entries, and most of them are compiled already: see SECCOMP.
    "seccomp": {},
}
CONFIG: dict[str, Any] = {
    "hostname": "",
    "domainname": "",
    "root": {"readonly": False},
    "mounts": Each(type="", source="", options=(), uidMappings=(), gidMappings=()),
    "process": Maybe(**PROCESS),
    "hooks": {
        "prestart": HOOK, "createRuntime": HOOK, "createContainer": HOOK, "startContainer": HOOK, "poststart": HOOK, "poststop": HOOK,
    },
    "annotations": {},
    "linux": LINUX,
}  # fmt: skip
SECCOMP = {
    "defaultErrnoRet": None,
    "architectures": (),
    "flags": None,
    "listenerPath": "",
    "listenerMetadata": "",
    "syscalls": Each(errnoRet=None, args=Each(valueTwo=0)),
}


def config_of(given: dict) -> dict:
    """The normal form of a config (as load() gives it, checked)."""
    return fill(CONFIG, given)


def process_of(given: dict) -> dict:
    """The normal form of a process alone."""
    return fill(PROCESS, given)


def mount_of(given: dict) -> dict:
    """The normal form of an entry of `mounts`."""
    return fill(CONFIG["mounts"].table, given)


def fill(table: dict, given: dict) -> dict:
    """A new object: what is given, and of the rest the table's defaults. A member that is null counts as left out."""
    full = table | given
    for name, default in table.items():
        value, kind = given.get(name), type(default)
        if kind is dict:
            full[name] = fill(default, value or {})
        elif kind is Maybe:
            full[name] = fill(default.table, value) if value else None
        elif kind is Each:
            full[name] = [fill(default.table, entry) for entry in value or ()]
        elif value is None:
            full[name] = default
    return full
