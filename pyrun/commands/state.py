"""pyrun state: a container's state, as JSON."""

from __future__ import annotations

from pyrun.base import jsonio, output
from pyrun.container import state as containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def state(settings: Settings, *, id: str) -> None:
    """Prints the container's state (runtime-spec, "State") as JSON."""
    output.write(jsonio.dumps(containers.load(settings.root, id).public(), 2) + "\n")
