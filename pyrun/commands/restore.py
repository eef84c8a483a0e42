"""pyrun restore: a container goes on where `checkpoint` saved it."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import interrupts
from pyrun.cli import scan
from pyrun.config import load, normal
from pyrun.container import life, make, state
from pyrun.container.restore import Revival
from pyrun.criu import arguments, outside, service
from pyrun.host import terminal
from pyrun.plan.context import rootfs_path

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
    console = terminal.Console(config["process"] or {}, console_socket, detach)
    options = arguments.common(config, shared) | {"lsm_profile": lsm_profile, "lsm_mount_context": lsm_mount_context}
    service.use(settings.criu, "restore")
    foreground = terminal.Foreground()
    if not (detach or no_subreaper):
        foreground.adopt_orphans()
    directories = arguments.Directories(image_path, work_path, LOG, make=False)
    try:
        options["inherit_fd"] = outside.inherited(directories.image_path)
        console.connect()
        revival = begin(settings, id, bundle, given, config, console, pid_file, None if detach else foreground)
        revival.run(options, directories)
    finally:
        directories.close()
    return 0 if detach else attend(revival, foreground)


def begin(
    settings: Settings, id: str, bundle: str, given: dict, config: dict, console: terminal.Console, pid_file: str | None,
    foreground: terminal.Foreground | None,
) -> Revival:  # fmt: skip
    """The Revival, and the container's directory."""
    group = cgroup.open(config, id, settings)
    shares = make.open_shares(config, id)
    interrupts.interruptible()
    mask = interrupts.hold_interrupts()
    container = state.Container.make(settings.root, id, bundle, rootfs_path(config, bundle), config)
    return Revival(container, given, config, group, shares, console, pid_file, foreground, mask)


def attend(revival: Revival, foreground: terminal.Foreground) -> int:
    """Stays until the program ends, and removes the container then. Returns the exit code."""
    container = revival.container
    foreground.adopt(revival.console)
    container.unlock()
    code = foreground.wait(container.data["pid"])
    try:
        container.lock()
        life.destroy(container, revival.config)
    except state.Gone:
        pass  # `delete --force` was what ended it
    return code
