"""pyrun plan: what `create` would do for a bundle, op by op, each with the line of the config it comes from."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import output
from pyrun.cli import scan
from pyrun.config import load
from pyrun.plan import compile, describe, seccomp
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def plan(settings: Settings, *, bundle: str) -> int:
    """Prints the plan; makes nothing. Returns the exit status."""
    bundle, id = scan.bundle_and_id(bundle, "plan")
    config = load.load(bundle)
    load.check(config, bundle=bundle)
    group = cgroup.open(config, id, settings)
    ops = Plan()
    host = compile.Host(bundle, group.procs_files(), group.hierarchies(), id=id)
    compile.create(ops, config, host, seccomp.compile_of(config, settings.root), waits=True)
    output.write("\n".join(describe.lines(ops)) + "\n")
    return 0
