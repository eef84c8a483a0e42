"""config -> Plan. `create` reads like the boot of a container; `execute` is the same program with fewer steps.

Every decision is made here, none in init: what a rootless caller, a user namespace, no_new_privs or a cgroup layout
change is which ops are emitted, and in what order.
"""

import posix

from pyrun._native import lib
from pyrun.base.errors import ConfigError
from pyrun.cli import settings
from pyrun.config import rules
from pyrun.plan import devices, mounts, namespaces
from pyrun.plan.mounts import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, PROPAGATION_WORDS
from pyrun.plan.namespaces import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWTIME, CLONE_NEWUSER, Namespaces
from pyrun.plan.process import (  # fmt: skip
    Program,
    emit_affinity,
    emit_hard_limits,
    emit_host_stdio,
    emit_identity,
    emit_oom_score,
    emit_rlimits,
    emit_seccomp,
    emit_setup,
    own_capabilities,
    selinux_enabled,
)

# crun's annotation, which `podman run --group-add keep-groups` sets: files of the caller's own groups stay within reach.
KEEP_GROUPS = "run.oci.keep_original_groups"

# The barriers of a plan, in order. init stops at each until the runtime answers with the same number.
BARRIER_IDS = 1  # the new user namespace waits for its id maps
BARRIER_HOOKS = 2  # mounted, before the pivot: prestart, createRuntime and createContainer hooks
BARRIER_START = 3  # `run` alone: all is set up; the state is written and startContainer hooks run


class Host:
    """What the compiler must know besides the config: facts about the machine, and what the command asked for.

    cgroup_files: paths of what init writes "0" to (Cgroup.procs_files).
    hierarchies: what a cgroup mount shows (cgroup.Hierarchy).
    keep: number of files beyond stdio the program gets.
    """

    def __init__(self, bundle, cgroup_files=(), hierarchies=(), capabilities=None, keep=0, id=""):
        self.bundle = bundle
        self.id = id
        self.cgroup_files = cgroup_files
        self.hierarchies = hierarchies
        self.own_capabilities = capabilities or own_capabilities()
        self.keep = keep
        # What the container gets besides what its config says, which nobody changes: variables, and (where, entry of mounts).
        self.env = []
        self.mounts = []
        self.no_pivot = False
        self.new_keyring = True
        self.rootless = posix.geteuid() != 0
        # Filled in from the config:
        self.user_namespace = False
        self.new_cgroup_namespace = False
        self.no_setgroups = False
        self.keep_groups = False
        self.opens_sources = False
        self.sources = []  # (name of the slot, mount) of what the runtime itself opens
        self.idmaps = []  # (name of the slot, mount) of the user namespaces that it makes
        self.asked = {}  # where -> mount of what it opens or maps when init asks for it
        self.binds_devices = False
        self.foreign = []
        self.rootfs = ""
        self.is_file = mounts.is_file
        self.in_user_namespace = settings.in_user_namespace
        self.denies_setgroups = namespaces.denies_setgroups
        self.owns_mounts = mounts.owned
        self.selinux = selinux_enabled
        self.mount_label = ""

    def learn(self, config, linux, spaces):
        self.user_namespace = spaces.has("user")
        if self.rootless and not self.user_namespace:
            raise ConfigError("linux.namespaces", 'rootless container requires user namespaces: add {"type": "user"} (`spec --rootless` writes it)')
        self.new_cgroup_namespace = bool(spaces.new & CLONE_NEWCGROUP)
        # user_namespaces(7): a caller without CAP_SETGID must deny setgroups before it maps its own id alone.
        alone = self.rootless and namespaces.maps_one_id(linux.get("gidMappings") or (), posix.getegid())
        self.learn_groups(config, config.get("process") or {}, lambda: alone or ("user" not in spaces.joined and self.denies_setgroups()))
        # A caller without rights of its own can open no more than its user namespace can, and may clone no mount.
        self.opens_sources = self.user_namespace and not self.rootless and (not self.in_user_namespace() or self.owns_mounts())
        # mknod(2) of a device is refused in every user namespace but the first; rootless podman calls from one of its own.
        self.binds_devices = self.user_namespace or self.in_user_namespace()
        # The same goes for file systems that show a namespace which the container's user namespace does not own.
        self.foreign = [kind for kind in ("network", "pid", "ipc") if self.binds_devices and not spaces.has(kind)]
        if linux.get("mountLabel"):
            self._learn_label(linux["mountLabel"])

    def learn_groups(self, config, process, denied):
        """denied(): whether setgroups is denied in the container's user namespace; asked only where it matters."""
        wanted = (process.get("user") or {}).get("additionalGids")
        self.no_setgroups = bool(wanted) and denied()
        self.keep_groups = (config.get("annotations") or {}).get(KEEP_GROUPS, "0") != "0"

    def _learn_label(self, label):
        if self.selinux():
            self.mount_label = label
            return
        from pyrun.base import log

        log.warning(f"config.json: linux.mountLabel: {label} is not set: SELinux is not enabled on this host")


