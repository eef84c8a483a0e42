"""Starting containers: init under control, the steps of create, and the clean-up when one of them fails."""

import errno
import posix
import select
import _signal as signals

from pyrun import cgroup, compile, config as configs, hooks, idmap, log, plan as plans, seccomp, tty
from pyrun._native import ffi, lib
from pyrun.errors import ConfigError, Error, words
from pyrun.namespaces import Namespaces
from pyrun.plan import Plan
from pyrun.state import CONFIG, START_SOCKET, Container

SIGKILL = 9
# open_tree(2)
OPEN_TREE_CLONE, AT_RECURSIVE = 0x1, 0x8000


class Init:
    """init while it still talks to us: one plan, one control socket, the pid of the process that will be the program.

    The first stage is our child and ends when it has cloned the real one, which is our child too (CLONE_PARENT).
    """

    def __init__(self, plan):
        self.plan = plan
        self.first = 0
        self.pid = 0
        self.sock = -1
        self.before_message = None

    def spawn(self, stdio=(0, 1, 2), keep=(), **given):
        """Starts it. keep: fds the program gets from 3 on. given: the fds for Plan.given slots; they stay the caller's."""
        pair = ffi.new("int[2]")
        _must(lib.native_socketpair(pair), "socketpair")
        self.sock = pair[0]
        packed = self.plan.pack()
        memory = -1
        files = []
        try:
            memory = _must(lib.native_memfd(b"pyrun:plan", packed, len(packed)), "memfd_create")
            files = self.plan.open_files(**given)
            fds = [*keep, pair[1], memory, *files]
            self.first = _must(lib.native_spawn(list(stdio), fds, len(fds), len(keep)), "starting init")
        finally:
            self.plan.close_files(files)
            posix.close(pair[1])
            if memory >= 0:
                posix.close(memory)

    def drive(self, child=None, barrier=None, console=None, ready=None, notify=None):
        """Answers init's messages until it has become the program (EOF), or waits for `start` (READY).

        child(): its pid is known. barrier(number): returning False ends the drive there. console(fd): the pty's master.
        ready(): it is about to wait for `start`. notify(number of the listener fd in init). Raises Error for a failed op.
        """
        while True:
            if self.before_message:
                self.before_message()
            message, fds, pid = plans.receive(self.sock)
            if message is None:
                self._end_of_messages()
                return
            kind = message.type
            if kind == lib.MSG_CHILD:
                self.pid = pid
                self._reap_first()
                if child:
                    child()
                continue
            if kind == lib.MSG_ERROR:
                raise plans.explain(self.plan.note(message.number), message)
            if kind == lib.MSG_BARRIER:
                if barrier and barrier(message.number) is False:
                    return
            elif kind == lib.MSG_CONSOLE:
                console(fds[0])
            elif kind == lib.MSG_SECCOMP:
                notify(message.value)
            elif kind == lib.MSG_READY and ready:
                ready()
            plans.send_go(self.sock, message.number)
            if kind == lib.MSG_READY:
                return

    def drive_program(self, **answers):
        """drive(), with the words that callers know a failed start by."""
        try:
            self.drive(**answers)
        except Error as error:
            raise Error(f"unable to start container process: {error}", error.code) from None

    def _end_of_messages(self):
        """EOF: the program was executed, unless init died on its way."""
        if self.first:
            status = posix.waitpid(self.first, 0)[1]
            self.first = 0
            raise Error(f"init ended before the container began: {_how_ended(status)}")

    def _reap_first(self):
        if self.first:
            posix.waitpid(self.first, 0)
            self.first = 0

    def close(self):
        if self.sock >= 0:
            posix.close(self.sock)
            self.sock = -1

    def kill(self):
        """Ends and reaps whatever of it is left."""
        if self.first:
            end(self.first)
            if not self.pid:
                self.pid = self._unannounced()
        self.close()
        if self.pid:
            end(self.pid)
        self.first = self.pid = 0

    def _unannounced(self):
        """Pid of the process that the first stage cloned before it ended, 0 if it did not: nobody has heard of it yet."""
        try:
            return plans.receive(self.sock, 1000)[2]
        except OSError:
            return 0


