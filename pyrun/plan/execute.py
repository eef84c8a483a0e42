"""The plan of a further process in a running container (`exec`): the same program as `create`, with fewer steps."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base.facts import Facts
from pyrun.base.facts import facts as own_facts
from pyrun.plan.clone import emit_cgroup_join, emit_clone, emit_first_ids
from pyrun.plan.namespaces import CLONE_NEWUSER, Entrance, first_ids
from pyrun.plan.process import (  # fmt: skip
    Rights,
    emit_affinity,
    emit_console,
    emit_host_stdio,
    emit_identity,
    emit_oom_score,
    emit_program_setup,
    emit_rlimits,
)
from pyrun.plan.records import Plan
from pyrun.plan.request import Additions
from pyrun.plan.seccomp import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def process_plan(
    config: dict, process: dict, additions: Additions, seccomp: Filter | None, entrance: Entrance, cgroup_files: Sequence[str],
    denies_setgroups: Callable[[], bool], root_file: str | None = None, facts: Facts = own_facts,
) -> Plan:  # fmt: skip
    """config, process: normal ones; the process is not the config's.

    entrance: of the container. denies_setgroups(): of the container's user namespace. root_file: path of the
    container's root (/proc/PID/root) where it has no mount namespace of its own.
    """
    plan = Plan()
    linux, affinity = config["linux"], process["execCPUAffinity"]
    other_user = bool(entrance.mask & CLONE_NEWUSER)
    rights = Rights(config, process, facts, other_user, denies_setgroups)
    if affinity["initial"]:
        emit_affinity(plan, affinity["initial"], "process.execCPUAffinity.initial")
    emit_oom_score(plan, process)
    if other_user:
        emit_rlimits(plan, process, lib.RLIMIT_RAISE)
        emit_host_stdio(plan, process, linux)
    root = plan.file(root_file, posix.O_PATH, "root") if root_file else -1
    if entrance.mask:
        entrance.emit(plan, first_ids(linux))
    emit_clone(plan, 0, cgroup_files)
    emit_cgroup_join(plan, cgroup_files)
    if other_user:
        emit_first_ids(plan, "linux.namespaces", linux)
    plan.setsid()
    if root_file:
        plan.chroot("root", root_file, root=root)
    if process["terminal"]:
        emit_console(plan, process, bind="")
    program = emit_program_setup(plan, process, linux, additions.env, facts)
    if affinity["final"]:
        emit_affinity(plan, affinity["final"], "process.execCPUAffinity.final")
    emit_identity(plan, process, rights, seccomp)
    program.emit_exec(plan, additions.keep)
    return plan
