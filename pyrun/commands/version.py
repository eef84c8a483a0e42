"""pyrun --version."""

from __future__ import annotations

from pyrun import SPEC_VERSION, __version__
from pyrun.base import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def version(settings: Settings) -> None:
    """Prints what podman and dockerd parse: `pyrun version X.Y.Z`, `commit: …`, `spec: X.Y.Z`."""
    try:
        from pyrun._build_info import COMMIT
    except ImportError:
        COMMIT = "unknown"
    output.write(f"pyrun version {__version__}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