def _readable(fd):
    """Waits until there is something to read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


def end(pid):
    """Kills and reaps a child; one that is gone is fine."""
    try:
        posix.kill(pid, SIGKILL)
        posix.waitpid(pid, 0)
    except OSError:
        pass


def _must(code, what):
    if code < 0:
        raise Error(f"{what}: {words(-code)}")
    return code


def _how_ended(status):
    code = posix.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


class Request:
    """What `create` and `run` were asked for, besides the config."""

    def __init__(self, id, bundle, pid_file, console_socket, pidfd_socket, preserve_fds, no_pivot, no_new_keyring):
        self.id = id
        self.bundle = bundle
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.preserve_fds = preserve_fds or 0
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring


class Interrupted(Error):
    """A signal that ends the command, once what was begun is undone. The exit status is the shell's: 128 + its number."""

    def __init__(self, number):
        Error.__init__(self, f"interrupted by signal {number}", 128 + number)


_INTERRUPTS = (signals.SIGHUP, signals.SIGINT, signals.SIGTERM)


def interruptible():
    """From here on a signal that would end us raises Interrupted instead, once; ignored ones (nohup) stay ignored."""

    def interrupt(number, _):
        for other in _INTERRUPTS:
            signals.signal(other, signals.SIG_IGN)
        raise Interrupted(number)

    for number in _INTERRUPTS:
        if signals.getsignal(number) != signals.SIG_IGN:
            signals.signal(number, interrupt)


def create(glob, request, waits, before_start=None):
    """Makes a container. waits: it stops for `start`; otherwise the program runs when this returns.

    before_start(): called when all is set up and the program is about to run (not with waits). Returns (Container, Init,
    fd of the pty's master or -1, config). Whatever fails or is interrupted, nothing of it stays. Raises Error.
    """
    configs.check_id(request.id)
    bundle = request.bundle
    config = configs.load(bundle)
    configs.check(config, bundle=bundle)
    tty.check(config.get("process") or {}, request.console_socket, waits)
    keep = preserved_fds(request.preserve_fds)
    group = cgroup.open(config, request.id, glob)
    filter = compile_seccomp(glob, config)
    plan = Plan()
    host = compile.Host(bundle, group.procs_files(), group.hierarchies(), keep=len(keep), id=request.id)
    host.no_pivot = request.no_pivot
    host.new_keyring = not request.no_new_keyring
    pass_listen_fds(config)
    compile.create(plan, config, host, filter, waits)

    interruptible()
    # From here on a signal is let in only where we wait and nothing is half done (_Creation.waiting), and no more at the end.
    mask = signals.pthread_sigmask(signals.SIG_BLOCK, _INTERRUPTS)
    container = Container.make(glob.root, request.id, bundle, rootfs_path(config, bundle), config)
    launch = _Creation(container, config, plan, host, request, group, before_start, mask)
    try:
        launch.run(keep, waits)
    except BaseException:
        launch.undo()
        raise
    return container, launch.init, launch.console, config


