"""What is so on this machine and for this process. The one place that asks the kernel for it."""

from __future__ import annotations

import errno
import posix

from pyrun._native import ffi, lib
from pyrun.base import files
from pyrun.base.errors import Error, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import cached_property as fact
else:

    class fact:
        """A property that is worked out when it is first read, and then stays (functools is not for hot modules)."""

        def __init__(self, ask):
            self.ask = ask

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, facts, owner=None):
            value = facts.__dict__[self.name] = self.ask(facts)
            return value


# The inode of the initial user namespace's file (PROC_USER_INIT_INO). Its uid_map would not do: another one may map all ids too.
FIRST_USER_NAMESPACE = 0xEFFFFFFD


class Facts:
    """Each is asked for once, and only where something depends on it. known: those that are given instead, for tests."""

    def __init__(self, **known: object) -> None:
        vars(self).update(known)

    @fact
    def uid(self) -> int:
        return posix.geteuid()

    @fact
    def gid(self) -> int:
        return posix.getegid()

    @fact
    def rootless(self) -> bool:
        return self.uid != 0

    @fact
    def in_user_namespace(self) -> bool:
        """Whether we are in a user namespace other than the initial one."""
        try:
            return posix.stat("/proc/self/ns/user").st_ino != FIRST_USER_NAMESPACE
        except FileNotFoundError:  # a kernel without user namespaces
            return False

    @fact
    def unprivileged(self) -> bool:
        """Whether the host belongs to somebody else: root of a user namespace has no rights over it either."""
        return self.rootless or self.in_user_namespace

    @fact
    def denies_setgroups(self) -> bool:
        """Whether setgroups(2) is denied in our user namespace, and so in all below it."""
        return denies_setgroups("self")

    @fact
    def owns_mounts(self) -> bool:
        """Whether we have rights over our mount namespace: root of a user namespace may be in one of the host's."""
        fd = lib.native_open_tree(files.AT_FDCWD, b"/", files.OPEN_TREE_CLONE | posix.O_CLOEXEC)
        if fd >= 0:
            posix.close(fd)
        return fd != -errno.EPERM

    @fact
    def capabilities(self) -> tuple[int, int]:
        """Our (permitted, bounding) capabilities, as masks."""
        out = ffi.new("unsigned long long[4]")
        code = lib.native_capabilities(out)
        if code < 0:
            raise Error(f"capget: {words(-code)}")
        return out[1], out[3]

    @fact
    def selinux(self) -> bool:
        """Whether SELinux is enabled."""
        return bool(_read("/sys/fs/selinux/enforce"))

    @fact
    def apparmor(self) -> bool:
        """Whether AppArmor is enabled."""
        return _read("/sys/module/apparmor/parameters/enabled") == "Y"

    def is_file(self, path: str, nofollow: bool) -> bool:
        """Whether the source of a bind mount is something else than a directory. nofollow: a symlink counts as itself."""
        try:
            return posix.stat(path, follow_symlinks=not nofollow).st_mode & files.S_IFMT != files.S_IFDIR
        except OSError:  # init meets the same, and says of which mount
            return False


def denies_setgroups(pid: int | str) -> bool:
    """Whether setgroups(2) is denied in the user namespace of a process, and so in all below it."""
    try:
        return files.read_line(f"/proc/{pid}/setgroups") == b"deny\n"
    except FileNotFoundError:  # a kernel without user namespaces
        return False


def _read(path: str) -> str:
    try:
        return files.read_line(path).decode().strip()
    except FileNotFoundError:
        return ""


facts = Facts()
"""Those of this process."""
