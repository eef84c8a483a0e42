"""pyrun plan: what `create` would do for a bundle, op by op, each with the line of the config it comes from."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import output
from pyrun.cli import scan
from pyrun.config import load, normal
from pyrun.plan import create, describe, seccomp
from pyrun.plan.context import Context
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def plan(settings: Settings, *, bundle: str) -> int:
    """Prints the plan; makes nothing. Returns the exit status."""
    bundle, id = scan.bundle_and_id(bundle, "plan")
    given = load.load(bundle)
    load.check(given, bundle=bundle)
    config = normal.config_of(given)
    group = cgroup.open(config, id, settings)
    context = Context(config, Request(id, bundle), group.procs_files(), group.hierarchies())
    ops = create.container_plan(context, seccomp.compile_of(config, settings.root), waits=True)
    output.write("\n".join(describe.lines(ops)) + "\n")
    return 0
