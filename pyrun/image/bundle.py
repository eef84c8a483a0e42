"""A bundle that is made of an image: its directory, root file system, volumes and config.json; all of it, or nothing."""

from __future__ import annotations

import posix
import stat

from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.image import config, ids, layers, users
from pyrun.image.owners import Owners
from pyrun.image.progress import Progress
from pyrun.image.stream import Layer
from pyrun.image.tree import AS_IT_IS, LIST, PATH, Trash, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.base.undo import Undo
    from pyrun.image.config import Wishes
    from pyrun.image.layout import Image

ROOTFS, VOLUMES, TRASH, CONFIG = "rootfs", "volumes", ".trash", "config.json"
MODE = 0o700  # there are setuid programs and devices in it, which are not for the users of the host


class Bundle:
    """A bundle that is being made."""

    def __init__(self, path: str, undo: Undo) -> None:
        self.path = path
        self.fd = self._directory(undo)
        undo.push(self._empty)

    def _directory(self, undo: Undo) -> int:
        try:
            posix.mkdir(self.path, MODE)
            undo.push(posix.rmdir, self.path)
        except FileExistsError:
            pass
        fd = posix.open(self.path, LIST)
        if posix.listdir(fd):
            raise Error(f"{self.path}: the directory is not empty: an image is unpacked into one that is new")
        return fd

    def _empty(self) -> None:
        """Removes what there is."""
        self._make(TRASH)
        trash = Trash(posix.open(TRASH, LIST, dir_fd=self.fd))
        for name in posix.listdir(self.fd):
            if name == CONFIG:
                posix.unlink(name, dir_fd=self.fd)
            elif name != TRASH:
                trash.take(self.fd, name)
        for name in posix.listdir(trash.fd):  # of a removal that was interrupted
            trash.take(trash.fd, name)
        posix.rmdir(TRASH, dir_fd=self.fd)

    def _make(self, name: str) -> int:
        """An fd of a directory in the bundle."""
        try:
            posix.mkdir(name, MODE, dir_fd=self.fd)
        except FileExistsError:
            pass
        return posix.open(name, LIST | posix.O_NOFOLLOW, dir_fd=self.fd)

    def fill(self, image: Image, wishes: Wishes) -> list[str]:
        """Makes all of it. Returns what was left out. OSError, Error."""
        about = config.ImageConfig(image.config)
        about.args(wishes)  # what is wrong with it is said before all the work
        mappings = ids.mappings() if facts.rootless else None
        owners = Owners(ids.enter(*mappings) if mappings else None, everything=not facts.unprivileged)
        tree = Tree(self._make(ROOTFS), Trash(self._make(TRASH)), owners)
        self._unpack(image, tree)
        self._working_directory(tree, about.cwd)
        user = owners.user(users.find(tree, about.user))
        tree.finish()
        made = config.make(about, wishes, user, mappings)
        made["mounts"] += [self._volume(tree, path, number) for number, path in reversed(list(enumerate(about.volumes)))][::-1]
        posix.rmdir(TRASH, dir_fd=self.fd)
        files.create(f"{self.path}/{CONFIG}", (jsonio.dumps(made, 1) + "\n").encode("utf-8", "surrogateescape"), 0o644)
        return owners.told() + [f"left out: the label {name}, which would tell the runtime what to do" for name in about.annotations()[1]]

    def _unpack(self, image: Image, tree: Tree) -> None:
        space = posix.fstatvfs(self.fd)
        allowance = layers.Allowance(space.f_bavail * space.f_frsize // 10 * 9)
        with Progress(sum(blob.size for blob, _, _ in image.layers)) as progress:
            for blob, digest, diff_id in image.layers:
                layers.apply(tree, Layer(blob, digest, diff_id, progress.add, allowance.bytes), allowance)

    @staticmethod
    def _working_directory(tree: Tree, path: str) -> None:
        try:
            posix.close(tree.directory(path))
        except OSError as fault:
            raise Error(f"the image's working directory {path}: {words(fault.errno)}") from None

    def _volume(self, tree: Tree, path: str, number: int) -> dict:
        """The mount of a volume: what the image has there goes to a directory beside the root file system, and is mounted in its place."""
        try:
            fd = tree.directory(path)
        except OSError as fault:
            raise Error(f"the image's volume {path}: {words(fault.errno)}") from None
        real, about = tree.real(fd), posix.fstat(fd)
        posix.close(fd)
        above, _, name = real.rpartition("/")
        if not name:
            raise Error(f"the image's volume {path} is all of its root file system")
        posix.close(self._make(VOLUMES))
        parent = tree.open(above[1:], PATH, AS_IT_IS)
        try:
            times = posix.fstat(parent)
            posix.rename(name, f"{VOLUMES}/{number}", src_dir_fd=parent, dst_dir_fd=self.fd)
            posix.mkdir(name, MODE, dir_fd=parent)
            posix.chown(name, about.st_uid, about.st_gid, dir_fd=parent)
            posix.chmod(name, stat.S_IMODE(about.st_mode), dir_fd=parent)
            posix.utime(name, ns=(about.st_mtime_ns, about.st_mtime_ns), dir_fd=parent)
            posix.utime(f"/proc/self/fd/{parent}", ns=(times.st_mtime_ns, times.st_mtime_ns))
        finally:
            posix.close(parent)
        return {"destination": path, "type": "bind", "source": f"{VOLUMES}/{number}", "options": ["rbind", "rw"]}

