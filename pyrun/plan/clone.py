"""How init gets into namespaces and cgroups: the ops that every plan begins with."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.plan import namespaces
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The barriers of a container's plan, in order. init stops at each until the runtime answers with the same number.
BARRIER_IDS = 1  # the new user namespace waits for its id maps
BARRIER_HOOKS = 2  # mounted, before the pivot: prestart, createRuntime and createContainer hooks
BARRIER_START = 3  # `run` alone: all is set up; the state is written and startContainer hooks run


def emit_clone(plan: Plan, mask: int, cgroup_files: Iterable[str], flags: int = 0) -> None:
    """mask: CLONE_NEW* of the namespaces that are made. flags: CLONE_LAST."""
    born = [path for path in cgroup_files if is_v2(path)]
    fd = plan.file(born[0].rpartition("/")[0], posix.O_PATH, "linux.cgroupsPath") if born else -1
    plan.clone("linux.namespaces", flags=flags, cgroup=fd, namespaces=mask)


def emit_cgroup_join(plan: Plan, cgroup_files: Iterable[str]) -> None:
    for path in cgroup_files:
        flags = lib.CGROUP_JOIN_BORN if is_v2(path) else 0
        fd = plan.file(path, posix.O_WRONLY, "linux.cgroupsPath")
        plan.cgroup_join("linux.cgroupsPath", path, flags=flags, path=path, file=fd)


def is_v2(path: str) -> bool:
    """Whether one of Cgroup.procs_files is of cgroup v2: on v1 it is `tasks`."""
    return path.endswith("/cgroup.procs")


def emit_first_ids(plan: Plan, where: str, linux: dict) -> None:
    """The ids that init works with in the container's user namespace."""
    uid, gid = namespaces.first_ids(linux)
    plan.setid(where, uid=uid, gid=gid)


def emit_maps(plan: Plan, where: str, rootless: bool) -> None:
    """The new user namespace waits for its id maps."""
    if rootless:
        # /proc/PID/uid_map of a process that is not dumpable belongs to the real root.
        plan.dumpable(value=1)
    plan.barrier(where, number=BARRIER_IDS)