def create(plan, config, host, seccomp, waits):
    """The plan of a new container. waits: stop for `start` (create) instead of going on (run).

    seccomp: the compiled filter (seccomp.Filter) or None.
    """
    linux = config.get("linux") or {}
    process = config.get("process")
    spaces = Namespaces(config)
    host.learn(config, linux, spaces)

    emit_first_stage(plan, linux, spaces, process, host)
    emit_new_namespaces(plan, config, linux, spaces, host)
    emit_root(plan, config, linux, spaces, host)
    if process:
        emit_terminal(plan, process)
    if any((config.get("hooks") or {}).get(kind) for kind in ("prestart", "createRuntime", "createContainer")):
        plan.barrier("hooks", number=BARRIER_HOOKS)
    emit_protection(plan, linux)
    emit_pivot(plan, config, linux, spaces, host)
    for name, value in (linux.get("sysctl") or {}).items():
        emit_sysctl(plan, name, value)
    if process:
        program = emit_process_setup(plan, process, linux, host.env)
    if waits:
        start = plan.given("start")
        plan.ready(kept=start)
        plan.wait_start(socket=start)
    else:
        plan.barrier("start", number=BARRIER_START)
    if process:
        emit_identity(plan, process, host, seccomp)
        program.emit_exec(plan, host.keep)


def execute(plan, config, process, host, seccomp, entrance, root_file=None):
    """The plan of a further process in a running container.

    entrance: namespaces.Entrance.
    root_file: path of the container's root (/proc/PID/root) where it has no mount namespace of its own.
    """
    linux = config.get("linux") or {}
    affinity = process.get("execCPUAffinity") or {}
    if affinity.get("initial"):
        emit_affinity(plan, affinity["initial"], "process.execCPUAffinity.initial")
    emit_oom_score(plan, process)
    if entrance.mask & CLONE_NEWUSER:
        emit_rlimits(plan, process, lib.RLIMIT_RAISE)
        emit_host_stdio(plan, process, linux)
    root = plan.file(root_file, posix.O_PATH, "root") if root_file else -1
    if entrance.mask:
        entrance.emit(plan, namespaces.first_ids(linux))
    emit_clone(plan, 0, host.cgroup_files)
    emit_cgroup_join(plan, host.cgroup_files)
    if entrance.mask & CLONE_NEWUSER:
        emit_first_ids(plan, "linux.namespaces", linux)
    plan.setsid()
    if root_file:
        plan.chroot("root", root_file, root=root)
    if process.get("terminal"):
        emit_console(plan, process, bind="")
    program = emit_process_setup(plan, process, linux, host.env)
    if affinity.get("final"):
        emit_affinity(plan, affinity["final"], "process.execCPUAffinity.final")
    emit_identity(plan, process, host, seccomp)
    program.emit_exec(plan, host.keep)


def hook(plan, entry, env, home_of, entrance, cgroup_files, inside, rootfs, seccomp=None, root_file=None, ids=(0, 0)):
    """The plan of a hook that runs in the container's namespaces (createContainer, startContainer).

    inside: its path is one of the container (startContainer), so the program's own set-up is done already; otherwise it starts
    in rootfs (path on the host). home_of: the user id whose HOME is added to the environment, None where nothing is.
    seccomp: a filter (seccomp.Filter) for the hook, or None. ids: the (uid, gid) it has in a user namespace.
    """
    root = plan.file(root_file, posix.O_PATH, "root") if root_file and inside else -1
    if entrance.mask:
        entrance.emit(plan, ids)
    emit_clone(plan, 0, cgroup_files)
    emit_cgroup_join(plan, cgroup_files)
    if entrance.mask & CLONE_NEWUSER:
        plan.setid(uid=ids[0], gid=ids[1])
    plan.setsid()
    if root >= 0:
        plan.chroot("root", root_file, root=root)
    if not inside:
        plan.chdir("root.path", rootfs, path=rootfs)
    if home_of is not None:
        plan.home("hook", "HOME", uid=home_of)
    args = entry.get("args") or [entry["path"]]
    plan.umask(mask=0o022)
    if seccomp:
        emit_seccomp(plan, seccomp)
    plan.exec("hook", entry["path"], candidates=[entry["path"]], argv=args, env=env, first_closed=3)


