"""The cgroup of a container: limits, device rules, processes (config-linux.md, Control groups).

    group = cgroup.open(config, id, settings)      # create: decides where it lies, touches nothing
    group.reserve()                            # asks systemd, if it makes the cgroup: may take long
    group.create()                             # the directories
    group.apply(config["linux"]["resources"])  # the limits, by the table in resources.py
    group.procs_files()                        # what init writes "0" to
    group.release()                            # init is in
    state["cgroup"] = group.to_state()         # a dict, for state.json

    group = cgroup.from_state(state["cgroup"]) # every later command
    group.frozen(); group.pids(); group.kill(9); group.delete()

v1.py and v2.py are two ways to do the same; a hybrid machine is v1 with one more hierarchy. systemd/ makes either of
them a unit of systemd.
"""

from __future__ import annotations

import errno

from pyrun.base.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from pyrun.cgroup.base import Cgroup
    from pyrun.cli.settings import Settings

USUAL = "/sys/fs/cgroup/"
FILE_SYSTEMS = (0x63677270, 0x27E0EB)
"""CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC (statfs(2))."""
MANAGERS = {"v1": True, "v2": True, "systemd": True, "systemdUser": True}
"""Who may manage the cgroups, in the words of features.md."""


def open(config: dict, id: str, settings: Settings) -> Cgroup:
    """The cgroup that a config asks for. Reads /proc/self/mountinfo and /proc/self/cgroup, changes nothing.

    linux.cgroupsPath counts from the mount point if it is absolute, from the runtime's own cgroup if it is relative (on
    v2 from the one above, since that must hold no processes). Without it the name is the id: below the mount point, or
    for an unprivileged caller, who may only own a part of the tree, as a relative path. Raises Error, ConfigError.

    A rootless container that asks for no particular cgroup may end up with none, or be missing in some hierarchies.
    """
    from pyrun.base import files
    from pyrun.base.facts import facts
    from pyrun.cgroup import layout

    unprivileged = facts.rootless or settings.rootless == "true"
    if settings.systemd_cgroup:
        from pyrun.cgroup.systemd import manager

        user = settings.rootless != "false" and (unprivileged or facts.in_user_namespace)
        return manager.open(config, id, layout.discover(), settings.rootless, user)
    path = config["linux"]["cgroupsPath"]
    inner = files.clean(path or id)
    if inner == "/" or "\0" in inner:
        raise ConfigError("linux.cgroupsPath", f"{path!r} names no cgroup of a container's own")
    relative = not path.startswith("/") if path else unprivileged
    mounts = layout.discover()
    unified = [mount.names for mount in mounts] == [[""]]
    paths = {}
    for mount in mounts:
        own = mount.own if relative else ""
        if unified:
            own = own.rpartition("/")[0]
        paths.update(dict.fromkeys(mount.names, mount.point + own + inner))
    group = _kind(paths)({"paths": paths, "claimed": False}, mounts, config, settings.rootless)
    group.give_up()
    return group


def is_state(state: Any) -> bool:
    """Whether a value out of a state.json is what to_state() gives, and its paths are cgroups, if they are there.

    A command removes what they name, and kills what is in it.
    """
    if state.__class__ is not dict or state.get("claimed").__class__ is not bool or state.get("paths").__class__ is not dict:
        return False
    if "systemd" in state and (state["systemd"].__class__ is not list or list(map(type, state["systemd"])) != [str, bool]):
        return False
    return _all_usual(state["paths"].values()) or all(map(_is_cgroup, state["paths"].values()))


def _all_usual(paths: Collection[Any]) -> bool:
    """Whether all are paths below USUAL: what _is_cgroup() looks for in each, looked for in all of them at once."""
    if set(map(type, paths)) != {str}:
        return False
    whole = "\0" + "/\0".join(paths) + "/"
    return whole.count("\0") == whole.count("\0" + USUAL) == len(paths) and not ("//" in whole or "/./" in whole or "/../" in whole)


def _is_cgroup(path: Any) -> bool:
    if path.__class__ is not str or path[:1] != "/":
        return False
    whole = path + "/"
    if "//" in whole or "/./" in whole or "/../" in whole or "\0" in whole:
        return False
    if path.startswith(USUAL):
        return True
    from pyrun.base import files

    try:
        return files.file_system(path) in (None, *FILE_SYSTEMS)
    except OSError as fault:
        if fault.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
            raise
        return False  # no path of a cgroup


def from_state(state: dict) -> Cgroup:
    """The cgroup that to_state() described. Touches nothing."""
    if "systemd" in state:
        from pyrun.cgroup.systemd import manager

        return manager.kind(state["paths"])(state)
    return _kind(state["paths"])(state)


def _kind(paths: dict[str, str]) -> type[Cgroup]:
    if list(paths) == [""]:
        from pyrun.cgroup.v2 import V2

        return V2
    from pyrun.cgroup.v1 import V1

    return V1
