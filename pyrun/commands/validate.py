"""pyrun validate: all faults of a bundle's config.json, one on a line."""

from __future__ import annotations

from pyrun.base import log, output
from pyrun.config import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def validate(settings: Settings, *, bundle: str) -> int:
    """Prints every fault as `path: message`, or that there is none; the exit status is 1 if there is one. Doubts are warnings."""
    from pyrun.config.validate import doubts, faults
    from pyrun.container.trial import refusals

    found = load.load(bundle)
    wrong = faults(found, bundle) or refusals(found, bundle, settings)
    if not wrong:
        for path, message in doubts(found):
            log.warning(f"{load.FILE}: {path}: {message}")
    for path, message in wrong:
        output.write(f"{path}: {message}\n" if path else f"{message}\n")
    if not wrong:
        output.write(f"{bundle}/{load.FILE} is valid\n")
    return 1 if wrong else 0
