"""What a command was asked for besides the config."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Request:
    """The options of `create`, `run` and `exec`. detached: nobody stays to serve the terminal."""

    def __init__(
        self, id: str, bundle: str, pid_file: str | None = None, console_socket: str | None = None, pidfd_socket: str | None = None,
        preserve_fds: int | None = 0, no_pivot: bool = False, no_new_keyring: bool = False, detached: bool = False,
    ) -> None:  # fmt: skip
        self.id = id
        self.bundle = bundle
        self.pid_file = pid_file
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.preserve_fds = preserve_fds or 0
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.detached = detached


class Additions:
    """What the container gets besides what its config says.

    keep: number of files beyond stdio that the program gets. env: entries NAME=VALUE for it. mounts: (what asks for it, entry as in
    `mounts`) pairs. keyring: name of the session keyring that an exec gets, '' for the caller's.
    """

    __slots__ = ("keep", "env", "mounts", "keyring")

    def __init__(self, keep: int = 0, env: Sequence[str] = (), mounts: Sequence[tuple[str, dict]] = (), keyring: str = "") -> None:
        self.keep = keep
        self.env = env
        self.mounts = mounts
        self.keyring = keyring


def keyring_of(id: str) -> str:
    """Name of a container's session keyring, as with runc."""
    return f"_ses.{id}"


NOTHING = Additions()
