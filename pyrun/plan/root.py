"""root, mounts and devices -> ops: the root file system, and how the container comes to live in it (config.md#root)."""

from __future__ import annotations

from pyrun._native import lib
from pyrun.base import log
from pyrun.plan import devices, mounts
from pyrun.plan.context import Context
from pyrun.plan.mounts import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, PROPAGATION_WORDS, Mount
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PART = 32  # mounts: while init makes these, the next are compiled


def emit_root(plan: Plan, context: Context, part: Callable[[], None] | None = None) -> list[Mount]:
    """The root file system, what is mounted on it, and its devices. Returns the mounts that become read-only later.

    part(): sends init what there is of the plan so far.
    """
    config, linux, path = context.config, context.linux, context.rootfs
    own_mounts = context.spaces.has("mount")
    if own_mounts:
        plan.propagation("linux.rootfsPropagation", propagation=first_propagation(linux))
    flags = parent = 0
    if own_mounts:
        # A root that shall follow the host's must be a copy of a mount that still does.
        parent = MS_SLAVE if linux["rootfsPropagation"] in ("slave", "rslave") else MS_PRIVATE
    elif not config["root"]["readonly"]:  # a mount of its own, or the one that it lies in would become read-only
        flags = lib.ROOT_UNBOUND
    plan.root("root.path", path, flags=flags, path=path, parent_propagation=parent)
    if not own_mounts:
        _warn_of_host_mounts(config)
    own_dev = False
    read_only_later = []
    found = mounts.parse(config, context.request.bundle, context.additions.mounts)
    for number, mount in enumerate(found, 1):
        if mount.destination == "/dev":
            own_dev = own_dev or mount.bind
        if mount.destination in ("/", "/dev") and mount.point.set & mounts.ATTR_RDONLY and mount.type == "tmpfs":
            # Mount points, nodes and the console are still to be made in it.
            mount.point.word("rw")
            read_only_later.append(mount)
        mounts.emit(plan, mount, context)
        if part and number % PART == 0 and number < len(found) and own_mounts and plan.needs.nothing():
            plan.rest()
            part()
    if not own_dev:
        devices.emit(plan, linux["devices"], context.binds_devices)
    return read_only_later


def _warn_of_host_mounts(config: dict) -> None:
    made = [name for name, wanted in (("root.readonly", config["root"]["readonly"]), ("mounts", config["mounts"])) if wanted]
    if made:
        where = " and ".join(made)
        log.doubt(where, 'mounted in the host\'s mount namespace, where it stays: add {"type": "mount"} to linux.namespaces')


def first_propagation(linux: dict) -> int:
    """Of the mounts that a new mount namespace starts with: of the one at / alone, or with MS_REC of all.

    Slave, if the config has no word: the host's mounts arrive, ours do not leave. An unbindable root could not be bound onto
    itself: private is what else that means.
    """
    flags = PROPAGATION_WORDS[linux["rootfsPropagation"] or "rslave"]
    return flags & MS_REC | MS_PRIVATE if flags & MS_UNBINDABLE else flags


def source_propagation(linux: dict) -> int:
    """Of a mount that the runtime clones for a container in a user namespace. As a peer of the host's it would hand on what is
    mounted on it, which is for the config to want.
    """
    flags = first_propagation(linux) & ~MS_REC
    return flags if flags in (MS_SHARED, MS_PRIVATE) else MS_SLAVE


def emit_protection(plan: Plan, linux: dict) -> None:
    for key, add in (("readonlyPaths", plan.readonly), ("maskedPaths", plan.mask)):
        seen = set()
        for index, path in enumerate(linux[key]):
            if path not in seen:  # one mount for a path that is named twice
                seen.add(path)
                add(f"linux.{key}[{index}]", path, path=path)


def emit_pivot(plan: Plan, context: Context, read_only_later: list[Mount]) -> None:
    """From here on "/" is the container's."""
    if context.spaces.has("mount"):
        plan.pivot("root.path", flags=lib.PIVOT_MOVE if context.request.no_pivot else 0)
        word = context.linux["rootfsPropagation"]
        if word:
            # After the pivot: pivot_root refuses a shared root, and an unbindable one cannot be bound onto itself.
            plan.propagation("linux.rootfsPropagation", word, propagation=PROPAGATION_WORDS[word])
    else:
        plan.chroot("root.path")
    cwd = context.process["cwd"] if context.process else "/"
    if cwd != "/":
        # Kubernetes' workingDir need not be in the image.
        plan.mkdir("process.cwd", cwd, path=cwd)
    for mount in read_only_later:
        plan.setattr(mount.where, mount.destination, target=mount.destination, attr_set=mounts.ATTR_RDONLY)
    if context.config["root"]["readonly"]:
        plan.setattr("root.readonly", "/", target="/", attr_set=mounts.ATTR_RDONLY)
