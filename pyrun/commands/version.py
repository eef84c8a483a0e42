"""pyrun --version."""

from __future__ import annotations

from pyrun import SPEC_VERSION, START, __version__
from pyrun.base import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def version(settings: Settings) -> None:
    """Prints what podman and dockerd parse: `pyrun version X.Y.Z`, `commit: …`, `spec: X.Y.Z`; and how Python starts."""
    try:
        from pyrun._build_info import COMMIT
    except ImportError:
        COMMIT = "unknown"
    output.write(f"pyrun version {__version__}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\nstart: {START}\n")
