"""The start of a created container: its program begins (runtime.md#lifecycle)."""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base.errors import ConfigError, Error, ProgramError, words
from pyrun.base.processes import PATIENCE, await_end, readable
from pyrun.base.undo import Undo
from pyrun.container import end, hooks
from pyrun.container.state import START_SOCKET
from pyrun.host.sockets import send_listener
from pyrun.init.faults import explain, failed_start
from pyrun.init.session import GONE, UNREAD, Ended, connect, executed, must, receive, send, send_go
from pyrun.plan.namespaces import first_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun._native import CData
    from pyrun.container.state import Container


RUNNING = "cannot start an already running container"


def inside(container: Container, config: dict) -> hooks.Target:
    """Where startContainer hooks run: in the container as its program finds it (runtime.md#lifecycle, step 7)."""
    from pyrun.plan import seccomp

    group = container.cgroup()
    process = config["process"]
    filter = seccomp.compile_of(config, container.root)
    if filter and filter.notify:
        filter = None  # its agent waits for the program
    return hooks.Target(
        container.data["pid"], container.data["mask"], group.procs_files() if group else (), pivoted=True,
        env=process["env"] if process else (), uid=process["user"]["uid"] if process else 0, seccomp=filter, ids=first_ids(config["linux"]),
    )  # fmt: skip


def start(container: Container) -> None:
    """Lets a created container's program run (the container is locked by the caller). Raises Error."""
    if status := container.settled():
        raise Error(
            "cannot start a container that has stopped" if status == "stopped"
            else RUNNING if status == "paused"
            else f"cannot start a container that is {status}"
        )  # fmt: skip
    if not _has_program(container):
        raise ConfigError("process", "there is nothing to start: the config has no process")
    if "startContainer" in container.data["hooks"]:
        # init forgets a connection that stays silent, so the one that starts the program cannot be made before the hooks.
        if not container.waits_for_start():
            raise Error(RUNNING)
        _run_hooks(container, "startContainer", "created", inside(container, container.normal()))
    sock = connect(container.lock_fd, START_SOCKET.encode(), 1)
    if sock in (-errno.ECONNREFUSED, -errno.ENOENT):
        if container.alive():
            raise Error(RUNNING)
        raise failed_start(Ended(executed(container.data["pid"])[1], container.data["pid"]))
    must(sock, f"connect {START_SOCKET}")
    try:
        _await_program(container, sock)
    except (ProgramError, Ended) as error:
        from pyrun.container import why

        place = why.Place(container.normal(), container.cgroup(), container.data["rootfs"], container.data["bundle"])
        raise why.failed(error, place) from None
    finally:
        posix.close(sock)
    posix.unlink(f"{container.directory}/{START_SOCKET}")
    if "poststart" in container.data["hooks"]:
        _run_hooks(container, "poststart", "running")


def _has_program(container: Container) -> bool:
    """Whether there is something to start: what is noted of init's ops tells that sooner than the config."""
    return any(note[:1] == ["exec"] for note in container.data["notes"].values()) or bool(container.normal()["process"])


def _run_hooks(container: Container, kind: str, status: str, target: hooks.Target | None = None) -> None:
    """If one fails, that ends the container (spec 1.3, runtime.md#lifecycle). target: where those run that run inside."""
    config = container.normal()
    with Undo() as undo:
        undo.then(end.run_poststop, container, config)
        undo.push(end.remove, container)
        undo.push(end.kill_init, container)
        hooks.run(config, kind, container, status, target)


def _await_program(container: Container, sock: int) -> None:
    """Sends the start, and reads init's last messages until it is the program."""
    pid = container.data["pid"]
    sent = send(sock, b"\0")
    if sent not in GONE:  # it has died, which is found out below
        must(sent, f"{START_SOCKET}: send")
    while True:
        # Before the program runs its file may have to be read from afar: but init takes the start at once.
        if not readable(sock, PATIENCE) and container.waits_for_start():
            raise Error(
                f"init, process {pid}, does not answer within {PATIENCE // 1000} s: is it stopped (SIGSTOP), "
                f"or does another process hold its {START_SOCKET}?"
            )
        message, _, _ = receive(sock)
        if not message:
            return _check_program(container, unread=sent in GONE or message is UNREAD)
        if message.type == lib.MSG_SECCOMP:
            send_listener(container, container.normal(), message.value, pid)
            code = send_go(sock, message.number)
            if code not in GONE:
                must(code, f"{START_SOCKET}: send")
        elif message.type == lib.MSG_ERROR:
            await_end(pid)  # it has said its last word, and the next `state` shall say stopped
            raise failed_start(_explain(container.data, message))


NOTE = [str, str, str]
"""What a note is made of: the op's name (before FORMAT 2 of state.json its number), where in the config, its subject."""


def _explain(data: dict, message: CData) -> Error:
    """The Error of an op that failed. What the numbers in the message of an init of another release mean is not known."""
    if data["plan"] != lib.PLAN_VERSION:
        return Error(f"init, which another release of pyrun made, failed: {words(message.value)}: create the container anew for the reason")
    note = data["notes"].get(str(message.number))
    return explain(note if note and list(map(type, note)) == NOTE else ("", "", ""), message)


def _check_program(container: Container, unread: bool) -> None:
    """init has closed the connection. Raises Error, unless it is the program now, or was: that may have ended already.

    unread: it had not read the start. It does that right before execve, so it was not the program, whoever has reaped it since.
    """
    pid = container.data["pid"]
    if not unread and executed(pid)[0]:
        return
    if container.waits_for_start():  # it forgets a connection that says nothing for a second
        raise Error("the start came too late for init (was this command stopped meanwhile?): start the container again")
    await_end(pid)
    raise failed_start(Ended(executed(pid)[1], pid))
