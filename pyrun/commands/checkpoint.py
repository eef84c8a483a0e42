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

    from pyrun.cli.settings import Settings
    from pyrun.container.state import Container

LOG = "dump.log"


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

    def notified(script: str, *_: object) -> None:
        if script == "post-dump" and options["lazy_pages"]:
            process.must_undo = False  # from now on it waits for whoever takes the pages, and for nothing that we say
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
        if not process.must_undo:
            process.kill()
        raise
    finally:
        process.wait()
