"""What files may belong to, and what of an image cannot be made by who unpacks it."""

from __future__ import annotations

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.image.tar import Entry

SHOWN = 3  # names in a message
# Of an overlay file system's own: in a root file system they would hide or move files, should it ever be a part of one.
NEVER = ("trusted.overlay.", "user.overlay.")
NO_ID = (1 << 32) - 1  # -1, for chown(2): no change
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOTSUP)


class Owners:
    """Gives files their owners and extended attributes. ids: how many user and group ids there are from 0 on, None for all.
    everything: whether the caller may make devices.
    """

    def __init__(self, ids: tuple[int, int] | None, everything: bool) -> None:
        self.uids, self.gids = ids or (NO_ID, NO_ID)
        self.all = everything
        self.left: dict[str, list[str]] = {}  # what was left out -> of which files
        self.notes: list[str] = []

    def leave(self, what: str, name: str) -> None:
        names = self.left.setdefault(what, [])
        names.append(name if len(names) < SHOWN else "")

    def give(self, where: int | str, entry: Entry, directory: int | None = None) -> None:
        """Its owner, and then its attributes, which a change of the owner would take away. where: an fd, or a name in the directory
        (an fd), no symlink of which is followed.
        """
        uid, gid = entry.uid, entry.gid
        if uid >= self.uids or gid >= self.gids:
            self.leave("owners", entry.name)
            uid, gid = uid if uid < self.uids else 0, gid if gid < self.gids else 0
        if isinstance(where, int):
            posix.chown(where, uid, gid)
        else:
            posix.chown(where, uid, gid, dir_fd=directory, follow_symlinks=False)
        for name, value in entry.xattrs.items():
            if name.startswith(NEVER):
                continue
            try:
                if isinstance(where, int):
                    posix.setxattr(where, name, value)
                else:
                    posix.setxattr(f"/proc/self/fd/{directory}/{where}", name, value, follow_symlinks=False)
            except OSError as fault:
                if fault.errno not in REFUSED:
                    raise
                self.leave(f"the extended attribute {name}", entry.name)

    def user(self, user: dict) -> dict:
        """process.user with the ids that there are: another user is root, who here is the caller."""
        if user["uid"] >= self.uids or user["gid"] >= self.gids:
            self.notes.append(f"the program will run as root, which is you: there is no id for the image's user {user['uid']}:{user['gid']}")
            user = user | {"uid": 0, "gid": 0}
        groups = [gid for gid in user["additionalGids"] if gid < self.gids] if self.gids > 1 else []  # with one id setgroups(2) is denied
        return user | {"additionalGids": groups}

    def told(self) -> list[str]:
        """What was left out, a line for each kind."""
        return [*(f"left out: {what} of {self._names(names)}" for what, names in self.left.items()), *self.notes]

    @staticmethod
    def _names(names: list[str]) -> str:
        shown = ", ".join(names[:SHOWN])
        return f"{len(names)} files ({shown} …)" if len(names) > SHOWN else shown
