"""pyrun resume: the processes of a paused container go on."""

from pyrun import state
from pyrun.errors import Error


def resume(glob, *, id):
    """Returns the exit status. Callers match `container not paused`."""
    container = state.load(glob.root, id)
    container.lock()
    if container.status() != "paused":
        raise Error("container not paused")
    container.cgroup().thaw()
    return 0
