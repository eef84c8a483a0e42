"""What the seed runs (csrc/image.h): it imports all that the executable carries, in the order in which it shall lie in memory.

What modules do while they are imported must not depend on the machine.
"""

from __future__ import annotations

import gc
import posix
import sys

import carried
import pyrun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def import_all(names: Iterable[str]) -> None:
    for name in names:
        try:
            __import__(name)
        except ImportError:
            if name.startswith("pyrun"):
                raise


pyrun.START = "image"
del sys.meta_path[3:]
import_all(carried.hot)

# --- what commands do, done before ------------------------------------------------------------------------------------
# Python adapts code that has run some times and remembers names that it has looked up. Done here, it is in the image, and no
# command copies pages of the image for it. The facts are given, so nothing of this machine is remembered.

from pyrun.__main__ import main  # noqa: E402
from pyrun._native import ffi, lib  # noqa: E402
from pyrun.base import facts, jsonio  # noqa: E402
from pyrun.cgroup import layout, v1, v2  # noqa: E402
from pyrun.commands import exec as process  # noqa: E402
from pyrun.commands import spec  # noqa: E402
from pyrun.config import load, normal  # noqa: E402
from pyrun.container import record, state  # noqa: E402
from pyrun.init import session  # noqa: E402
from pyrun.plan.context import Context  # noqa: E402
from pyrun.plan.create import container_plan  # noqa: E402
from pyrun.plan.execute import process_plan  # noqa: E402
from pyrun.plan.namespaces import Entrance  # noqa: E402
from pyrun.plan.request import Additions, Request  # noqa: E402

MACHINE = {
    "uid": 0, "gid": 0, "in_user_namespace": False, "denies_setgroups": False, "owns_mounts": True, "selinux": False, "apparmor": False,
    "capabilities": (-1, -1), "is_file": lambda path, nofollow: False,
}  # fmt: skip
CONTROLLERS = "cpuset cpu,cpuacct blkio memory devices freezer pids".split()
MOUNTINFO = "".join(f"1 1 0:1 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in CONTROLLERS)
MOUNTINFO += "1 1 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
CGROUP = "".join(f"1:{name}:/\n" for name in [*CONTROLLERS, ""])
example = spec.example(True) | {"root": {"path": "/"}}
example["process"]["user"]["additionalGids"] = [1]
variables = [(vars(module), dict(vars(module))) for name, module in sys.modules.items() if name.partition(".")[0] == "pyrun"]


def commands() -> None:
    stderr, null = posix.dup(2), posix.open("/dev/null", posix.O_RDWR)
    posix.dup2(null, 2)
    known = facts.Facts(**MACHINE)
    for _ in range(20):
        config = jsonio.loads(jsonio.dumps(example).encode())
        load.check(config, bundle="/")
        config = normal.config_of(config)
        mounts = layout.parse(MOUNTINFO, CGROUP, lambda point, device: True)
        for kind, paths in ((v1.V1, {mount.names[0]: f"{mount.point}/box" for mount in mounts}), (v2.V2, {"": "/sys/fs/cgroup/box"})):
            group = kind({"paths": paths, "claimed": False}, mounts[-len(paths) :], config)
            request = Request("box", "/", pid_file="/pid", console_socket="/console")
            context = Context(config, request, group.procs_files(), group.hierarchies(), facts=known)
            container_plan(context, None, waits=True).pack()
        described = process.make_process(example, ["true"], False, None, (), None, (), (), None, None, None)
        load.check_process(described, "exec")
        way = Entrance(context.spaces.new, {"container": -1})
        process_plan(config, normal.process_of(described), Additions(0), None, way, group.procs_files(), lambda: False, facts=known).pack()
        written = jsonio.dumps(record.BLANK | {"id": "box", "bundle": "/", "rootfs": "/", "cgroup": group.to_state()})
        jsonio.dumps(state.Container("/", record.decode("/", "box", written.encode())).public())
        pair = ffi.new("int[2]")
        lib.native_socketpair(pair)
        session.send_go(pair[1], 1)
        session.receive(pair[0])
        posix.close(pair[0])
        posix.close(pair[1])
        for command in ("state", "kill", "start", "delete"):
            main(["--root", "/nonexistent", "--log-format", "text", command, "box"])
    posix.dup2(stderr, 2)
    posix.close(stderr)
    posix.close(null)
    vars(facts.facts).clear()  # main() has asked for some
    for now, before in variables:
        now.update((name, value) for name, value in before.items() if now[name] is not value)


commands()

# --- the cold modules, behind all that ---------------------------------------------------------------------------------

import_all(carried.modules)

from pyrun.config import faults  # noqa: E402

for schema in ("config", "process"):  # kept by these modules, with what jsonschema makes of them
    list(faults.validator(schema).iter_errors(example))
commands()  # once more: what is remembered of the types of cold modules has taken the places of theirs

# --- the end ----------------------------------------------------------------------------------------------------------

sys.argv[:] = ["pyrun"]
sys.path_importer_cache.clear()
posix.environ.clear()
carried.modules.clear()
carried.files.clear()
del sys.read_carried  # type: ignore[attr-defined]
# A command ends before garbage piles up, and reading a config would set off many collections: they are made rare.
gc.collect()
gc.freeze()
gc.set_threshold(50000, 10, 10)