# --- the steps of create, in the order they run


def emit_first_stage(plan, linux, spaces, process, host):
    """In the caller's namespaces, with its rights: what a user namespace would no longer allow; then the clone."""
    if process:
        emit_oom_score(plan, process)
        emit_hard_limits(plan, process, host)
        if spaces.has("user"):
            emit_host_stdio(plan, process, linux)
    namespaces.emit_joins(plan, spaces, namespaces.first_ids(linux))
    # The cgroup namespace shows the cgroup the process is in when it is made, so it is made after the join; the
    # time namespace takes its offsets before anyone lives in it.
    emit_clone(plan, spaces.new & ~(CLONE_NEWCGROUP | CLONE_NEWTIME), host.cgroup_files)


def emit_clone(plan, mask, cgroup_files):
    """mask: CLONE_NEW*."""
    born = [path for path in cgroup_files if is_v2(path)]
    fd = plan.file(born[0].rpartition("/")[0], posix.O_PATH, "linux.cgroupsPath") if born else -1
    plan.clone("linux.namespaces", cgroup=fd, namespaces=mask)


def emit_cgroup_join(plan, cgroup_files):
    for path in cgroup_files:
        flags = lib.CGROUP_JOIN_BORN if is_v2(path) else 0
        fd = plan.file(path, posix.O_WRONLY, "linux.cgroupsPath")
        plan.cgroup_join("linux.cgroupsPath", path, flags=flags, path=path, file=fd)


def is_v2(path):
    """Whether one of Host.cgroup_files is of cgroup v2: on v1 it is `tasks`."""
    return path.endswith("/cgroup.procs")


def emit_new_namespaces(plan, config, linux, spaces, host):
    if spaces.new & CLONE_NEWUSER:
        emit_maps(plan, "linux.uidMappings", host)
        emit_first_ids(plan, "linux.uidMappings", linux)
        if host.rootless:
            # A change of ids took it away again, and without it hooks and `exec` could not join. Nobody else gets a hold of init by
            # that: it takes CAP_SYS_PTRACE in this new namespace (CVE-2016-9962 is about processes in a joined one).
            plan.dumpable(value=1)
    emit_cgroup_join(plan, host.cgroup_files)
    if spaces.new & CLONE_NEWCGROUP:
        plan.unshare("linux.namespaces", "cgroup", namespaces=CLONE_NEWCGROUP)
    if spaces.new & CLONE_NEWTIME:
        plan.timens("linux.timeOffsets", offsets=time_offsets(linux.get("timeOffsets") or {}))
    plan.setsid()
    if host.new_keyring:
        plan.keyring(name=f"_ses.{host.id}")
    if spaces.new & CLONE_NEWNET:
        plan.lo_up("linux.namespaces", "network")
    if spaces.has("uts"):
        if config.get("hostname"):
            plan.hostname("hostname", config["hostname"], name=config["hostname"])
        if config.get("domainname"):
            plan.domainname("domainname", config["domainname"], name=config["domainname"])


def emit_first_ids(plan, where, linux):
    """The ids that init works with in the container's user namespace."""
    uid, gid = namespaces.first_ids(linux)
    plan.setid(where, uid=uid, gid=gid)


def emit_maps(plan, where, host):
    """The new user namespace waits for its id maps."""
    if host.rootless:
        # /proc/PID/uid_map of a process that is not dumpable belongs to the real root.
        plan.dumpable(value=1)
    plan.barrier(where, number=BARRIER_IDS)


def time_offsets(offsets):
    """The text of /proc/PID/timens_offsets (time_namespaces(7))."""
    return "".join(
        f"{clock} {one.get('secs') or 0} {one.get('nanosecs') or 0}\n" for clock, one in offsets.items() if one
    )


def emit_root(plan, config, linux, spaces, host):
    """The root file system, what is mounted on it, and its devices."""
    if spaces.has("mount"):
        plan.propagation("linux.rootfsPropagation", propagation=first_propagation(linux))
    host.rootfs = path = rootfs_path(config, host.bundle)
    flags = parent = 0
    if spaces.has("mount"):
        # A root that shall follow the host's must be a copy of a mount that still does.
        parent = MS_SLAVE if linux.get("rootfsPropagation") in ("slave", "rslave") else MS_PRIVATE
    elif not config["root"].get("readonly"):  # a mount of its own, or the one that it lies in would become read-only
        flags = lib.ROOT_UNBOUND
    plan.root("root.path", path, flags=flags, path=path, parent_propagation=parent)
    if not spaces.has("mount"):
        warn_of_host_mounts(config)
    own_dev = False
    read_only_later = []
    for mount in mounts.parse(config, path, host.mounts):
        if mount.destination == "/dev":
            own_dev = own_dev or mount.bind
        if mount.destination in ("/", "/dev") and mount.point.set & mounts.ATTR_RDONLY and mount.type == "tmpfs":
            # Mount points, nodes and the console are still to be made in it.
            mount.point.word("rw")
            read_only_later.append(mount)
        mounts.emit(plan, mount, host)
    if not own_dev:
        devices.emit(plan, config, host)
    host.read_only_later = read_only_later


