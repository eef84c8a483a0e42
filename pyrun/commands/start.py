"""pyrun start: the program of a created container begins."""

from pyrun import lifecycle, notify, state


def start(glob, *, id):
    """Returns the exit status (runtime.md#start)."""
    container = state.load(glob.root, id)
    container.lock()
    proxy = notify.listen(container) if notify.host_socket() else None
    lifecycle.start(container)
    if proxy:
        container.unlock()
        proxy.wait(container.data["pid"])
    return 0
