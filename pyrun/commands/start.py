"""pyrun start: the program of a created container begins."""

from __future__ import annotations

from pyrun.container import start as starting
from pyrun.container import state
from pyrun.host import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def start(settings: Settings, *, id: str) -> int:
    """Returns the exit status (runtime.md#start)."""
    container = state.load(settings.root, id)
    container.lock()
    proxy = notify.listen(container) if notify.host_socket() else None
    starting.start(container)
    if proxy:
        container.unlock()
        proxy.wait(container.data["pid"])
    return 0