def warn_of_host_mounts(config):
    made = [name for name, wanted in (("root.readonly", config["root"].get("readonly")), ("mounts", config.get("mounts"))) if wanted]
    if made:
        from pyrun.base import log

        where = " and ".join(made)
        log.warning(f'config.json: {where}: mounted in the host\'s mount namespace, where it stays: add {{"type": "mount"}} to linux.namespaces')


def rootfs_path(config, bundle):
    """Where the root file system lies on the host."""
    path = config["root"]["path"]
    return path if path.startswith("/") else f"{bundle}/{path}"


def first_propagation(linux):
    """Of the mounts that a new mount namespace starts with: of the one at / alone, or with MS_REC of all.

    Slave, if the config has no word: the host's mounts arrive, ours do not leave. An unbindable root could not be bound onto
    itself: private is what else that means.
    """
    flags = PROPAGATION_WORDS[linux.get("rootfsPropagation") or "rslave"]
    return flags & MS_REC | MS_PRIVATE if flags & MS_UNBINDABLE else flags


def source_propagation(linux):
    """Of a mount that the runtime clones for a container in a user namespace. As a peer of the host's it would hand on what is
    mounted on it, which is for the config to want.
    """
    flags = first_propagation(linux) & ~MS_REC
    return flags if flags in (MS_SHARED, MS_PRIVATE) else MS_SLAVE


def emit_terminal(plan, process):
    if process.get("terminal"):
        emit_console(plan, process, bind="/dev/console")


def emit_console(plan, process, bind):
    size = process.get("consoleSize") or {}
    uid = (process.get("user") or {}).get("uid") or 0
    plan.console(
        "process.terminal", "/dev/pts/ptmx", ptmx="/dev/pts/ptmx", bind=bind, uid=uid, rows=size.get("height") or 0,
        columns=size.get("width") or 0
    )


def emit_protection(plan, linux):
    for key, add in (("readonlyPaths", plan.readonly), ("maskedPaths", plan.mask)):
        seen = set()
        for index, path in enumerate(linux.get(key) or ()):
            if path not in seen:  # one mount for a path that is named twice
                seen.add(path)
                add(f"linux.{key}[{index}]", path, path=path)


def emit_pivot(plan, config, linux, spaces, host):
    """From here on "/" is the container's."""
    if spaces.has("mount"):
        plan.pivot("root.path", flags=lib.PIVOT_MOVE if host.no_pivot else 0)
        word = linux.get("rootfsPropagation")
        if word:
            # After the pivot: pivot_root refuses a shared root, and an unbindable one cannot be bound onto itself.
            plan.propagation("linux.rootfsPropagation", word, propagation=PROPAGATION_WORDS[word])
    else:
        plan.chroot("root.path")
    cwd = (config.get("process") or {}).get("cwd") or "/"
    if cwd != "/":
        # Kubernetes' workingDir need not be in the image.
        plan.mkdir("process.cwd", cwd, path=cwd)
    for mount in host.read_only_later:
        plan.setattr(mount.where, mount.destination, target=mount.destination, attr_set=mounts.ATTR_RDONLY)
    if config["root"].get("readonly"):
        plan.setattr("root.readonly", "/", target="/", attr_set=mounts.ATTR_RDONLY)


def emit_sysctl(plan, name, value):
    path, where = rules.sysctl_path(name), f"linux.sysctl[{name}]"
    if path == "kernel/domainname":
        # The file is the real root's; setdomainname(2) asks for rights over the UTS namespace.
        plan.domainname(where, name, name=value)
    else:
        plan.sysctl(where, f"/proc/sys/{path}", path=path, value=value)


def emit_process_setup(plan, process, linux, env):
    emit_setup(plan, process, linux)
    cwd = process["cwd"]
    plan.chdir("process.cwd", cwd, path=cwd)
    program = Program(process, env)
    program.emit_check(plan, process)
    return program
