"""Why a program was not started, or has ended badly: what the kernel tells of it, in one line for a person.

Only what is known is said, and nothing of an exit status that a program has chosen. What is looked at may have gone, or be denied to
us: then there is no line.
"""

from __future__ import annotations

import _signal as signals
import posix
import struct

from pyrun.base import files, log
from pyrun.base.errors import Error, ProgramError
from pyrun.base.interrupts import waiting
from pyrun.base.processes import SIGKILL
from pyrun.cgroup import blame
from pyrun.host import kernellog
from pyrun.host.program import MISSING, Judge, User
from pyrun.host.rootfs import Found, Rootfs, Unknown
from pyrun.init.session import Ended
from pyrun.plan.namespaces import CLONE_NEWPID, Namespaces, host_id
from pyrun.plan.process import Program
from pyrun.plan.seccomp import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cgroup.base import Cgroup

X32 = 0x40000000
"""The bit in the number of a system call by which the kernel tells x32 from x86_64."""


class Place:
    """Of the program: its config, its cgroup, the path of its root on the host and of its bundle. joins: `exec`, the pid of the
    container's init, in whose mount namespace the root lies.
    """

    def __init__(self, config: dict, group: Cgroup | None, root: str = "", bundle: str = "", joins: int = 0) -> None:
        self.config, self.process, self.group = config, config["process"], group
        self.root, self.bundle, self.joins = root, bundle, joins


def failed(error: Error, place: Place) -> Error:
    """The error of a start; with its cause behind it, where the kernel knows more than its errno or signal says."""
    if isinstance(error, ProgramError):
        cause = _tried(waiting, not_executable, place, error.number)
    elif isinstance(error, Ended) and error.how == -signals.SIGSYS:
        cause = f"seccomp has killed it: {_tried(refused, error.pid, place)}"
    elif isinstance(error, Ended) and error.how == -SIGKILL and (memory := out_of_memory(error.pid, place)):
        limit = place.config["linux"]["resources"].get("memory", {}).get("limit")
        which = f"linux.resources.memory.limit: {limit}" if limit else "a limit of memory"
        return Error(f"unable to start container process: {which} is too low: init was killed by the memory limit ({memory})", error.code)
    else:
        cause = ""
    if cause:
        error.args = (f"{error} ({cause})",)
    return error


def tell(status: int | None, pid: int, place: Place) -> None:
    """Says why a program has ended badly, where that is known. status: as of waitpid(2)."""
    code = posix.waitstatus_to_exitcode(status or 0)
    if cause := _tried(killed, -code, pid, place) if code < 0 else _tried(failing, place):
        log.error(f"the program {f'was killed by signal {-code}' if code < 0 else f'ended with status {code}'}: {cause}")


def _tried(look: Callable[..., str], *args: object) -> str:
    """What is found out, '' where it cannot be: an end is reported in any case, and this only says more of it."""
    try:
        return look(*args)
    except (OSError, Unknown, struct.error, UnicodeError) as fault:
        log.debug(f"the cause is not known: {fault}")
        return ""


# --- a program that has ended -----------------------------------------------------------------------------------------


def failing(place: Place) -> str:
    """Of one that gave an exit status itself: a limit that it, or a child of it, has met with. In a container that others share with
    it (`exec`) nobody knows whose it was.
    """
    return "" if place.joins else blame.memory(place.group, place.config) or blame.pids(place.group, place.config)


def killed(number: int, pid: int, place: Place) -> str:
    if number == signals.SIGSYS:
        return refused(pid, place)
    if number == SIGKILL:
        return out_of_memory(pid, place) or _rlimit(number, place) or _from_outside(place)
    return _rlimit(number, place) or FAULTS.get(number, "")


FAULTS = {
    signals.SIGILL: "illegal instruction", signals.SIGTRAP: "breakpoint trap", signals.SIGABRT: "aborted", signals.SIGBUS: "bus error",
    signals.SIGFPE: "arithmetic exception", signals.SIGSEGV: "segmentation fault",
}  # fmt: skip
"""Signals that a program gets for what it has done itself. Of others, such as TERM, whoever sent them knows."""
RLIMITS = {signals.SIGXCPU: ("RLIMIT_CPU", "soft"), SIGKILL: ("RLIMIT_CPU", "hard"), signals.SIGXFSZ: ("RLIMIT_FSIZE", "soft")}
"""Signal -> the limit for which the kernel sends it."""
SAMPLED = 0.5
"""The kernel holds RLIMIT_CPU by its ticks, which find a busy process more often than times(2) tells: we take this part of it for all."""


