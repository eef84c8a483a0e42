"""pyrun create: a container with everything set up, waiting for `start`."""

from __future__ import annotations

from pyrun.cli import scan
from pyrun.container import make
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.settings import Settings


def create(settings: Settings, *, id: str, bundle: str, **options: Any) -> int:
    """Returns the exit status (runtime.md#create). options: of Request."""
    bundle, id = scan.bundle_and_id(bundle, id)
    make.create(settings, Request(id, bundle, detached=True, **options), waits=True)
    return 0