class _Creation:
    """The steps of create that leave something behind, and their undoing."""

    def __init__(self, container, config, plan, host, request, group, before_start, mask):
        self.container = container
        self.config = config
        self.plan = plan
        self.host = host
        self.request = request
        self.group = group
        self.before_start = before_start
        self.mask = mask
        self.init = Init(plan)
        self.init.before_message = lambda: self.waiting(_readable, self.init.sock)
        self.console = -1
        self.socket = -1
        self.hooks_ran = False
        self.pid_written = False
        self.opened = {}

    def run(self, keep, waits):
        container, group = self.container, self.group
        # The cgroup's name is on disk before the cgroup is made: `delete --force` finds it after a kill at any instant.
        container.data["cgroup"] = group.to_state()
        container.data["mask"] = Namespaces(self.config).mask
        container.save()
        save_config(container, self.config)
        group.create()
        group.apply((self.config.get("linux") or {}).get("resources") or {})
        if self.request.console_socket:
            self.socket = tty.connect(self.request.console_socket)
        if waits:
            self.opened["start"] = self._listen()
        self._open_sources()
        self.init.spawn(keep=keep, **self.opened)
        self._close_opened()
        self.init.drive_program(child=self._child, barrier=self._barrier, console=self._console, ready=self._ready, notify=self._notify)
        if not waits:
            self.hooks_ran = True
            self.waiting(hooks.run, self.config, "poststart", container, "running")

    def waiting(self, function, *args):
        """Calls what may take long; a signal that ends us is let in meanwhile."""
        signals.pthread_sigmask(signals.SIG_SETMASK, self.mask)
        try:
            return function(*args)
        finally:
            signals.pthread_sigmask(signals.SIG_BLOCK, _INTERRUPTS)

    def _listen(self):
        return _must(lib.native_listen(self.container.lock_fd, START_SOCKET.encode(), 1), f"bind {START_SOCKET}")

    def _open_sources(self):
        """Bind sources that the container's user namespace may not reach, and the maps of idmapped mounts."""
        for name, path, mount in self.host.sources:
            flags = OPEN_TREE_CLONE | posix.O_CLOEXEC | (AT_RECURSIVE if mount.recursive else 0)
            fd = lib.native_open_tree(-100, path.encode("utf-8", "surrogateescape"), flags)
            if fd < 0:
                raise self._mount_error(mount, "open_tree", -fd)
            self.opened[name] = fd
            if mount.idmap:
                self._idmap_source(mount, fd)
        for path, _, where in self.plan.files:
            if path is None and where.endswith(".idmap"):
                self.opened[where] = self._idmap(where[: -len(".idmap")])

    def _idmap_source(self, mount, tree):
        userns = self._idmap(mount.where)
        try:
            code = lib.native_idmap(tree, mount.idmap_recursive, userns)
        finally:
            posix.close(userns)
        if code < 0:
            raise self._mount_error(mount, "idmap", -code)

    def _mount_error(self, mount, step, error):
        return Error(f"error during container init: error mounting {mount.subject}: {mount.where}: {step}: {words(error)}")

    def _idmap(self, where):
        linux = self.config.get("linux") or {}
        mount = self.config["mounts"][int(where[len("mounts[") : -1])]
        uids = mount.get("uidMappings") or linux.get("uidMappings")
        gids = mount.get("gidMappings") or linux.get("gidMappings")
        if not uids or not gids:
            raise ConfigError(where, "an idmapped mount needs uidMappings and gidMappings, of its own or in linux")
        return idmap.namespace(uids, gids, where)

    def _close_opened(self):
        for fd in self.opened.values():
            posix.close(fd)
        self.opened = {}

    # --- what init reports

    def _child(self):
        # On disk before anything that can block.
        self.container.set_process(self.init.pid)
        self.container.save()

    def _barrier(self, number):
        if number == compile.BARRIER_IDS:
            linux = self.config["linux"]
            idmap.write_maps(self.init.pid, linux.get("uidMappings"), linux.get("gidMappings"))
        elif number == compile.BARRIER_HOOKS:
            self.waiting(self._run_create_hooks)
        elif number == compile.BARRIER_START:
            self._ready()
            self.waiting(run_start_hooks, self.container, self.config)
            if self.before_start:
                self.before_start()
                self.mask = signals.pthread_sigmask(signals.SIG_BLOCK, ())

    def _run_create_hooks(self):
        self.hooks_ran = True
        container, config = self.container, self.config
        for kind in ("prestart", "createRuntime"):
            hooks.run(config, kind, container, "created")
        target = hooks.Target(self.init.pid, container.data["mask"], self.host.cgroup_files, pivoted=False)
        hooks.run(config, "createContainer", container, "created", inside=target)

    def _console(self, fd):
        if self.socket >= 0:
            tty.send(self.socket, fd)
            posix.close(fd)
            posix.close(self.socket)
            self.socket = -1
        else:
            self.console = fd

    def _notify(self, number):
        send_listener(self.container, self.config, number, self.init.pid)

    def _ready(self):
        """All is set up: the container is `created`."""
        container = self.container
        container.data["creating"] = False
        container.data["notes"] = self.plan.later_notes(lib.OP_WAIT_START)
        container.save()
        if self.request.pid_file:
            write_pid_file(self.request.pid_file, self.init.pid)
            self.pid_written = True
        if self.request.pidfd_socket:
            send_pidfd(self.request.pidfd_socket, self.init.pid)

    # --- undoing

    def undo(self):
        self._close_opened()
        if self.socket >= 0:
            posix.close(self.socket)
        if self.console >= 0:
            posix.close(self.console)
        self.init.kill()
        if self.pid_written:
            _remove_pid_file(self.request.pid_file)
        self.container.data["pid"] = 0
        destroy(self.container, self.config if self.hooks_ran else {})


