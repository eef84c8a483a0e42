"""pyrun delete: what a stopped container still holds; with --force a live one too."""

from pyrun import config as configs
from pyrun import lifecycle, state
from pyrun.errors import Error


def delete(glob, *, id, force):
    """Returns the exit status (runtime.md#delete)."""
    try:
        container = state.load(glob.root, id)
    except Error:
        if not force:
            raise
        configs.check_id(id)
        _remove_remains(glob.root, id)
        return 0
    if force:
        # Not locked yet: whoever is creating it fails when init dies, cleans up and lets the lock go.
        lifecycle.kill_init(container)
    try:
        container.lock()
    except state.Gone:
        if not force:
            raise
        return 0
    status = container.status()
    if status != "stopped":
        if not force:
            raise Error(f"cannot delete container {id} that is not stopped: {status}")
        lifecycle.kill_init(container)
    lifecycle.destroy(container, read_config(container))
    return 0


def read_config(container):
    """The config for its poststop hooks; a container killed while it was made may not have got that far."""
    try:
        return container.config()
    except (OSError, Error):
        return {}


def _remove_remains(root, id):
    """A directory without a readable state.json: the runtime was killed between mkdir and the first write."""
    remains = state.Container(root, {"id": id})
    remains.remove()
