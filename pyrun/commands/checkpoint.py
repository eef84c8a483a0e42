"""pyrun checkpoint: a running container's state is saved in files, and the container ends, or goes on."""

from __future__ import annotations

import fcntl
import posix

from pyrun.base import interrupts, jsonio, log
from pyrun.base.errors import Error, words
from pyrun.config import normal
from pyrun.container import end, state
from pyrun.criu import arguments, outside, service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.base import Cgroup
    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container

LOG, UNDO_LOG = "dump.log", "undo.log"


def checkpoint(
    settings: Settings, *, id: str, image_path: str | None, work_path: str | None, parent_path: str | None, leave_running: bool,
    tcp_skip_in_flight: bool, link_remap: bool, status_fd: int | None, page_server: str | None, pre_dump: bool, **shared: Any
) -> int:  # fmt: skip
    """Returns the exit status. shared: the options that restore has too."""
    container = state.load(settings.root, id)
    container.lock()
    status = container.status()
    if status not in ("running", "paused"):
        raise Error(f"Container cannot be checkpointed in {status} state")
    config = normal.config_of(container.config())
    options = arguments.common(config, shared) | {
        "pid": container.data["pid"],
        "root": container.data["rootfs"],
        "leave_running": int(leave_running),
        "tcp_skip_in_flight": int(tcp_skip_in_flight),
        "link_remap": int(link_remap),
        "ps": arguments.page_server(page_server),
    }
    status_fd = _check_status_fd(status_fd)
    service.use(settings.criu, "checkpoint")
    directories = arguments.Directories(image_path, work_path, LOG, make=True)
    try:
        options |= directories.options()
        if parent := arguments.parent_image(directories.image_path, parent_path):
            options |= {"parent_img": parent, "track_mem": 1}
        _dump(container, config, options, directories, pre_dump, status_fd)
    finally:
        directories.close()
    if not leave_running and not pre_dump:
        end.kill_init(container)  # criu has, but it may be on its way out still
        end.destroy(container, config)
    return 0


def _check_status_fd(fd: int | None) -> int | None:
    """--status-fd, which must be one to write to. Raises Error."""
    if fd is None:
        return None
    try:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError as fault:
        raise Error(f"invalid --status-fd argument {fd}: {words(fault.errno)}") from None
    if flags & posix.O_ACCMODE == posix.O_RDONLY:
        raise Error(f"invalid --status-fd argument {fd}: not writable")
    return fd


def _dump(container: Container, config: dict, options: dict, directories: arguments.Directories, pre_dump: bool, status_fd: int | None) -> None:
    pid, group = container.data["pid"], container.cgroup()
    if group and group.paths.get(group.FREEZER):
        options["freeze_cgroup"] = group.paths[group.FREEZER]
    options["external"] = outside.saved_namespaces(config, pid)
    if not pre_dump:
        stdio = outside.saved_stdio(container, (group and group.pids()) or [pid])
        options["external"] += outside.external_files(stdio)
        options["ext_mnt"] = outside.saved_mounts(config, container)
        jsonio.write(f"{directories.image_path}/{outside.DESCRIPTORS}", stdio)
    serves, paused = False, bool(group and group.frozen())

    def notified(script: str, *_: object) -> None:
        nonlocal serves
        if script == "post-dump" and options["lazy_pages"]:
            container.keep_criu(process.pid)
            if paused or options["tcp_established"]:  # what is sent by a connection that criu has stopped would be lost
                _hold(group)
            process.must_undo = False  # from now on it waits for whoever takes the pages, and for nothing that we say
            serves = True
        # Pages may be asked for from now on: whoever waits to start the restore elsewhere may do so.
        if script == "status-ready" and status_fd is not None:
            try:
                posix.write(status_fd, b"\0")
            except OSError as fault:
                log.warning(f"--status-fd {status_fd}: {words(fault.errno)}")
            posix.close(status_fd)

    interrupts.hold()
    process = service.Criu("checkpoint")
    try:
        process.require("lazy_pages" if options["lazy_pages"] else "mem_track" if pre_dump else None)
        directories.forget_log()
        try:
            process.ask({"type": service.SINGLE_PRE_DUMP if pre_dump else service.DUMP, "opts": options}, notified, must_undo=True)
        except service.Refused as error:
            raise directories.explain(error) from None
    except BaseException:
        if serves:
            _take_back(process, container, options)
        elif not process.must_undo:
            process.kill()
        raise
    finally:
        process.wait()
        if serves:
            container.forget_criu()
            if group and not paused:
                group.thaw()


def _hold(group: Cgroup | None) -> None:
    """Lets no process run when criu ends, before all is as it was."""
    if group and group.FREEZER in group.paths:
        try:
            group.freeze(1)
        except Error as error:  # as kernels do not freeze what is traced
            log.debug(str(error))


def _take_back(process: service.Criu, container: Container, options: dict) -> None:
    """Ends criu while it gives pages away: the container's network and connections work again.

    criu has shut them, and opens them only when it gives up earlier. So it is asked to save once more, and told to give up: where it
    would shut the network, which takes no second lock, and at the end, when it knows the connections.
    """
    process.kill()
    for moment in ("network-lock", "post-dump") if container.alive() else ():
        _save_no_more(moment, options)


def _save_no_more(moment: str, options: dict) -> None:
    """criu begins a checkpoint, and gives up at a moment that it tells of."""

    def notified(script: str, *_: object) -> None:
        if script == moment:
            raise service.Refused(moment)

    try:
        again = service.Criu("checkpoint")
        try:
            again.ask({"type": service.DUMP, "opts": options | {"log_file": UNDO_LOG}}, notified, must_undo=True)
        finally:
            again.wait()
    except Error as error:  # there is one to report already
        log.debug(f"{moment}: {error}")
