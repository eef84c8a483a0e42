"""pyrun plan: what `create` would do for a bundle, op by op, each with the place in the config that it comes from."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import jsonio, output
from pyrun.base.errors import Error
from pyrun.cli import scan
from pyrun.config import load, normal
from pyrun.plan import create, describe, seccomp
from pyrun.plan.context import Context
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def plan(settings: Settings, *, bundle: str, format: str) -> None:
    """Prints the plan, as lines or as a JSON array on one line; makes nothing. Raises Error for an unknown format."""
    if format not in ("text", "json"):
        raise Error("invalid format option: use text or json")
    bundle, id = scan.bundle_and_id(bundle, "plan")
    given = load.load(bundle)
    load.check(given, bundle=bundle)
    config = normal.config_of(given)
    group = cgroup.open(config, id, settings)
    context = Context(config, Request(id, bundle), group.procs_files(), group.hierarchies())
    ops = create.container_plan(context, seccomp.compile_of(config, settings.root), waits=True)
    profile = config["linux"]["seccomp"]
    if format == "json":
        output.write(jsonio.dumps(describe.data(ops, profile)) + "\n")
    else:
        output.write("\n".join(describe.lines(ops, profile)) + "\n")
