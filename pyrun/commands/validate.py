"""pyrun validate: all that is wrong with a bundle's config.json, and whether it will run on this host."""

from __future__ import annotations

from pyrun.base import output
from pyrun.base.errors import Error
from pyrun.config import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def validate(settings: Settings, *, bundle: str, process: str | None, resources: str | None, format: str) -> int:
    """Prints every finding. Returns 0: it is right; 1: it is not valid; 2: it is valid, but will not run on this host.

    process, resources: the file that is looked at instead. Raises Error for what cannot be read.
    """
    from pyrun.validate import report
    from pyrun.validate.judge import judge
    from pyrun.validate.subject import Subject

    if format not in ("text", "json"):
        raise Error("invalid format option: use text or json")
    if process and resources:
        raise Error("--process and --resources exclude each other")
    if process:
        subject = Subject(process, load.read_process(process), settings, prefix="process", name="process")
    elif resources:
        subject = Subject(resources, load.read_resources(resources), settings, prefix="linux.resources", name="resources")
    else:
        subject = Subject(load.FILE if bundle == "." else f"{bundle.rstrip('/')}/{load.FILE}", load.read(bundle), settings, bundle)
    found = judge(subject)
    output.write(report.document(found) if format == "json" else report.text(subject.file, found))
    return report.verdict(found)
