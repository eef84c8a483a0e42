"""linux.namespaces -> clone flags and setns ops (config-linux.md#namespaces, namespaces(7))."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base import files
from pyrun.base.processes import pidfd
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000

FLAGS = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
FILES = {kind: {"mount": "mnt", "network": "net"}.get(kind, kind) for kind in FLAGS}
"""Their names in /proc/PID/ns (proc_pid_ns(5))."""


class Namespaces:
    """Of linux.namespaces. new: mask of those that the container makes; joined: those that it joins, kind -> (path, where)."""

    def __init__(self, entries: list[dict]) -> None:
        self.new = 0
        self.joined: dict[str, tuple[str, str]] = {}
        for index, entry in enumerate(entries):
            kind, path = entry["type"], entry["path"]
            if path:
                self.joined[kind] = (path, f"linux.namespaces[{index}].path")
            else:
                self.new |= FLAGS[kind]

    def has(self, kind: str) -> bool:
        """Whether the container has a namespace of its own of this kind, made or joined."""
        return kind in self.joined or bool(self.new & FLAGS[kind])

    @property
    def mask(self) -> int:
        mask = self.new
        for kind in self.joined:
            mask |= FLAGS[kind]
        return mask


# setns(2) takes a pidfd since Linux 5.8.
NO_PIDFD = ("2.", "3.", "4.", "5.0.", "5.1.", "5.2.", "5.3.", "5.4.", "5.5.", "5.6.", "5.7.")


class Entrance:
    """The way into a container. mask: CLONE_NEW* of its namespaces.

    files: name of the slot -> fd: the pidfd `container`; where the kernel cannot enter by one, a file of each namespace, by its kind.
    """

    def __init__(self, mask: int, files: dict[str, int]) -> None:
        self.mask = mask
        self.files = files

    def emit(self, plan: Plan, ids: tuple[int, int] = (0, 0)) -> None:
        """ids: first_ids()."""
        if "container" in self.files:
            plan.setns("namespaces", "of the container", file=plan.given("container"), namespaces=self.mask)
        else:
            _emit_joins(plan, {kind: ("", "namespaces") for kind in self.files}, ids)

    def close(self) -> None:
        for fd in self.files.values():
            posix.close(fd)


def entrance(pid: int, mask: int) -> Entrance:
    """The Entrance of the container with this init. Raises OSError: ProcessLookupError or FileNotFoundError if that is gone.

    Whether the pid was still init's own has to be asked afterwards.
    """
    opened = Entrance(mask, {})
    if mask and not posix.uname().release.startswith(NO_PIDFD) and (fd := pidfd(pid)) >= 0:
        opened.files["container"] = fd
        return opened
    try:
        for kind, name in FILES.items():
            if mask & FLAGS[kind]:
                opened.files[kind] = posix.open(f"/proc/{pid}/ns/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    except BaseException:
        opened.close()
        raise
    return opened


def mask_of(pid: int) -> int:
    """CLONE_NEW* mask of the namespaces of a process that are not our own. OSError if it is gone."""
    mask = 0
    for kind, name in FILES.items():
        try:
            own = posix.readlink(f"/proc/self/ns/{name}")
        except FileNotFoundError:  # of a kind that the kernel does not have
            continue
        if posix.readlink(f"/proc/{pid}/ns/{name}") != own:
            mask |= FLAGS[kind]
    return mask


def own_pid(pid: int) -> int:
    """The pid (int) that a process has in its own pid namespace. OSError if it is gone."""
    status = files.read(f"/proc/{pid}/status")
    return int(status.partition(b"\nNSpid:")[2].partition(b"\n")[0].split()[-1])


def maps_one_id(mappings: Sequence[dict], id: int) -> bool:
    """Whether that id of the caller's namespace is all that they map: everybody may do that for his own (user_namespaces(7))."""
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == id


def host_id(mappings: Sequence[dict], id: int) -> int | None:
    """The caller's id (int) that an id of the container's user namespace is; None where it is not mapped."""
    for entry in mappings:
        if entry["containerID"] <= id < entry["containerID"] + entry["size"]:
            return entry["hostID"] + id - entry["containerID"]
    return None


def first_ids(linux: dict) -> tuple[int, int]:
    """The (uid, gid) that init works with in the container's user namespace: root, or the first it has where 0 is not mapped."""
    return _first(linux["uidMappings"]), _first(linux["gidMappings"])


def _first(mappings: Sequence[dict]) -> int:
    return min((entry["containerID"] for entry in mappings), default=0)


def emit_joins(plan: Plan, namespaces: Namespaces, ids: tuple[int, int] = (0, 0)) -> None:
    """setns into the namespaces given by path. ids: first_ids().

    A namespace may belong to the first user namespace (its files can only be joined before the user namespace is) or
    to the joined one (only after): what fails before is tried again after.
    """
    _emit_joins(plan, namespaces.joined, ids)


def _emit_joins(plan: Plan, joined: dict[str, tuple[str, str]], ids: tuple[int, int]) -> None:
    """joined: kind -> (path, where); without a path the launcher brings the file, by the name of the kind."""
    user = "user" in joined
    kinds = [kind for kind in FLAGS if kind in joined and kind != "user"]
    # The mount namespace last: its /proc need not have the other paths.
    kinds.sort(key=lambda kind: kind == "mount")
    for kind in kinds:
        _emit_setns(plan, kind, joined[kind], lib.SETNS_TRY if user else 0)
    if user:
        _emit_setns(plan, "user", joined["user"], 0)
        plan.setid("linux.namespaces", uid=ids[0], gid=ids[1])
        for kind in kinds:
            _emit_setns(plan, kind, joined[kind], lib.SETNS_RETRY)


def _emit_setns(plan: Plan, kind: str, place: tuple[str, str], flags: int) -> None:
    path, where = place
    file = plan.file(path, posix.O_RDONLY, where) if path else plan.given(kind)
    plan.setns(where, path or kind, flags=flags, file=file, namespaces=FLAGS[kind])
