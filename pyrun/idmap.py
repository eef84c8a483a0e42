"""Id maps of user namespaces (user_namespaces(7)): the container's, and those of idmapped mounts."""

import errno
import posix

from pyrun import files
from pyrun._native import lib
from pyrun.errors import ConfigError, Error, words


def text(mappings):
    """What goes into uid_map or gid_map."""
    return "".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in mappings)


def write_maps(pid, uid_mappings, gid_mappings, where="linux"):
    """Writes the maps of the user namespace of a process that waits for them. Raises ConfigError.

    With rights over the ids they are written directly; an ordinary user goes through newuidmap and newgidmap
    (subuid(5)), or, for its own single id, writes it after giving up setgroups.
    """
    own = posix.geteuid() != 0
    for name, mappings, tool in (("uid_map", uid_mappings, "newuidmap"), ("gid_map", gid_mappings, "newgidmap")):
        if not mappings:
            continue
        path = f"/proc/{pid}/{name}"
        field = f"{where}.{name[:3]}Mappings"
        if own and _by_tool(tool, pid, mappings):
            continue
        if own and name == "gid_map":
            _write(f"/proc/{pid}/setgroups", "deny", field)
        _write(path, text(mappings), field)


def _write(path, value, where):
    try:
        files.write(path, value)
    except OSError as error:
        hint = ""
        if error.errno == errno.EPERM:
            hint = "; an ordinary user can map its own id alone, or those of /etc/subuid with the package uidmap installed"
        elif error.errno == errno.EINVAL:
            hint = "; do ranges overlap, or are there more than 340 lines?"
        raise ConfigError(where, f"write {path}: {words(error.errno)}{hint}") from None


def _by_tool(tool, pid, mappings):
    """Whether newuidmap or newgidmap is there and did it."""
    if len(mappings) == 1 and mappings[0]["size"] == 1:
        return False
    numbers = [str(one[key]) for one in mappings for key in ("containerID", "hostID", "size")]
    for directory in ("/usr/bin", "/bin", "/usr/local/bin"):
        path = f"{directory}/{tool}"
        try:
            child = posix.posix_spawn(path, [tool, str(pid), *numbers], {})
        except FileNotFoundError:
            continue
        code = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
        if code:
            raise Error(f"{tool} {pid} {' '.join(numbers)} ended with {code}: is the range in /etc/sub{tool[3:6]} of this user?")
        return True
    return False


def namespace(uid_mappings, gid_mappings, where):
    """An fd of a user namespace with these maps, for an idmapped mount (mount_setattr(2)). No process stays in it."""
    from pyrun.compile import BARRIER_IDS
    from pyrun.control import Init
    from pyrun.namespaces import CLONE_NEWUSER
    from pyrun.plan import Plan

    plan = Plan()
    plan.add(lib.OP_CLONE, where, n=(CLONE_NEWUSER,))
    plan.add(lib.OP_BARRIER, where, n=(BARRIER_IDS,))
    init = Init(plan)
    found = []

    def at_barrier(number):
        write_maps(init.pid, uid_mappings, gid_mappings, where)
        found.append(posix.open(f"/proc/{init.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC))
        return False

    try:
        init.spawn()
        init.drive(barrier=at_barrier)
    finally:
        init.kill()
    return found[0]
