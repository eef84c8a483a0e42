"""What the runtime opens for the mounts of a container because init cannot: bind sources that its user namespace may not reach, and
the user namespaces of idmapped mounts.
"""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base.errors import ConfigError, Error
from pyrun.base.files import AT_FDCWD, OPEN_TREE_CLONE
from pyrun.config import mount_option
from pyrun.host import idmap
from pyrun.init.faults import mount_fault, not_idmapped
from pyrun.plan.mounts import AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, Mount
from pyrun.plan.namespaces import Namespaces
from pyrun.plan.records import Needs
from pyrun.plan.root import source_propagation


class Sources:
    """What a plan needs of it (Plan.needs), with linux of the config."""

    def __init__(self, linux: dict, needs: Needs) -> None:
        self.linux = linux
        self.needs = needs

    def open_all(self, opened: dict[str, int]) -> None:
        """Adds the fds of what init gets when it starts, by the names of their slots in the plan. Raises Error."""
        for name, mount in self.needs.sources:
            opened[name] = self.open(mount)
        for name, mount in self.needs.idmaps:
            opened[name] = self._user_namespace(mount)

    def open_asked(self, where: str) -> int:
        """The fd of the tree for a bind mount (its place in the config) that init asks for."""
        return self.open(self.needs.asked[where])

    def map_asked(self, where: str, tree: int) -> None:
        """Maps the ids of a mount that only init could find, and only we may map. Closes its fd."""
        try:
            self._map(self.needs.asked[where], tree)
        finally:
            posix.close(tree)

    def open(self, mount: Mount) -> int:
        """An fd of the tree of a bind mount, cloned among the host's mounts."""
        flags = OPEN_TREE_CLONE | posix.O_CLOEXEC | (AT_RECURSIVE if mount.recursive else 0)
        if mount.source_nofollow:
            flags |= AT_SYMLINK_NOFOLLOW
        fd = lib.native_open_tree(AT_FDCWD, mount.source.encode("utf-8", "surrogateescape"), flags)
        if fd < 0:
            raise _error(mount, "open_tree", -fd)
        try:
            code = lib.native_propagation(fd, source_propagation(self.linux))
            if code < 0 and -code not in (errno.ENOSYS, errno.EPERM):  # without mount_setattr init makes it a slave
                raise _error(mount, "mount_setattr", -code)
            if mount.idmap:
                self._map(mount, fd)
        except BaseException:
            posix.close(fd)
            raise
        return fd

    def _map(self, mount: Mount, tree: int) -> None:
        userns = self._user_namespace(mount)
        try:
            code = lib.native_idmap(tree, mount.idmap_recursive, userns)
        finally:
            posix.close(userns)
        if code < 0:
            text = mount_fault(mount.subject, mount.where, "idmap", -code)
            reason = not_idmapped(lib.native_file_system(tree), -code)
            raise Error(f"{text} ({reason})" if reason else text)

    def _user_namespace(self, mount: Mount) -> int:
        """An fd of a user namespace with the maps of an idmapped mount: its own, or the container's."""
        own = mount_option.parse(mount.idmap_option, self.linux) if mount.idmap_option else mount.entry
        uids = own["uidMappings"] or self.linux["uidMappings"]
        gids = own["gidMappings"] or self.linux["gidMappings"]
        joined = Namespaces(self.linux["namespaces"]).joined.get("user")
        if not uids and not gids and joined:
            return posix.open(joined[0], posix.O_RDONLY | posix.O_CLOEXEC)
        if not uids or not gids:
            raise ConfigError(mount.where, "an idmapped mount needs uidMappings and gidMappings, of its own or in linux")
        return idmap.namespace(uids, gids, mount.where)


def _error(mount: Mount, step: str, number: int) -> Error:
    return Error(mount_fault(mount.subject, mount.where, step, number))
