"""Which controllers there are on this machine, for who wants to know what a container would get."""

from __future__ import annotations

from pyrun.base.errors import HostError
from pyrun.base.facts import facts
from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.cgroup.layout import Mount

NOWHERE: dict[str, str] = {}
V2_NAMES = {"blkio": "io"}
"""Controllers that v2 calls otherwise."""


class Available:
    """The controllers of this host, in the place of a container's cgroup: resources.writes() of it touches nothing, switches nothing on,
    and does not know what the files say now. paths: those of the cgroup (Cgroup.paths), if it is known.
    """

    def __init__(self, mounts: Sequence[Mount], paths: Mapping[str, str] = NOWHERE) -> None:
        self.mounts = mounts
        self.paths = paths
        self.unified = next((mount for mount in mounts if mount.names == [""]), None)
        self.v2 = set(tree.read(f"{self._top()}/cgroup.controllers").split()) if self.unified else set()

    def _top(self) -> str:
        """The v2 cgroup below which the caller can have one: an ordinary user's is one that was delegated."""
        assert self.unified
        return self.unified.point + (tree.parent(self.unified.own) if facts.rootless and self.unified.own else "")

    def version_of(self, controller: str) -> tuple[int, str | None]:
        """As Cgroup.version_of(), but without switching anything on."""
        if any(controller in mount.names for mount in self.mounts):
            return 1, self.paths.get(controller, "/none")
        if V2_NAMES.get(controller, controller) in self.v2 or controller.startswith("unified"):
            return 2 if self.unified and (len(self.mounts) == 1 or not controller.startswith("unified")) else 1, self.paths.get("", "/none")
        return 2 if self.unified else 1, None

    def controller_missing(self, controller: str, where: str) -> HostError:
        if self.unified and len(self.mounts) == 1:
            point, name = self._top(), V2_NAMES.get(controller, controller)
            text, has = f"no cgroup controller {name} here: {point}/cgroup.controllers has", " ".join(sorted(self.v2)) or "none"
            cure = f"have {name} delegated to you (Delegate= of systemd)" if facts.rootless else "leave the limit out, or use another kernel"
            return HostError(where, f"{text} {has}", cure=cure)
        return HostError(where, f"no cgroup controller {controller} here: no hierarchy with it is mounted", cure="mount it, or leave the limit out")

    def sample(self, controller: str) -> str | None:
        """A cgroup that has this controller's files; None where there is none to look at."""
        for mount in self.mounts:
            if mount.names == [""] or controller in mount.names:
                for path in tree.children(mount.point):
                    if controller in mount.names or controller in _controllers(path):
                        return path
        return None


def _controllers(path: str) -> list[str]:
    try:
        return tree.read(f"{path}/cgroup.controllers").split()
    except OSError:  # it has gone
        return []
