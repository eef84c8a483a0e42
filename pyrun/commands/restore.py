"""pyrun restore: a container goes on where `checkpoint` saved it."""

from __future__ import annotations

from pyrun.cli import scan
from pyrun.config import load, normal
from pyrun.container.restore import Revival
from pyrun.criu import arguments, outside, service
from pyrun.host.foreground import Foreground
from pyrun.host.terminal import Console
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.settings import Settings

LOG = "restore.log"


def restore(
    settings: Settings, *, id: str, bundle: str, image_path: str | None, work_path: str | None, console_socket: str | None, detach: bool,
    pid_file: str | None, no_subreaper: bool, no_pivot: bool, lsm_profile: str | None, lsm_mount_context: str | None, **shared: Any,
) -> int:  # fmt: skip
    """Returns the exit code of the program, 128 + N if signal N ended it; 0 at once if detached.

    shared: the options that checkpoint has too. no_pivot: criu has one way to change the root, whatever the file system.
    """
    bundle, id = scan.bundle_and_id(bundle, id)
    load.check_id(id)
    given = load.load(bundle)
    load.check(given, bundle=bundle)
    config = normal.config_of(given)
    console = Console(config["process"], console_socket, detach)
    options = arguments.common(config, shared) | {"lsm_profile": lsm_profile, "lsm_mount_context": lsm_mount_context}
    service.use(settings.criu, "restore")
    foreground = Foreground()
    if not (detach or no_subreaper):
        foreground.adopt_orphans()
    directories = arguments.Directories(image_path, work_path, LOG, make=False)
    try:
        options["inherit_fd"] = outside.inherited(directories.image_path)
        request = Request(id, bundle, pid_file, detached=detach)
        revival = Revival(settings, request, given, config, console, options, directories, None if detach else foreground)
        revival.make()
    finally:
        directories.close()
    return 0 if detach else revival.attend(foreground)
