"""The global options, as every command gets them."""

from __future__ import annotations

import errno
import posix

from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.base.files import clean

ROOTLESS = {"": "auto", "auto": "auto"}
ROOTLESS |= dict.fromkeys(("1", "t", "true"), "true") | dict.fromkeys(("0", "f", "false"), "false")


class Settings:
    """root: the state directory, an absolute path. root_given: whether --root named it. log, timeline: files. log_format: `text` or
    `json`. rootless: `auto`, `true` or `false`. criu: its path.
    """

    def __init__(
        self, root: str | None = None, log: str | None = None, log_format: str | None = None, debug: bool = False, systemd_cgroup: bool = False,
        rootless: str | None = None, timeline: str | None = None, criu: str | None = None,
    ) -> None:  # fmt: skip
        self.root_given = root is not None
        self.root = default_root() if root is None else root and absolute(root)
        self.log = log
        self.log_format = log_format or "text"
        self.debug = debug
        self.systemd_cgroup = systemd_cgroup
        self.rootless = rootless or "auto"
        self.timeline = timeline
        self.criu = criu

    def check(self) -> None:
        """Raises Error for values that no command can work with."""
        if not self.root:
            raise Error("--root: must not be empty")
        if self.root == "/":
            raise Error("--root: / cannot be the state directory")
        if self.rootless.lower() not in ROOTLESS:
            raise Error(f"--rootless: {self.rootless}: use true, false or auto")
        self.rootless = ROOTLESS[self.rootless.lower()]

    def own_root(self) -> None:
        """Makes the default root of an unprivileged user. Raises Error where it cannot be that user's."""
        if self.root_given:
            return
        if self.root == _runtime_root():
            _make_private(self.root)
        elif (uid := facts.uid) and not posix.access(self.root, posix.W_OK | posix.X_OK):
            raise Error(f"{self.root}: {words(errno.EACCES)}: set $XDG_RUNTIME_DIR to a directory of yours, as /run/user/{uid}, or give --root")


def with_systemd(settings: Settings, config: dict) -> Settings:
    """The options as the container was made with, as far as its config tells: SLICE:PREFIX:NAME is for systemd alone."""
    if settings.systemd_cgroup or config["linux"]["cgroupsPath"].count(":") != 2:
        return settings
    return Settings(settings.root, systemd_cgroup=True, rootless=settings.rootless)


def default_root() -> str:
    """/run/pyrun, or $XDG_RUNTIME_DIR/pyrun where /run is not the caller's: without privileges, or as root of a user namespace."""
    return (_unprivileged() and _runtime_root()) or "/run/pyrun"


def absolute(path: str) -> str:
    """The path from / on, without `.`, `..` and doubled slashes; symbolic links are not looked at. '' is the working directory."""
    if not path.startswith("/"):
        path = f"{posix.getcwd()}/{path}"
    return clean(path)


def _unprivileged() -> bool:
    # A root that keeps the name `root` in its user namespace owns its /run: a container that runs containers.
    return facts.rootless or (facts.in_user_namespace and posix.environ.get(b"USER") != b"root")


def _runtime_root() -> str | None:
    directory = posix.environ.get(b"XDG_RUNTIME_DIR")
    return f"{directory.decode(errors='surrogateescape')}/pyrun" if directory else None


def _make_private(path: str) -> None:
    try:
        try:
            posix.mkdir(path, 0o700)
        except FileExistsError:
            pass
        # The XDG specification: what has the sticky bit is not cleaned away with age.
        posix.chmod(path, 0o1700)
    except OSError as fault:
        raise Error(f"{path}: {words(fault.errno)}: $XDG_RUNTIME_DIR must be a directory of yours, or give --root") from None
