"""Id maps of user namespaces (user_namespaces(7)): the container's, and those of idmapped mounts."""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base import files
from pyrun.base.errors import ConfigError, words
from pyrun.base.facts import facts
from pyrun.plan.namespaces import CLONE_NEWUSER, maps_one_id

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


def text(mappings: list[dict]) -> str:
    """What goes into uid_map or gid_map."""
    return "".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in mappings)


def write_maps(pid: int, uid_mappings: list[dict], gid_mappings: list[dict], where: str = "linux") -> None:
    """Writes the maps of the user namespace of a process that waits for them. Raises ConfigError.

    With rights over the ids they are written directly; an ordinary user goes through newuidmap and newgidmap
    (subuid(5)), or, for its own single id, writes it after giving up setgroups.
    """
    rootless = facts.rootless
    for kind, mappings, own in (("uid", uid_mappings, facts.uid), ("gid", gid_mappings, facts.gid)):
        if not mappings:
            continue
        field = f"{where}.{kind}Mappings"
        if rootless and not maps_one_id(mappings, own):
            _by_tool(f"new{kind}map", pid, mappings, field)
            continue
        if rootless and kind == "gid":
            _write(f"/proc/{pid}/setgroups", "deny", field)
        _write(f"/proc/{pid}/{kind}_map", text(mappings), field)


def _write(path: str, value: str, where: str) -> None:
    try:
        files.write(path, value)
    except OSError as error:
        hint = ""
        if error.errno == errno.EPERM:
            hint = "; every range of hostIDs must lie within one range of the caller's own ids (/proc/self/uid_map and gid_map)"
        elif error.errno == errno.EINVAL:
            hint = "; do ranges overlap, or are there more than 340 lines?"
        raise ConfigError(where, f"write {path}: {words(error.errno)}{hint}") from None


def _by_tool(tool: str, pid: int, mappings: list[dict], where: str) -> None:
    """Has newuidmap(1) or newgidmap(1) write a map. Raises ConfigError."""
    numbers = [str(one[key]) for one in mappings for key in ("containerID", "hostID", "size")]
    path = files.find_program(tool, posix.environ.get(b"PATH") or DEFAULT_PATH)
    if path is None:
        raise ConfigError(
            where,
            f"rootless containers need {tool} for more than the caller's own id, and it is not in $PATH: "
            f"install it (package uidmap, or shadow-utils), or map hostID {_own(tool)} alone with size 1",
        )
    code, said = _run(path, [tool, str(pid), *numbers])
    if code:
        reason = said.split("\n")[0] or f"exit status {code}"
        if not reason.startswith(tool):
            reason = f"{tool}: {reason}"
        raise ConfigError(
            where, f"{reason}; the hostIDs must be the caller's own or in its ranges in /etc/sub{tool[3:6]} (usermod --add-sub{tool[3:6]}s)"
        )


def _own(tool: str) -> int:
    return facts.uid if tool == "newuidmap" else facts.gid


def _run(path: str, argv: list[str]) -> tuple[int, str]:
    """Runs a program: (its exit code or -signal, what it said on stderr)."""
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    lib.native_cloexec(3)
    try:
        child = posix.posix_spawn(path, argv, {}, file_actions=[(posix.POSIX_SPAWN_DUP2, writer, 2)])
    except OSError as error:
        posix.close(reader)
        return 1, words(error.errno)
    finally:
        posix.close(writer)
    said = files.read_fd(reader, path)
    posix.close(reader)
    return posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1]), said.decode(errors="replace")


def namespace(uid_mappings: list[dict], gid_mappings: list[dict], where: str) -> int:
    """An fd of a user namespace with these maps, for an idmapped mount (mount_setattr(2)). No process stays in it."""
    from pyrun.init.session import Init
    from pyrun.plan.clone import emit_maps
    from pyrun.plan.records import Plan

    plan = Plan()
    plan.clone(where, namespaces=CLONE_NEWUSER)
    emit_maps(plan, where, facts.rootless)
    init = Init(plan)
    found = []

    def at_barrier(number: int) -> bool:
        write_maps(init.pid, uid_mappings, gid_mappings, where)
        found.append(posix.open(f"/proc/{init.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC))
        return False

    try:
        init.spawn()
        init.drive(barrier=at_barrier)
    finally:
        init.kill()
    return found[0]
