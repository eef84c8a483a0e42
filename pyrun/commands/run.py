"""pyrun run: create and start in one; in the foreground until the program ends, unless detached."""

from __future__ import annotations

from pyrun.base import interrupts
from pyrun.cli import scan
from pyrun.container import make
from pyrun.host.foreground import Foreground
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.settings import Settings


def run(settings: Settings, *, id: str, bundle: str, detach: bool, keep: bool, no_subreaper: bool, **options: Any) -> int:
    """Returns the program's exit code, 128 + N if signal N ended it. options: of Request."""
    bundle, id = scan.bundle_and_id(bundle, id)
    request = Request(id, bundle, detached=detach, **options)
    if detach:
        container = make.create(settings, request, waits=False).container
        if container.notify:
            interrupts.let_go()
            container.unlock()
            container.notify.wait(container.data["pid"])
        return 0
    foreground = Foreground()
    if not no_subreaper:
        foreground.adopt_orphans()
    return make.create(settings, request, waits=False, foreground=foreground).attend(foreground, keep)
