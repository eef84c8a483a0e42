"""pyrun run: create and start in one; in the foreground until the program ends, unless detached."""

from __future__ import annotations

from pyrun.base import interrupts, timeline
from pyrun.cli import scan
from pyrun.container import life, make, state
from pyrun.host import terminal
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def run(
    settings: Settings, *, id: str, bundle: str, pid_file: str | None, console_socket: str | None, pidfd_socket: str | None, preserve_fds: int,
    no_pivot: bool, no_new_keyring: bool, detach: bool, keep: bool, no_subreaper: bool,
) -> int:  # fmt: skip
    """Returns the program's exit code, 128 + N if signal N ended it."""
    bundle, id = scan.bundle_and_id(bundle, id)
    request = Request(id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring, detach)
    if detach:
        container, init, _, _ = make.create(settings, request, waits=False)
        if container.notify:
            interrupts.uninterrupted()
            container.unlock()
            container.notify.wait(init.pid)
        return 0
    foreground = terminal.Foreground()
    if not no_subreaper:
        foreground.adopt_orphans()
    # Until the program is about to run a signal ends us and all that was begun; from then on signals are the program's.
    container, init, console, config = make.create(settings, request, waits=False, before_start=foreground.take_signals)
    foreground.adopt(console)
    container.unlock()
    timeline.phase("program")
    code = foreground.wait(init.pid, container.notify)
    if not keep:
        timeline.phase("remove")
        try:
            container.lock()
            life.destroy(container, config)
        except state.Gone:
            pass  # `delete --force` was what ended it
    return code
