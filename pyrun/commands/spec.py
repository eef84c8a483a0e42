"""pyrun spec: a config.json to begin with."""

from __future__ import annotations

import errno
import posix

from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words
from pyrun.config.example import example, unified, without_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings

FILE = "config.json"


def spec(settings: Settings, *, bundle: str | None, rootless: bool) -> None:
    """Writes a config.json that runs a shell in the root file system `rootfs`; an existing one stays and is an Error."""
    path = f"{bundle}/{FILE}" if bundle else FILE
    config = example(cgroup_namespace=unified())
    if rootless:
        without_privileges(config, posix.geteuid(), posix.getegid())
    write_new(path, tabbed(jsonio.dumps(config, 1)) + "\n")


def tabbed(text: str) -> str:
    """JSON that is indented by one space a level, with tabs in their place."""
    lines = ((line, line.lstrip(" ")) for line in text.split("\n"))
    return "\n".join("\t" * (len(line) - len(rest)) + rest for line, rest in lines)


def write_new(path: str, text: str) -> None:
    try:
        files.create(path, text.encode(), 0o666)
    except FileExistsError:
        raise Error(f"File {FILE} exists. Remove it first") from None
    except OSError as fault:
        step = "write" if fault.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO) else "open"
        raise Error(f"{step} {path}: {words(fault.errno)}") from None