def destroy(container, config):
    """Removes what a stopped container holds; then its poststop hooks run. Errors of the clean-up are warnings."""
    group = container.cgroup()
    if group:
        try:
            group.kill(SIGKILL)
            group.delete()
        except (OSError, Error) as error:
            log.warning(f"cgroup of {container.id} is left: {error}")
    container.remove()
    # The state is that of a container that is gone, so it is made up, not looked up.
    hooks.run_all(config, "poststop", container, "stopped")


def run_start_hooks(container, config):
    """startContainer hooks, in the container (runtime.md#lifecycle, step 7)."""
    if not (config.get("hooks") or {}).get("startContainer"):
        return
    group = container.cgroup()
    process = config.get("process") or {}
    env = [entry for entry in process.get("env") or ()]
    files = group.procs_files() if group else ()
    target = hooks.Target(container.data["pid"], container.data["mask"], files, pivoted=True, env=env)
    hooks.run(config, "startContainer", container, "created", inside=target)


def start(container):
    """Lets a created container's program run (the container is locked by the caller). Raises Error."""
    status = container.status()
    if status != "created":
        raise Error(
            "cannot start a container that has stopped" if status == "stopped"
            else "cannot start an already running container" if status in ("running", "paused")
            else f"cannot start a container that is {status}"
        )  # fmt: skip
    config = container.config()
    if not config.get("process"):
        raise ConfigError("process", "there is nothing to start: the config has no process")
    try:
        run_start_hooks(container, config)
    except Error:
        stop_and_destroy(container, config)
        raise
    sock = lib.native_connect(container.lock_fd, START_SOCKET.encode(), 1)
    if sock == -errno.ECONNREFUSED:
        raise Error("cannot start an already running container")
    _must(sock, f"connect {START_SOCKET}")
    try:
        _must(lib.native_send(sock, b"\0", 1, ffi.NULL, 0), "start")
        _await_program(container, config, sock)
    finally:
        posix.close(sock)
        posix.unlink(f"{container.directory}/{START_SOCKET}")
    started(container, config)


def _await_program(container, config, sock):
    """Reads init's last messages until it is the program."""
    while True:
        message, _, _ = plans.receive(sock)
        if message is None:
            return
        if message.type == lib.MSG_SECCOMP:
            send_listener(container, config, message.value, container.data["pid"])
            plans.send_go(sock, message.number)
        elif message.type == lib.MSG_ERROR:
            note = container.data["notes"].get(str(message.number)) or (0, "", "")
            raise Error(f"unable to start container process: {plans.explain(note, message)}")


def started(container, config):
    """After the program has been executed: poststart hooks; a failure ends the container (spec 1.3, runtime.md#lifecycle)."""
    try:
        hooks.run(config, "poststart", container, "running")
    except Error:
        stop_and_destroy(container, config)
        raise


def stop_and_destroy(container, config):
    """Kills a container whose start failed, and removes it."""
    kill_init(container)
    destroy(container, config)


def kill_init(container):
    """SIGKILL for init, and a wait until it is gone: at most 10 s, for a process may hang in the kernel."""
    pid = container.data["pid"]
    if not container.alive():
        return
    try:
        pidfd = posix.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        posix.kill(pid, SIGKILL)
        group = container.cgroup()
        if group:
            # On v1 a frozen process does not die before it is thawed; it may be a cgroup below that is frozen.
            group.thaw(recursive=True)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(10_000)
    except ProcessLookupError:
        pass
    finally:
        posix.close(pidfd)


