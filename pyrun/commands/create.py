"""pyrun create: a container with everything set up, waiting for `start`."""

from pyrun import argv, launch


def create(glob, *, id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring):
    """Returns the exit status (runtime.md#create)."""
    bundle, id = argv.bundle_and_id(bundle, id)
    request = launch.Request(id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring, detached=True)
    launch.create(glob, request, waits=True)
    return 0
