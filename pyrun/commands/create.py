"""pyrun create: a container with everything set up, waiting for `start`."""

from __future__ import annotations

from pyrun.cli import scan
from pyrun.container import make
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def create(
    settings: Settings, *, id: str, bundle: str, pid_file: str | None, console_socket: str | None, pidfd_socket: str | None, preserve_fds: int,
    no_pivot: bool, no_new_keyring: bool,
) -> int:  # fmt: skip
    """Returns the exit status (runtime.md#create)."""
    bundle, id = scan.bundle_and_id(bundle, id)
    request = Request(id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring, detached=True)
    make.create(settings, request, waits=True)
    return 0
