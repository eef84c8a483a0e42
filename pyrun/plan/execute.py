"""The plan of a further process in a running container (`exec`): the same program as `create`, with fewer steps.

The process that becomes the program is cloned last. Only what is cloned after setns(2) is in the container's pid namespace, and
whoever may trace it there (CAP_SYS_PTRACE, in the host's user namespace too) shall find nothing in it that the program would not have:
no capability, no file, no way around the filter. So a stage that the container cannot see does all the rest.
"""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base.facts import Facts
from pyrun.base.facts import facts as own_facts
from pyrun.plan.clone import emit_cgroup_join, emit_clone, emit_first_ids, is_v2
from pyrun.plan.namespaces import CLONE_NEWUSER, Entrance, first_ids
from pyrun.plan.process import (  # fmt: skip
    RLIMITS,
    Rights,
    emit_affinity,
    emit_console,
    emit_host_stdio,
    emit_identity,
    emit_last_filter,
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

# When the process that becomes the program is cloned: with everything taken that it shall not have; before the filter, where that
# refuses what follows the clone and needs no capability to be set; or before its scheduler, ids and filter are set.
LAST, UNFILTERED, FIRST = range(3)
PROCESSES = frozenset({"RLIMIT_NPROC"})
"""They count the stage too, so the limit is the program's alone."""
OTHERS = RLIMITS.keys() - PROCESSES
CLONE_PARENT, SIGCHLD, TIOCSCTTY = 0x8000, 17, 0x540E


def moment(process: dict, seccomp: Filter | None) -> int:
    """LAST, UNFILTERED or FIRST."""
    scheduler = process["scheduler"]
    if scheduler and (scheduler["policy"] == "SCHED_DEADLINE" or "SCHED_FLAG_RESET_ON_FORK" in scheduler["flags"]):
        return FIRST  # sched(7): the one may not clone, the other's child has lost it
    if seccomp and not passes(process, seccomp):
        return UNFILTERED if process["noNewPrivileges"] else FIRST
    return LAST


def passes(process: dict, seccomp: Filter) -> bool:
    """Whether the filter lets init clone, and lets the clone become the program. An agent is told of the program's own pid."""
    return (
        not seccomp.notify
        and all(seccomp.lets_pass(name) for name in ("write", "setsid", "execve", "exit_group"))
        and seccomp.lets_pass("clone", CLONE_PARENT | SIGCHLD)
        and (not process["terminal"] or seccomp.lets_pass("ioctl", 0, TIOCSCTTY))
        and (not limits_processes(process) or seccomp.lets_pass("prlimit64", 0, RLIMITS["RLIMIT_NPROC"]))
    )


def limits_processes(process: dict) -> bool:
    return any(entry["type"] in PROCESSES for entry in process["rlimits"])


def emit_last_clone(plan: Plan, process: dict) -> None:
    emit_clone(plan, 0, (), lib.CLONE_LAST)
    plan.setsid()
    if process["terminal"]:
        plan.ctty("process.terminal")
    emit_rlimits(plan, process, kinds=PROCESSES)


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
    # By a clone, for a move into a cgroup of v2 takes long.
    if any(map(is_v2, cgroup_files)):
        emit_clone(plan, 0, cgroup_files)
        plan.stages += 1
    emit_cgroup_join(plan, cgroup_files)
    plan.setsid()  # what is typed on the caller's terminal meanwhile (^C) is for the caller and the program
    if entrance.mask:
        entrance.emit(plan, first_ids(linux))
    if other_user:
        emit_first_ids(plan, "linux.namespaces", linux)
    if additions.keyring:
        plan.keyring(name=additions.keyring)
    if root_file:
        plan.chroot("root", root_file, root=root)
    if process["terminal"]:
        emit_console(plan, process, bind="")
    when = moment(process, seccomp)
    if when == FIRST:
        emit_last_clone(plan, process)
    program = emit_program_setup(plan, process, linux, additions.env, facts)
    if affinity["final"]:
        emit_affinity(plan, affinity["final"], "process.execCPUAffinity.final")
    if when != FIRST:
        plan.close()
        if limits_processes(process):
            emit_rlimits(plan, process, lib.RLIMIT_RAISE, kinds=PROCESSES)
    emit_rlimits(plan, process, kinds=OTHERS)
    emit_identity(plan, process, rights, seccomp)
    if when == UNFILTERED:
        emit_last_clone(plan, process)
    emit_last_filter(plan, process, seccomp)
    if when == LAST:
        emit_last_clone(plan, process)
    program.emit_exec(plan, additions.keep)
    return plan
