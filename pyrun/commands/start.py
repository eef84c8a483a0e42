"""pyrun start: the program of a created container begins."""

from pyrun import lifecycle, state


def start(glob, *, id):
    """Returns the exit status (runtime.md#start)."""
    container = state.load(glob.root, id)
    container.lock()
    lifecycle.start(container)
    return 0
