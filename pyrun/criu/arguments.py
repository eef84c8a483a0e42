"""The options that `checkpoint` and `restore` have in common, in criu's words, and the directories of its files."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error, words
from pyrun.base.files import drop, make_tree
from pyrun.config.annotations import CRIU_CONFIG
from pyrun.criu.service import last_errors
from pyrun.plan.namespaces import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IMAGE_PATH = "checkpoint"
"""Where the images are if --image-path does not say so, below the working directory."""
CGROUP_MODES = {None: 6, "soft": 3, "full": 4, "strict": 5, "ignore": 0}
"""--manage-cgroups-mode; None is criu's own default."""
CONFIG_FILE = "/etc/criu/runc.conf"
"""A file of options for criu that come last, where no annotation of the container names another: engines know it."""
LOG_LEVEL = 4
SAME_FILE = "a file given as stdin, stdout or stderr must be the one that the container had: append to it"
HINTS = (
    ("has bad size", SAME_FILE),
    ("has bad mode", SAME_FILE),
    ("Can't lookup mount=", "the container has a file of the host open"),
)
"""What a line of criu's log means to the person who runs the container."""
FLAGS = ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "auto_dedup", "lazy_pages")
"""Options of both commands that criu has under the same name."""


class Directories:
    """The directory of the images and that of criu's log, open. Made where they are missing, if `make`. Raises Error."""

    def __init__(self, image_path: str | None, work_path: str | None, log_name: str, make: bool) -> None:
        self.image_path = image_path or IMAGE_PATH
        self.images = self.work = -1
        self.log_name = log_name
        self.log = f"{work_path or self.image_path}/{log_name}"
        try:
            self.images = _open("--image-path", self.image_path, make)
            if work_path:
                self.work = _open("--work-path", work_path, True)
        except Error:
            self.close()
            raise

    def move_to(self, pid: int) -> None:
        """Opens both again by the mounts of a process (criu's): criu mounts things in its working directory, which for that must be in its
        own mount namespace."""
        for name in ("images", "work"):
            if (fd := getattr(self, name)) >= 0:
                # Without symbolic links, which would lead back to our own mounts.
                path = posix.readlink(f"/proc/self/fd/{fd}")
                setattr(self, name, posix.open(f"/proc/{pid}/root{path}", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC))
                posix.close(fd)

    def admit(self, gid: int) -> None:
        """Lets a group of the host read the images: that which the container's gid 0 is mapped to, for processes in its user namespace."""
        posix.chown(self.images, -1, gid)
        posix.chmod(self.images, posix.fstat(self.images).st_mode & 0o7777 | 0o010)

    def options(self) -> dict:
        return {
            "images_dir_fd": self.images,
            "work_dir_fd": self.work if self.work >= 0 else None,
            "log_file": self.log_name,
            "log_level": LOG_LEVEL,
        }

    def forget_log(self) -> None:
        """Removes the log of an earlier run, which would explain a failure of this one wrongly."""
        try:
            posix.unlink(self.log)
        except FileNotFoundError:
            pass

    def explain(self, error: Error) -> Error:
        """The Error for one that criu gave: with what its log has to say."""
        reason = last_errors(self.log)
        log = f"see {self.log}" if posix.access(self.log, posix.F_OK) else f"it wrote no {self.log}"
        hint = "".join(f"; {hint}" for words, hint in HINTS if words in reason)
        return Error(f"{error}{': ' + reason if reason else ''} ({log}{hint})", error.code)

    def close(self) -> None:
        for fd in (self.images, self.work):
            if fd >= 0:
                drop(fd)
        self.images = self.work = -1


def _open(option: str, path: str, make: bool) -> int:
    try:
        if make:
            make_tree(path, 0o700)
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as fault:
        raise Error(f"{option} {path}: {words(fault.errno)}") from None


def common(config: dict, given: dict[str, Any]) -> dict:
    """criu's options for those of the command line (keyword -> value) that both commands have. Raises Error."""
    mode = given["manage_cgroups_mode"]
    if mode not in CGROUP_MODES:
        raise Error(f"invalid manage-cgroups-mode value: {mode}: soft, full, strict or ignore")
    for namespace in given["empty_ns"]:
        if namespace != "network":
            raise Error(f'--empty-ns: namespace "{namespace}" is not supported: only network is')
    options: dict[str, Any] = {name: int(given[name]) for name in FLAGS}
    # criu brings back an empty network namespace: the devices in it were made by engines and hooks, who make them again.
    options["empty_ns"] = CLONE_NEWNET
    options["manage_cgroups_mode"] = CGROUP_MODES[mode]
    options["notify_scripts"] = options["orphan_pts_master"] = 1
    options["config_file"] = config["annotations"].get(CRIU_CONFIG, CONFIG_FILE) or None
    return options


def page_server(text: str | None) -> dict | None:
    """criu's `ps` for ADDRESS:PORT. Raises Error."""
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port:
        raise Error("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise Error(f"--page-server {text}: Invalid port number")
    return {"address": address.removeprefix("[").removesuffix("]"), "port": int(port)}


def parent_image(image_path: str, path: str | None) -> str | None:
    """--parent-path: a directory, as a path that begins at that of the images. Raises Error."""
    if not path:
        return None
    if path.startswith("/"):
        raise Error("--parent-path must be relative")
    try:
        posix.close(posix.open(f"{image_path}/{path}", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC))
    except OSError as fault:
        raise Error(f"invalid --parent-path: {image_path}/{path}: {words(fault.errno)}") from None
    return path
