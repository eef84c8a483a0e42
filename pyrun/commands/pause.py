"""pyrun pause: all processes of a container stop."""

from __future__ import annotations

from pyrun.base.errors import Error
from pyrun.container import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def pause(settings: Settings, *, id: str) -> int:
    """Returns the exit status. Callers match `container not running`."""
    container = state.load(settings.root, id)
    container.lock()
    if container.status() not in ("created", "running"):
        raise Error("container not running")
    group = container.cgroup()
    if group is None:
        raise Error("cannot toggle freezer: the container has no cgroup of its own")
    group.freeze()
    return 0
