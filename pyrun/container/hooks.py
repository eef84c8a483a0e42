"""config.hooks: programs run around a container's life (config.md#posix-platform-hooks).

| kind | when | where |
| prestart, createRuntime | mounted, before the pivot | the runtime's namespaces |
| createContainer | after those | the container's namespaces, paths of the host |
| startContainer | `start`, before the program | the container's namespaces and root |
| poststart, poststop | after the program has been executed; after the container is gone | the runtime's namespaces |
"""

from __future__ import annotations

import _signal
import errno
import posix
import select
import time

from pyrun._native import lib
from pyrun.base import jsonio, log, processes
from pyrun.base.errors import Error, words
from pyrun.init import session
from pyrun.plan import namespaces
from pyrun.plan.hook import hook_plan
from pyrun.plan.namespaces import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.container.state import Container
    from pyrun.plan.seccomp import Filter


def run(config: dict, kind: str, container: Container, status: str, inside: Target | None = None) -> None:
    """Runs the hooks of one kind, in order. Raises Error at the first that fails.

    status: of the container, as the hook sees it. inside: a Target, for the kinds that run in the container.
    """
    # The container cannot begin before the hook has ended; if it is killed meanwhile, so is the hook.
    watched = container.data["pid"] if status == "created" else 0
    for index, hook in enumerate(config["hooks"][kind]):
        try:
            # Where the program runs the terminal is its own.
            what = f"hook {kind}[{index}] {hook['path']} runs" if watched else ""
            _run_one(what, hook, _state(container, status, inside), inside, watched)
        except Error as error:
            raise Error(f"error running {kind} hook #{index}: hooks.{kind}[{index}]: {error}", error.code) from None


def run_all(config: dict, kind: str, container: Container, status: str) -> None:
    """Runs the hooks of one kind; a failure is a warning and the next one runs (poststop, runtime.md#lifecycle)."""
    for index, hook in enumerate(config["hooks"][kind]):
        try:
            _run_one(f"hook {kind}[{index}] {hook['path']} runs", hook, container.oci(status), None, 0)
        except Error as error:
            log.warning(f"error running {kind} hook #{index}: hooks.{kind}[{index}]: {error}")


def _state(container: Container, status: str, inside: Target | None) -> dict:
    """The state that a hook reads (dict). Its pid is the one that it finds in its own pid namespace (runtime.md#state)."""
    state = container.oci(status)
    return state if inside is None else state | {"pid": namespaces.own_pid(inside.pid)}


class Target:
    """Where hooks inside a container run: its pid, the mask of its namespaces, its cgroup.procs files.

    env, uid: of the container's process, whose environment, HOME included, a hook in its root has that names none of its own.
    rootfs: its path on the host, where hooks begin that run before the pivot. seccomp: the filter (seccomp.Filter or None) of the
    container's process, under which a program of the image runs as a hook too. ids: its (uid, gid) in the user namespace.
    """

    def __init__(
        self, pid: int, mask: int, cgroup_files: Sequence[str], pivoted: bool, env: Sequence[str] = (), uid: int = 0, rootfs: str = "/",
        seccomp: Filter | None = None, ids: tuple[int, int] = (0, 0),
    ) -> None:  # fmt: skip
        self.pid = pid
        self.mask = mask
        self.cgroup_files = cgroup_files
        self.pivoted = pivoted
        self.env = env
        self.uid = uid
        self.rootfs = rootfs
        self.seccomp = seccomp
        self.ids = ids


def _run_one(what: str, hook: dict, state: dict, inside: Target | None, watched: int) -> None:
    text = jsonio.dumps(state).encode("utf-8", "surrogateescape")
    stdin, feed = posix.pipe2(posix.O_CLOEXEC)
    output, stdout = posix.pipe2(posix.O_CLOEXEC)
    # A signal that ends us is let in again when the hook's pid is known: it has to go too.
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        pid = _spawn_inside(hook, inside, stdin, stdout) if inside else _spawn(hook, stdin, stdout, state["bundle"])
    except BaseException:
        posix.close(feed)
        posix.close(output)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        raise
    finally:
        posix.close(stdin)
        posix.close(stdout)
    try:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        code, said = _attend(what, pid, text, feed, output, hook["timeout"], watched)
    except BaseException:
        processes.end(pid)
        raise
    if code is None:
        raise Error(f"{hook['path']} did not end within {hook['timeout']} s (timeout) and was killed")
    if code:
        how = f"exit status {code}" if code > 0 else f"signal {-code} ({_signal.strsignal(-code).lower()})"
        raise Error(f"{hook['path']} failed: {how}{', output: ' + said if said else ''}")


