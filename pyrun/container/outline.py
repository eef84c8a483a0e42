"""All that `create` and `start` do for a container, in order, as data: the ops of init's plan, and between them what the runtime does itself.
For `plan`. Every step has the form of an op in plan/describe.py, and `by`, which says whether init or the runtime does it.
"""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base.facts import facts
from pyrun.cgroup import intended
from pyrun.config import load, normal
from pyrun.container import record
from pyrun.container.state import CONFIG, START_SOCKET
from pyrun.host import idmap
from pyrun.plan import create, describe, seccomp
from pyrun.plan.clone import BARRIER_HOOKS, BARRIER_IDS
from pyrun.plan.context import Context
from pyrun.plan.namespaces import maps_one_id
from pyrun.plan.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cli.settings import Settings

    Steps = Iterator[dict]


def outline(settings: Settings, bundle: str, id: str) -> list[dict]:
    """The steps for a container of a bundle. Makes nothing. Raises Error."""
    given = load.load(bundle)
    load.check(given, bundle=bundle)
    config = normal.config_of(given)
    group = cgroup.open(config, id, settings)
    context = Context(config, Request(id, bundle), group.procs_files(), group.hierarchies())
    plan = create.container_plan(context, seccomp.compile_of(config, settings.root), waits=True)
    steps = [*_before(config, id, settings, group)]
    for op in describe.data(plan, config["linux"]["seccomp"]):
        steps.append({"by": "init", **op})
        steps += _answer(op, config)
    return [*steps, *_hooks(config, "poststart", "poststop")]


def _step(op: str, where: str, subject: str, /, **operands: object) -> dict:
    return {"by": "runtime", "op": op, "where": where, "subject": subject, "flags": [], "operands": operands}


def _before(config: dict, id: str, settings: Settings, group: cgroup.Cgroup) -> Steps:
    """What is done before init is started, and while it begins."""
    linux, directory = config["linux"], f"{settings.root}/{id}"
    yield _step("state", "", directory, directory=directory, files=[record.STATE, CONFIG, START_SOCKET])
    for name, where, subject, operands in intended.steps(group):
        yield _step(name, where, subject, **operands)
    if linux["intelRdt"] is not None:
        from pyrun.host import rdt

        shares = rdt.group_of(config, id)
        yield _step("rdt", "linux.intelRdt", shares.path, path=shares.path, schemata=rdt.schemata(shares.rdt))


def _answer(op: dict, config: dict) -> Steps:
    """What the runtime does when init is there."""
    linux = config["linux"]
    if op["op"] == "clone":
        for name, device in linux["netDevices"].items():
            yield _step("net_device", f"linux.netDevices.{name}", name, name=name, becomes=device.get("name") or name)
    elif op["op"] == "wait_start":  # what follows is done by `start`
        yield from _hooks(config, "startContainer")
    elif op["op"] == "seccomp" and (path := linux["seccomp"].get("listenerPath")):
        yield _step("seccomp_listener", "linux.seccomp.listenerPath", path, path=path)
    number = op["operands"].get("number") if op["op"] == "barrier" else None
    if number == BARRIER_IDS:
        yield from _maps(linux)
    elif number == BARRIER_HOOKS:
        yield from _hooks(config, "prestart", "createRuntime", "createContainer")


def _maps(linux: dict) -> Steps:
    for kind, own in (("uid", facts.uid), ("gid", facts.gid)):
        if mappings := linux[f"{kind}Mappings"]:
            by = f"new{kind}map" if facts.rootless and not maps_one_id(mappings, own) else "pyrun"
            lines = idmap.text(mappings).splitlines()
            yield _step(f"{kind}_map", f"linux.{kind}Mappings", f"/proc/PID/{kind}_map", lines=lines, writer=by)


def _hooks(config: dict, *kinds: str) -> Steps:
    """An environment may hold secrets: of it there are the names alone."""
    for kind in kinds:
        for index, hook in enumerate(config["hooks"][kind]):
            names = None if hook["env"] is None else [entry.partition("=")[0] for entry in hook["env"]]
            yield _step(
                "hook", f"hooks.{kind}[{index}]", hook["path"], kind=kind, path=hook["path"], args=list(hook["args"]), env=names,
                timeout=hook["timeout"],
            )  # fmt: skip