def refused(pid: int, place: Place) -> str:
    """What seccomp has killed a process for."""
    profile = "linux.seccomp" if place.config["linux"]["seccomp"] else "a seccomp filter around the runtime"
    call = kernellog.refused_call(pid)
    if not call:
        return f"bad system call: one that {profile} does not allow"
    arch, number = call
    name = name_of(arch, number & ~X32)
    return f'{profile} does not allow the system call {name}{" of x32" if number & X32 else ""}'


def out_of_memory(pid: int, place: Place) -> str:
    """A cgroup counts all that it has ever had: of one process in it the log alone knows. The same goes for a cgroup that systemd has
    removed as soon as it was empty.
    """
    if not place.joins and blame.kills(place.group) is not None:
        return blame.memory(place.group, place.config)
    told = kernellog.out_of_memory(pid)
    if told == "machine":
        return "the machine's memory ran out"
    return (blame.memory(place.group, place.config) or blame.given(place.config)) if told else ""


def _rlimit(number: int, place: Place) -> str:
    name, kind = RLIMITS.get(number, ("", ""))
    for index, limit in enumerate(place.process["rlimits"]):
        if limit["type"] == name and (number != SIGKILL or _cpu_time() > limit[kind] * SAMPLED):
            used = f"after {_cpu_time():.1f} s of CPU time" if name == "RLIMIT_CPU" else "as it wrote to a large file"
            return f"{used}; process.rlimits[{index}].{kind} ({name}) is {limit[kind]}"
    return ""


def _cpu_time() -> float:
    """Seconds that our children have used."""
    times = posix.times()
    return times.children_user + times.children_system


def _from_outside(place: Place) -> str:
    """No process can send SIGKILL to the first one of its own pid namespace; the kernel does it when memory has run out."""
    first = not place.joins and Namespaces(place.config["linux"]["namespaces"]).mask & CLONE_NEWPID
    sender = "outside of the container" if first else "another process"
    killed = blame.kills(place.group)
    if killed == 0:
        return f"it was sent from {sender}, memory has not run out"
    if killed is None:
        return f"it was sent from {sender}, or by the kernel as memory ran out: no cgroup tells"
    return f"it was sent from {sender}, or by the kernel: {blame.memory(place.group, place.config)}"


# --- a program that cannot be executed --------------------------------------------------------------------------------


def not_executable(place: Place, number: int) -> str:
    """What execve(2) has seen of a file when it gave an errno."""
    rootfs = Rootfs(place.root, {} if place.joins else {path: source for path, (source, _) in mounts_of(place).items()})
    judge = Judge(rootfs, user_of(place), number, lambda found: noexec(found, place))
    try:
        for path in Program(place.process, ()).candidates:
            try:
                fault = judge.fault(path if path.startswith("/") else f"{place.process['cwd']}/{path}")
            except NotADirectoryError:
                continue
            if fault and fault != MISSING:
                return fault if path == place.process["args"][0] else f"{path}: {fault}"
        return ""
    finally:
        rootfs.close()


def mounts_of(place: Place) -> dict[str, tuple[str, int]]:
    """destination -> (the host's file that is bound there, '' where it is none; the index in mounts)."""
    found = {}
    for index, mount in enumerate(place.config["mounts"]):
        source = mount["source"] if mount["type"] == "bind" or {"bind", "rbind"} & set(mount["options"]) else ""
        found[files.clean(mount["destination"])] = (source if source[:1] in ("", "/") else f"{place.bundle}/{source}", index)
    return found


def noexec(found: Found, place: Place) -> str:
    for path, (_, index) in reversed(() if place.joins else mounts_of(place).items()):
        if found.path.startswith(f"{path}/") or found.path == path:
            if "noexec" in place.config["mounts"][index]["options"]:
                return f"mounts[{index}], on {path}, has the option noexec"
            break
    if not found.is_noexec():
        return ""
    with_id = found.mount()
    for line in files.read(f"/proc/{place.joins or 'self'}/mountinfo").decode(errors="surrogateescape").splitlines():
        words = line.split()
        if words[0] == with_id:
            return f"it lies on the mount {words[4]}{'' if place.joins else ' of the host'}, which is noexec"
    return "it lies on a mount that is noexec"


def user_of(place: Place) -> User:
    linux, user = place.config["linux"], place.process["user"]
    uid, gids = user["uid"], [user["gid"], *user["additionalGids"]]
    almighty = bool({"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"} & set(place.process["capabilities"]["effective"]))
    if any(space["type"] == "user" for space in linux["namespaces"]):
        uid = host_id(linux["uidMappings"], uid)
        gids = [host_id(linux["gidMappings"], gid) for gid in gids]
    # Of a namespace that is joined nobody has told us the ids.
    return User(-1 if uid is None else uid, frozenset(gid for gid in gids if gid is not None), almighty or uid is None)
