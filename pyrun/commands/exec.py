"""pyrun exec: a further process in a running container."""

from __future__ import annotations

from pyrun.base import interrupts, log
from pyrun.base.errors import Error
from pyrun.base.facts import denies_setgroups
from pyrun.config import load, normal
from pyrun.container import state
from pyrun.host import fds, pidfile, sockets
from pyrun.host.foreground import Foreground
from pyrun.host.terminal import Console
from pyrun.init.session import Init
from pyrun.plan import namespaces, seccomp
from pyrun.plan.execute import process_plan
from pyrun.plan.namespaces import CLONE_NEWNS
from pyrun.plan.process import CAPABILITIES
from pyrun.plan.request import Additions, Request, keyring_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container


def exec_(
    settings: Settings, *, id: str, args: Sequence[str], tty: bool, user: str | None, env: Sequence[str], detach: bool, cwd: str | None,
    cap: Sequence[str], process: str | None, pid_file: str | None, console_socket: str | None, pidfd_socket: str | None,
    additional_gids: Sequence[int], no_new_privs: bool | None, apparmor: str | None, process_label: str | None, preserve_fds: int,
    ignore_paused: bool, cgroup: Sequence[str],
) -> int:  # fmt: skip
    """Returns the process's exit code, 128 + N if signal N ended it; errors of our own are 255."""
    container = state.load(settings.root, id)
    require_running(container, ignore_paused)
    given = container.config()
    if process:
        described = read_process(process)
    else:
        described = make_process(given, args, tty, user, env, cwd, cap, additional_gids, no_new_privs, apparmor, process_label)
        load.check_process(described, "exec")
    request = Request(id, container.data["bundle"], pid_file, console_socket, pidfd_socket, preserve_fds, detached=detach)
    return execute(settings, container, normal.config_of(given), normal.process_of(described), request, cgroup)


