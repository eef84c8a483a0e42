"""pyrun create: a container with everything set up, waiting for `start`."""

from pyrun.cli import scan
from pyrun.container import make


def create(settings, *, id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring):
    """Returns the exit status (runtime.md#create)."""
    bundle, id = scan.bundle_and_id(bundle, id)
    request = make.Request(id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring, detached=True)
    make.create(settings, request, waits=True)
    return 0
