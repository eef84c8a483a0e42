"""pyrun delete: what a stopped container still holds; with --force a live one too."""

from __future__ import annotations

from pyrun import cgroup
from pyrun.base import log
from pyrun.base.errors import Error
from pyrun.base.processes import SIGKILL
from pyrun.cgroup import tree
from pyrun.cli.settings import with_systemd
from pyrun.container import end, record, state
from pyrun.plan.namespaces import CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container

NO_HOOKS = {"hooks": {"poststop": ()}}


def delete(settings: Settings, *, id: str, force: bool) -> int:
    """Returns the exit status (runtime.md#delete)."""
    try:
        container = state.load(settings.root, id)
        if force:
            # Not locked yet: whoever is creating it fails when init dies, cleans up and lets the lock go.
            end.kill_init(container)
        container.lock()
    except record.Gone as gone:
        return remove_remains(settings, id, force, gone)
    except record.Unusable as fault:
        if not force:
            raise Error(f"{fault}: `delete --force` ends what it finds of the container, and removes it") from None
        return end_damaged(settings, state.salvage(settings.root, id, fault.data), fault)
    status = container.status()
    if status != "stopped":
        if not force:
            raise Error(f"cannot delete container {id} that is not stopped: {status}")
        end.kill_init(container)
    end.destroy(container, read_config(container))
    return 0


def read_config(container: Container) -> dict:
    """The normal config for its poststop hooks; a container killed while it was made may not have got that far."""
    if "poststop" not in container.data["hooks"]:
        return NO_HOOKS
    try:
        return container.normal()
    except FileNotFoundError:
        return NO_HOOKS
    except (OSError, Error) as fault:
        log.warning(f"no poststop hooks are run: {fault}")
        return NO_HOOKS


def remove_remains(settings: Settings, id: str, force: bool, gone: record.Gone) -> int:
    """There is no state.json: it is nothing, or what a `create` left that was killed right after mkdir, or is at work there now."""
    remains = state.salvage(settings.root, id, None)
    try:
        if not remains.lock_now():
            raise Error(f"container {id} is being created: try again") if force else gone
    except record.Gone:
        pass
    else:
        if remains.has(record.STATE):  # it was written just now
            remains.unlock()
            return delete(settings, id=id, force=force)
        if not remains.has(state.CONFIG):
            remains.remove()
        elif force:
            return end_damaged(settings, remains, Error(f"{remains.directory}/{record.STATE} is gone"), locked=True)
        else:
            raise Error(f"{remains.directory}/{record.STATE} is gone: `delete --force` ends what it finds of the container, and removes it")
    if not force:
        raise gone
    return 0


# --- a container whose state.json cannot be used ----------------------------------------------------------------------


def end_damaged(settings: Settings, container: Container, fault: Error, locked: bool = False) -> int:
    """Ends all that is found of a container by the good members of its state.json and by its config, and removes it.

    Raises Error where something of it may live unseen: then its directory stays. fault: what is wrong.
    """
    if not locked and not container.lock_now():
        raise Error(f"container {container.id} is being created or changed: try again")
    try:
        config = container.normal()
        group = container.cgroup() or cgroup.open(config, container.id, with_systemd(settings, config))
    except (Error, OSError, TypeError, AttributeError, KeyError) as reason:  # of a config.json that is damaged too
        raise unseen(container, fault, reason) from None
    found = any(map(tree.exists, group.paths.values()))
    # The kernel kills a pid namespace when its first process ends.
    all_by_init = container.data["pid"] and container.data["startTime"] and container.data["mask"] & CLONE_NEWPID
    if not found and not all_by_init:
        raise unseen(container, fault, f"there is no cgroup {next(iter(group.paths.values()), '')}")
    log.warning(str(fault))
    end.kill_init(container)
    group.state["claimed"] = True  # config.json is written after that
    if found:
        group.kill(SIGKILL)
    container.data["cgroup"] = group.to_state()
    end.destroy(container, config)
    return 0


def unseen(container: Container, fault: Error, reason: object) -> Error:
    return Error(f"{fault}, and its processes cannot be found by {state.CONFIG} either ({reason}): "
                 f"nothing was removed: end them, if there are any, then remove {container.directory}")  # fmt: skip