def _spawn(hook: dict, stdin: int, stdout: int, bundle: str) -> int:
    """posix_spawn does not fork Python: the hook's first own instruction is its exec. It starts in the bundle, while that is there,
    and without an `env` in our own environment.
    """
    actions = [(posix.POSIX_SPAWN_DUP2, fd, target) for fd, target in ((stdin, 0), (stdout, 1), (stdout, 2))]
    given = hook["env"]
    env = posix.environ if given is None else dict(entry.partition("=")[::2] for entry in given)
    here = posix.open(".", posix.O_PATH | posix.O_CLOEXEC)
    session.must(lib.native_cloexec(3), "close_range")
    try:
        posix.chdir(bundle)
    except (FileNotFoundError, NotADirectoryError):  # gone, before poststop
        pass
    except OSError as error:
        posix.close(here)
        raise Error(f"chdir {bundle}: {words(error.errno)}") from None
    try:
        return posix.posix_spawn(
            hook["path"], hook["args"] or [hook["path"]], env, file_actions=actions, setsigmask=(), setsigdef=_DEFAULTS
        )
    except OSError as error:
        raise Error(f"exec {hook['path']}: {words(error.errno)}") from None
    finally:
        posix.fchdir(here)
        posix.close(here)


# Signals a hook starts with in their default state: all that can be set.
_DEFAULTS = tuple(number for number in range(1, 32) if number not in (9, 19))


def _spawn_inside(hook: dict, inside: Target, stdin: int, stdout: int) -> int:
    env, home_of = hook["env"], None
    if env is None:
        env = list(inside.env)
        if inside.pivoted and not any(entry.startswith("HOME=") for entry in env):
            home_of = inside.uid
    root = None if inside.mask & CLONE_NEWNS else f"/proc/{inside.pid}/root"
    way = namespaces.entrance(inside.pid, inside.mask)
    try:
        plan = hook_plan(hook, env, home_of, way, inside.cgroup_files, inside.pivoted, inside.rootfs, inside.seccomp, root, inside.ids)
        init = session.Init(plan)
        try:
            init.spawn(stdio=(stdin, stdout, stdout), given=way.files)
            init.drive()
        except BaseException:
            init.kill()
            raise
    finally:
        way.close()
    return init.pid


def _attend(what: str, pid: int, text: bytes, feed: int, output: int, timeout: float | None, watched: int) -> tuple[int | None, str]:
    """Feeds a hook its state and waits for it: (exit code or None when the time was up, what it said). what: for processes.patient().

    A hook that reads nothing is no error; one that leaves a child holding its output does not keep us. watched: pid of a
    process, or 0; if it dies (`delete --force`) so does the hook.
    """
    poller = processes.Poller()
    watch = poller.process(watched) if watched else 0
    poller.process(pid)
    poller.file(output)
    poller.file(feed, select.POLLOUT)
    posix.set_blocking(feed, False)
    posix.set_blocking(output, False)
    said = bytearray()
    begin = time.monotonic()
    end = begin + timeout if timeout else None
    ended = False
    while not ended:
        found = processes.patient(poller.wait, what, None if end is None else max(0, (end - time.monotonic()) * 1000), begin)
        if not found:
            posix.kill(pid, processes.SIGKILL)
            break
        for fd in found:
            if fd == feed:
                text = _feed(feed, text)
                if not text:
                    poller.forget(feed)
                    posix.close(feed)
                    feed = -1
            elif fd == output:
                if not _collect(output, said):
                    poller.forget(output)
            elif fd == watch:
                raise Error("the container was killed meanwhile")
            else:
                ended = True
    _, status = posix.waitpid(pid, 0)
    _collect(output, said)
    poller.close()
    for fd in (output, feed):
        if fd >= 0:
            posix.close(fd)
    if not ended:
        return None, ""
    return posix.waitstatus_to_exitcode(status), said[:4096].decode("utf-8", "replace").strip()


def _feed(fd: int, text: bytes) -> bytes:
    """Writes what fits; returns the rest, none if the reader has gone."""
    try:
        return text[posix.write(fd, text) :]
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return text
        if error.errno != errno.EPIPE:
            raise
        return b""


def _collect(fd: int, said: bytearray) -> bool:
    """Reads what is there; False at the end."""
    try:
        part = posix.read(fd, 65536)
    except BlockingIOError:
        return True
    if len(said) < 65536:
        said += part
    return bool(part)
