"""pyrun resume: the processes of a paused container go on."""

from pyrun.base.errors import Error
from pyrun.container import state


def resume(settings, *, id):
    """Returns the exit status. Callers match `container not paused`."""
    container = state.load(settings.root, id)
    container.lock()
    if container.status() != "paused":
        raise Error("container not paused")
    container.cgroup().thaw()
    return 0
