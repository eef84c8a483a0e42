"""pyrun pause: all processes of a container stop."""

from pyrun.base.errors import Error
from pyrun.container import state


def pause(settings, *, id):
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