# --- what goes along


def compile_seccomp(glob, config):
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile or not config.get("process"):
        return None
    return seccomp.compile_profile(profile, f"{glob.root}/.seccomp")


def send_listener(container, config, number, pid):
    """Sends the seccomp listener of init to the agent (config-linux.md#seccomp, listenerPath, ContainerProcessState).

    The fd is fetched here: with the filter on, init itself could wait for the very agent that has not got it yet.
    """
    from pyrun import jsonio

    profile = config["linux"]["seccomp"]
    pidfd = posix.pidfd_open(pid)
    listener = sock = -1
    try:
        listener = _must(lib.native_pidfd_getfd(pidfd, number), "pidfd_getfd")
        path = profile["listenerPath"]
        sock = connect_unix(path)
        if sock < 0:
            raise Error(f"failed to connect with seccomp agent: linux.seccomp.listenerPath: {path}: {words(-sock)}")
        state = {
            "ociVersion": container.data["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": profile.get("listenerMetadata") or "",
            "state": container.oci("creating"),
        }
        text = jsonio.dumps(state).encode("utf-8", "surrogateescape")
        _must(lib.native_send(sock, text, len(text), [listener], 1), f"linux.seccomp.listenerPath: send to {path}")
    finally:
        for fd in (pidfd, listener, sock):
            if fd >= 0:
                posix.close(fd)


def connect_unix(path):
    """An fd connected to the AF_UNIX stream socket at this path of any length, or -errno."""
    directory, _, name = path.rpartition("/")
    try:
        fd = posix.open(directory or ("/" if path[:1] == "/" else "."), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        return -error.errno
    try:
        return lib.native_connect(fd, name.encode("utf-8", "surrogateescape"), 1)
    finally:
        posix.close(fd)


def send_pidfd(path, pid):
    sock = _must(connect_unix(path), f"--pidfd-socket {path}")
    pidfd = posix.pidfd_open(pid)
    try:
        _must(lib.native_send(sock, b"pidfd", 5, [pidfd], 1), f"--pidfd-socket {path}")
    finally:
        posix.close(pidfd)
        posix.close(sock)


def write_pid_file(path, pid):
    """The number without a newline, as callers parse it; complete or not there at all."""
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
        try:
            posix.write(fd, str(pid).encode())
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError as error:
        raise Error(f"--pid-file {path}: {words(error.errno)}") from None


def _remove_pid_file(path):
    try:
        posix.unlink(path)
    except OSError:  # whoever asked for it took it
        pass


def save_config(container, config):
    """What exec, the hooks and a later `start` need of the config; the bundle may change or go."""
    from pyrun import jsonio

    jsonio.write_atomic(f"{container.directory}/{CONFIG}", config)


def preserved_fds(count):
    """The caller's fds the program gets: those of LISTEN_FDS (sd_listen_fds(3)), then `count` more. Raises Error."""
    listen = posix.environ.get(b"LISTEN_FDS", b"0")
    total = count + (int(listen) if listen.isdigit() else 0)
    for fd in range(3, 3 + total):
        try:
            posix.fstat(fd)
        except OSError:
            raise Error(f"--preserve-fds {count}: fd {fd} is not open") from None
    return tuple(range(3, 3 + total))


def pass_listen_fds(config):
    """sd_listen_fds(3) for the program, which will be pid 1."""
    listen = posix.environ.get(b"LISTEN_FDS")
    process = config.get("process")
    if listen and process:
        env = process["env"] = list(process.get("env") or ())
        env += [f"LISTEN_FDS={listen.decode()}", "LISTEN_PID=1"]
        names = posix.environ.get(b"LISTEN_FDNAMES")
        if names:
            env.append(f"LISTEN_FDNAMES={names.decode()}")


def rootfs_path(config, bundle):
    path = config["root"]["path"]
    return path if path.startswith("/") else f"{bundle}/{path}"
