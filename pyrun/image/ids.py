"""The ids that an ordinary user can give files: in a user namespace where root is the user, and the others, if there are any, are those
that subuid(5) and subgid(5) give.
"""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base import files
from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.container.record import owner
from pyrun.host import idmap
from pyrun.plan.namespaces import CLONE_NEWUSER

Mappings = list[dict]


def mappings() -> tuple[Mappings, Mappings]:
    """linux.uidMappings and linux.gidMappings of the user's own containers."""
    path = posix.environ.get(b"PATH") or idmap.DEFAULT_PATH
    tools = all(files.find_program(tool, path) for tool in ("newuidmap", "newgidmap"))
    more = [_subordinate(file) if tools else [] for file in ("/etc/subuid", "/etc/subgid")]
    if not all(more):  # with one of the two alone, files would have owners of one kind
        more = [[], []]
    uids, gids = ([_mapping(0, own, 1), *one] for own, one in zip((facts.uid, facts.gid), more, strict=True))
    return uids, gids


def _mapping(inside: int, outside: int, size: int) -> dict:
    return {"containerID": inside, "hostID": outside, "size": size}


def _subordinate(path: str) -> Mappings:
    """The user's ranges in such a file, one behind the other."""
    found: Mappings = []
    try:
        lines = files.read(path).decode(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return found
    first = 1
    for line in lines:
        name, _, numbers = line.partition(":")
        start, _, size = numbers.partition(":")
        if name in (owner(facts.uid), str(facts.uid)) and start.isdigit() and size.isdigit() and int(size):
            found.append(_mapping(first, int(start), int(size)))
            first += int(size)
    return found


def enter(uids: Mappings, gids: Mappings) -> tuple[int, int]:
    """Puts this process into a user namespace of these ids, as root, for good. Returns how many ids there are."""
    fd = idmap.namespace(uids, gids, "unpack")
    code = lib.native_setns(fd, CLONE_NEWUSER)
    posix.close(fd)
    if code < 0:
        raise Error(f"setns: {words(-code)}: images are unpacked by an ordinary user in a user namespace")
    return sum(one["size"] for one in uids), sum(one["size"] for one in gids)
