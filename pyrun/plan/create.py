"""The plan of a new container. `container_plan` reads like its boot.

Every decision is made here, none in init: what a rootless caller, a user namespace, no_new_privs or a cgroup layout
change is which ops are emitted, and in what order.
"""

from __future__ import annotations

from pyrun.base.errors import HostError
from pyrun.config import rules
from pyrun.plan import namespaces
from pyrun.plan.clone import BARRIER_HOOKS, BARRIER_START, emit_cgroup_join, emit_clone, emit_first_ids, emit_maps
from pyrun.plan.context import Context
from pyrun.plan.namespaces import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWTIME, CLONE_NEWUSER
from pyrun.plan.process import (  # fmt: skip
    CAP_SYS_RESOURCE,
    emit_console,
    emit_hard_limits,
    emit_host_stdio,
    emit_identity,
    emit_last_filter,
    emit_oom_score,
    emit_program_setup,
    emit_rlimits,
)
from pyrun.plan.records import Plan
from pyrun.plan.request import keyring_of
from pyrun.plan.root import emit_pivot, emit_protection, emit_root
from pyrun.plan.seccomp import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def container_plan(context: Context, seccomp: Filter | None, waits: bool) -> Plan:
    """The whole plan. waits: stop for `start` (create) instead of going on (run). seccomp: the compiled filter, or None."""
    plan = first_part(context)
    emit_rest(plan, context, seccomp, waits)
    return plan


def first_part(context: Context) -> Plan:
    """What init does while emit_rest() goes on: it makes the namespaces, and joins the cgroup."""
    if context.facts.rootless and not context.user_namespace:
        cure = 'add {"type": "user"} (`spec --rootless` writes it)'
        raise HostError("linux.namespaces", "rootless container requires user namespaces", cure=cure)
    plan = Plan()
    emit_first_stage(plan, context)
    if not waits_for_maps(context):
        emit_new_namespaces(plan, context)
    plan.rest()
    return plan


def waits_for_maps(context: Context) -> bool:
    """Whether init, right after the clone, waits for its id maps: they are written when all of the plan is sent."""
    return bool(context.spaces.new & CLONE_NEWUSER)


def emit_rest(plan: Plan, context: Context, seccomp: Filter | None, waits: bool, part: Callable[[], None] | None = None) -> None:
    """All that follows the first part. part(): sends init what there is of the plan so far, with an op `rest` at its end."""
    process, linux, hooks = context.process, context.linux, context.config["hooks"]

    if waits_for_maps(context):
        emit_new_namespaces(plan, context)
    read_only_later = emit_root(plan, context, part)
    if process and process["terminal"]:
        emit_console(plan, process, bind="/dev/console")
        plan.ctty("process.terminal")
    if hooks["prestart"] or hooks["createRuntime"] or hooks["createContainer"]:
        plan.barrier("hooks", number=BARRIER_HOOKS)
    emit_protection(plan, linux)
    emit_pivot(plan, context, read_only_later)
    for name, value in linux["sysctl"].items():
        emit_sysctl(plan, name, value)
    if process:
        program = emit_program_setup(plan, process, linux, context.additions.env, context.facts)
    if waits:
        start = plan.given("start")
        plan.ready(kept=start)
        plan.wait_start(socket=start)
    else:
        plan.barrier("start", number=BARRIER_START)
    if process:
        emit_rlimits(plan, process)
        emit_identity(plan, process, context.rights(), seccomp)
        emit_last_filter(plan, process, seccomp)
        program.emit_exec(plan, context.additions.keep)


def emit_first_stage(plan: Plan, context: Context) -> None:
    """In the caller's namespaces, with its rights: what a user namespace would no longer allow; then the clone."""
    if context.process:
        emit_oom_score(plan, context.process)
        almighty = not context.binds_devices and bool(context.facts.capabilities[0] >> CAP_SYS_RESOURCE & 1)
        emit_hard_limits(plan, context.process, almighty)
        if context.user_namespace:
            emit_host_stdio(plan, context.process, context.linux)
    namespaces.emit_joins(plan, context.spaces, namespaces.first_ids(context.linux))
    # The cgroup namespace shows the cgroup the process is in when it is made, so it is made after the join; the
    # time namespace takes its offsets before anyone lives in it.
    emit_clone(plan, context.spaces.new & ~(CLONE_NEWCGROUP | CLONE_NEWTIME), context.cgroup_files)


def emit_new_namespaces(plan: Plan, context: Context) -> None:
    config, linux, new = context.config, context.linux, context.spaces.new
    if waits_for_maps(context):
        emit_maps(plan, "linux.uidMappings", context.facts.rootless)
        emit_first_ids(plan, "linux.uidMappings", linux)
        if context.facts.rootless:
            # A change of ids took it away again, and without it hooks and `exec` could not join. Nobody else gets a hold of init by
            # that: it takes CAP_SYS_PTRACE in this new namespace (CVE-2016-9962 is about processes in a joined one).
            plan.dumpable(value=1)
    emit_cgroup_join(plan, context.cgroup_files)
    if new & CLONE_NEWCGROUP:
        plan.unshare("linux.namespaces", "cgroup", namespaces=CLONE_NEWCGROUP)
    if new & CLONE_NEWTIME:
        plan.timens("linux.timeOffsets", offsets=time_offsets(linux["timeOffsets"]))
    plan.setsid()
    if not context.request.no_new_keyring:
        plan.keyring(name=keyring_of(context.request.id))
    if new & CLONE_NEWNET:
        plan.lo_up("linux.namespaces", "network")
    if context.spaces.has("uts"):
        if config["hostname"]:
            plan.hostname("hostname", config["hostname"], name=config["hostname"])
        if config["domainname"]:
            plan.domainname("domainname", config["domainname"], name=config["domainname"])


def time_offsets(offsets: dict) -> str:
    """The text of /proc/PID/timens_offsets (time_namespaces(7))."""
    return "".join(f"{clock} {one['secs']} {one['nanosecs']}\n" for clock, one in offsets.items() if one)


def emit_sysctl(plan: Plan, name: str, value: str) -> None:
    path, where = rules.sysctl_path(name), f"linux.sysctl[{name}]"
    if path == "kernel/domainname":
        # The file is the real root's; setdomainname(2) asks for rights over the UTS namespace.
        plan.domainname(where, name, name=value)
    else:
        plan.sysctl(where, f"/proc/sys/{path}", path=path, value=value)