def require_running(container: Container, ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped" or status == "creating":
        raise Error(f"cannot exec in a {status} container")
    if status == "paused" and not ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")


def read_process(path: str) -> dict:
    """A process.json; /dev/fd/N and pipes work too. Its environment is the whole environment."""
    described = load.load_process(path)
    load.check_process(described, path)
    return described


def make_process(
    config: dict, args: Sequence[str], terminal: bool, user: str | None, env: Sequence[str], cwd: str | None, cap: Sequence[str],
    additional_gids: Sequence[int], no_new_privs: bool | None, apparmor: str | None, process_label: str | None,
) -> dict:  # fmt: skip
    """The config's process with what the options change."""
    if not args:
        raise Error("exec needs a command, or --process FILE")
    described = dict(config.get("process") or {"cwd": "/"})
    described["args"] = list(args)
    described["terminal"] = bool(terminal)
    described["env"] = [*(described.get("env") or ()), *env]
    if cwd:
        described["cwd"] = cwd
    if user:
        described["user"] = parse_user(user, described.get("user") or {})
    if additional_gids:
        described["user"] = dict(described.get("user") or {})
        described["user"]["additionalGids"] = [*(described["user"].get("additionalGids") or ()), *additional_gids]
    if cap:
        described["capabilities"] = add_capabilities(described.get("capabilities") or {}, cap)
    if no_new_privs is not None:
        described["noNewPrivileges"] = no_new_privs
    if apparmor:
        described["apparmorProfile"] = apparmor
    if process_label:
        described["selinuxLabel"] = process_label
    return described


def parse_user(text: str, base: dict) -> dict:
    """UID[:GID], numbers alone (CVE-2026-30892: `-u 1` read as root). Without GID the group is the config's."""
    uid, colon, gid = text.partition(":")
    for part in (uid, gid) if colon else (uid,):
        if not (part.isascii() and part.isdigit() and int(part) < 0xFFFFFFFF):
            raise Error(f'--user {text}: "{part}" is no id: give UID or UID:GID as numbers')
    user = dict(base)
    user["uid"] = int(uid)
    if colon:
        user["gid"] = int(gid)
    return user


def add_capabilities(sets: dict, names: Sequence[str]) -> dict:
    """--cap: into bounding, effective and permitted; into ambient only what is inheritable, which stays as it was (CVE-2022-29162)."""
    for name in names:
        if name.upper() not in CAPABILITIES:
            raise Error(f"--cap {name}: unknown capability")
    added = {key: list(value or ()) for key, value in sets.items()}
    for key in ("bounding", "effective", "permitted"):
        added[key] = [*added.get(key, ()), *(name for name in names if name not in added.get(key, ()))]
    inheritable = added.get("inheritable", ())
    added["ambient"] = [*added.get("ambient", ()), *(name for name in names if name in inheritable and name not in added.get("ambient", ()))]
    return added


def join_shares(config: dict, id: str, pid: int) -> None:
    """The process has its share of cache and memory bandwidth with the container's others (linux.intelRdt)."""
    if config["linux"]["intelRdt"] is not None:
        from pyrun.host import rdt

        rdt.group_of(config, id).add(pid)


def open_entrance(container: Container, pid: int, mask: int) -> namespaces.Entrance:
    try:
        way = namespaces.entrance(pid, mask)
        if container.alive():  # asked last: what was opened is not another process's
            return way
    except (ProcessLookupError, FileNotFoundError):
        pass
    raise Error("cannot exec in a stopped container")


def execute(settings: Settings, container: Container, config: dict, process: dict, request: Request, cgroup_paths: Sequence[str]) -> int:
    """Starts the process; waits for it, unless detached."""
    keep = fds.preserved(request.preserve_fds)  # before we open anything
    console = Console(process, request.console_socket, request.detached)
    pid, mask = container.data["pid"], container.data["mask"]
    group = container.cgroup()
    cgroup_files = (group.sub(cgroup_paths) if cgroup_paths else group.procs_files(pid)) if group else ()
    filter = seccomp.compile_of(config, settings.root)
    root = None if mask & CLONE_NEWNS else f"/proc/{pid}/root"
    way = open_entrance(container, pid, mask)
    additions = Additions(len(keep), keyring=keyring_of(container.id) if container.data["keyring"] else "")
    plan = process_plan(config, process, additions, filter, way, cgroup_files, lambda: denies_setgroups(pid), root)

    # Who traces init in the container gets no answer to what it does not ask itself.
    answers = {}
    if process["terminal"]:
        answers["console"] = lambda master: interrupts.waiting(console.receive, master)
    if filter and filter.notify:
        answers["notify"] = lambda number: interrupts.waiting(sockets.send_listener, container, config, number, init.pid)
    foreground = Foreground()
    # Until the program runs a signal ends us and what we have begun, wherever we wait: the container may have stopped init.
    interrupts.hold()
    if not request.detached:
        foreground.take_signals()
        foreground.adopt_orphans()
    init = Init(plan)
    interrupts.waiting(console.connect)
    try:
        init.spawn(keep=keep, given=way.files)
        log.debug("setns_init: about to exec the process")
        init.drive_program(
            child=lambda: join_shares(config, container.id, init.pid),
            **answers,
        )
        if request.pid_file:
            pidfile.write(request.pid_file, init.pid)
        if request.pidfd_socket:
            interrupts.waiting(sockets.send_pidfd, request.pidfd_socket, init.pid)
    except BaseException as error:
        init.kill()
        if isinstance(error, Error):
            from pyrun.container import why

            raise why.failed(error, why.Place(config | {"process": process}, group, f"/proc/{pid}/root", joins=pid)) from None
        raise
    finally:
        way.close()
    if request.detached:
        return 0
    foreground.adopt(console)
    code = foreground.wait(init.pid)
    if code:
        from pyrun.container import why

        why.tell(foreground.status, init.pid, why.Place(config | {"process": process}, group, joins=pid))
    return code

