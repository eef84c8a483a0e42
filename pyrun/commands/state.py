"""`pyrun state ID`."""

from pyrun import jsonio, output
from pyrun import state as containers


def state(glob, *, id):
    """Prints the container's state (runtime-spec, "State") as JSON."""
    output.write(jsonio.dumps(containers.load(glob.root, id).public(), 2) + "\n")
