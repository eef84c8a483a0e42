"""pyrun plan: what `create` would do for a bundle, op by op, each with the line of the config it comes from."""

from pyrun import argv, cgroup, compile, output, seccomp
from pyrun import config as configs
from pyrun.plan import Plan


def plan(glob, *, bundle):
    """Prints the plan; makes nothing. Returns the exit status."""
    bundle, id = argv.bundle_and_id(bundle, "plan")
    config = configs.load(bundle)
    configs.check(config, bundle=bundle)
    group = cgroup.open(config, id, glob)
    ops = Plan()
    host = compile.Host(bundle, group.procs_files(), group.hierarchies(), id=id)
    compile.create(ops, config, host, seccomp.compile_of(config, glob.root), waits=True)
    output.write("\n".join(ops.describe()) + "\n")
    return 0
