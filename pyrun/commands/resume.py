"""pyrun resume: the processes of a paused container go on."""

from __future__ import annotations

from pyrun.base.errors import Error
from pyrun.container import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def resume(settings: Settings, *, id: str) -> int:
    """Returns the exit status. Callers match `container not paused`."""
    container = state.load(settings.root, id)
    container.lock()
    group = container.cgroup()
    if group is None or container.status() != "paused":
        raise Error("container not paused")
    group.thaw()
    return 0
