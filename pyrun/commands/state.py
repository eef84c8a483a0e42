"""pyrun state: a container's state, as JSON."""

from pyrun.base import jsonio, output
from pyrun.container import state as containers


def state(settings, *, id):
    """Prints the container's state (runtime-spec, "State") as JSON."""
    output.write(jsonio.dumps(containers.load(settings.root, id).public(), 2) + "\n")
