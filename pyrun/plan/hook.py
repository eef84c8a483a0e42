"""The plan of a hook that runs in the container's namespaces (createContainer, startContainer)."""

from __future__ import annotations

import posix

from pyrun.plan.clone import emit_cgroup_join, emit_clone
from pyrun.plan.namespaces import CLONE_NEWUSER, Entrance
from pyrun.plan.process import emit_seccomp
from pyrun.plan.records import Plan
from pyrun.plan.seccomp import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def hook_plan(
    entry: dict, env: Sequence[str], home_of: int | None, entrance: Entrance, cgroup_files: Sequence[str], inside: bool, rootfs: str,
    seccomp: Filter | None = None, root_file: str | None = None, ids: tuple[int, int] = (0, 0),
) -> Plan:  # fmt: skip
    """inside: its path is one of the container (startContainer), so the program's own set-up is done already; otherwise it starts
    in rootfs (path on the host). home_of: the user id whose HOME is added to the environment, None where nothing is.
    seccomp: a filter for the hook, or None. ids: the (uid, gid) it has in a user namespace.
    """
    plan = Plan()
    root = plan.file(root_file, posix.O_PATH, "root") if root_file and inside else -1
    if entrance.mask:
        entrance.emit(plan, ids)
    emit_clone(plan, 0, cgroup_files)
    emit_cgroup_join(plan, cgroup_files)
    if entrance.mask & CLONE_NEWUSER:
        plan.setid(uid=ids[0], gid=ids[1])
    plan.setsid()
    if root_file and root >= 0:
        plan.chroot("root", root_file, root=root)
    if not inside:
        plan.chdir("root.path", rootfs, path=rootfs)
    if home_of is not None:
        plan.home("hook", "HOME", uid=home_of)
    plan.umask(mask=0o022)
    if seccomp:
        emit_seccomp(plan, seccomp)
    path = entry["path"]
    plan.exec("hook", path, candidates=[path], argv=entry["args"] or [path], env=env, first_closed=3)
    return plan
