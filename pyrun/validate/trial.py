"""What `create` would refuse, or warn of, in a config whose schema and rules are kept: it is compiled, piece by piece, and nothing is made."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import log
from pyrun.base.errors import ConfigError, Error, HostError, words
from pyrun.base.facts import facts
from pyrun.cgroup import devices
from pyrun.host import rdt
from pyrun.plan import create, mounts, process, seccomp
from pyrun.plan.context import Context
from pyrun.plan.records import Plan
from pyrun.plan.request import Request
from pyrun.validate.limits import limits_of
from pyrun.validate.subject import HOST, SEMANTICS, WARNING, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pyrun.validate.subject import Subject

ID = "validate"
"""Of the container that would be made."""


CURES = {SEMANTICS: "correct it, or leave it out", HOST: "leave it out, or run it where it can be had"}
"""Where a message has none of its own."""


def refusals(subject: Subject, whole: bool) -> Iterator[tuple[str, Found]]:
    """Yields (level, what was found). whole: nothing else is wrong, so the whole plan can be compiled."""
    found: list[tuple[str, Found]] = []

    def attempt(where: str, function: Callable, *args: Any) -> Any:
        """where: the part of the config that cannot be had when the machine lacks something."""
        try:
            return function(*args)
        except ConfigError as fault:
            found.append((HOST if isinstance(fault, HostError) else SEMANTICS, Found(fault.path, fault.message, fault.cure)))
        except Error as fault:
            found.append((HOST, Found(where, str(fault))))
        except OSError as fault:
            found.append((HOST, Found(where, f"{fault.filename or where}: {words(fault.errno)}")))
        return None

    doubts: list[tuple[str, str, bool]] = []
    log.doubts = doubts
    try:
        _compile(subject, whole, attempt, doubts)
    finally:
        log.doubts = None
    for path, text, here in doubts:
        message, _, cure = text.partition(": ")
        found.append((HOST if here else SEMANTICS, Found(path, message, cure, WARNING)))
    for level, one in found:
        yield level, one if one.cure else one._replace(cure=CURES[level])


def _compile(subject: Subject, whole: bool, attempt: Callable, doubts: list) -> None:
    config, linux = subject.config, subject.config["linux"]
    if subject.sound("linux.resources"):
        attempt("linux.resources.devices", devices.compile, linux["resources"].get("devices", ()), "linux.resources.devices")
        for limit in limits_of(subject):
            attempt(limit.where, limit.check)
    filter = attempt("linux.seccomp", seccomp.compile_of, config, subject.settings.root) if subject.sound("linux.seccomp") else None
    if subject.sound("linux.intelRdt") and linux["intelRdt"] is not None:
        attempt("linux.intelRdt", rdt.group_of, config, ID)
    if subject.sound("process.apparmorProfile") and subject.sound("process.selinuxLabel") and config["process"]:
        attempt("process", process.emit_labels, Plan(), config["process"], facts)
    if subject.prefix:
        return
    group = attempt("linux.cgroupsPath", cgroup.open, config, ID, subject.settings) if subject.sound("linux.cgroupsPath") else None
    if not whole:
        return
    files, hierarchies = (group.procs_files(), group.hierarchies()) if group else ((), ())
    context = attempt("linux.namespaces", Context, config, Request(ID, subject.bundle), files, hierarchies)
    if context:
        for mount in mounts.parse(config, subject.bundle):
            attempt(mount.where, mounts.emit, Plan(), mount, context)
        doubts.clear()  # the whole plan has those of the mounts again
        attempt("linux", create.container_plan, context, filter, True)
