"""state.json: read, and held to what was written; and the --root that it lies in."""

from __future__ import annotations

import errno
import posix

from pyrun import cgroup
from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE = "state.json"
FORMAT = 2
"""`version` of the state.json that is written. 1 had no such member, and numbers for the names of ops in `notes`."""
BLANK = {
    "version": FORMAT, "plan": 0, "id": "", "ociVersion": "", "bundle": "", "rootfs": "", "annotations": {}, "created": "", "pid": 0,
    "startTime": 0, "bootId": "", "creating": False, "mask": 0, "notes": {}, "rdt": [], "stdio": [], "hooks": [],
    "keyring": True, "cgroup": None,
}  # fmt: skip
"""The members of state.json, with values of their types."""
OLD = {"version": 1, "plan": 1, "rdt": [], "stdio": [], "hooks": ["startContainer", "poststart", "poststop"], "keyring": True}
"""Members that older releases left out. Of hooks: there may be any."""
_NAMES = [name for name in BLANK if name != "cgroup"]
_KINDS = [type(BLANK[name]) for name in _NAMES]
_PARTS = [("annotations", str), ("rdt", str), ("stdio", str), ("hooks", str), ("notes", list)]
_PID_LIMIT = 1 << 22  # the kernel's


class Gone(Error):
    """There is no such container, or none any more. Callers match the first words."""

    def __init__(self, root: str, id: str) -> None:
        Error.__init__(self, f'container does not exist: "{id}" (below --root {root})')


class Unusable(Error):
    """state.json is there, and is not what was written. data: what it holds (any value), None if that is no JSON."""

    data = None


def read(root: str, id: str) -> tuple[bytes, int]:
    """The state.json of this id, and the uid of its owner. Raises Gone: there is none; Unusable; Error: it cannot be read (now)."""
    from pyrun.config.load import check_id

    check_id(id)
    path = f"{root}/{id}/{STATE}"
    try:
        check_root(root)
        return files.read_owned(path, posix.O_NOFOLLOW)
    except FileNotFoundError:
        raise Gone(root, id) from None
    except files.Odd as odd:
        raise Unusable(str(odd)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unusable(f"{path}: not a regular file") from None
        raise Error(f"--root {root}: open {path}: {words(error.errno)}") from None


def decode(root: str, id: str, text: bytes) -> dict:
    """The data of a state.json, each member of its type. Raises Unusable."""
    path = f"{root}/{id}/{STATE}"
    data = None
    try:
        data = jsonio.loads(text)
        if data.__class__ is not dict or "cgroup" not in data:
            raise Error(f"{path} is not a container's state: was --root written by another runtime?")
        data = OLD | data
        wrong = "id" if data.get("id") != id else _wrong_member(data)
        if wrong:
            raise Error(f"{path} is damaged: {wrong} is not what was written" if data["version"] in (1, FORMAT)
                        else f"{path} is of another release of pyrun: version {data['version']}")  # fmt: skip
    except Error as error:
        fault = Unusable(str(error) if path in str(error) else f"{path} is damaged: {error}")
        fault.data = data
        raise fault from None
    return data


def _wrong_member(data: dict) -> str:
    """Name of the first member that is not what is written there, '' if all are. `list` asks for a thousand."""
    if list(map(type, map(data.get, _NAMES))) != _KINDS:
        return next(name for name, kind in zip(_NAMES, _KINDS) if type(data.get(name)) is not kind)
    if data["version"] not in (1, FORMAT):
        return "version"
    if not 0 <= data["pid"] <= _PID_LIMIT:
        return "pid"
    for name, kind in _PARTS:
        values = data[name]
        if values and set(map(type, values.values() if values.__class__ is dict else values)) != {kind}:
            return name
    for name in ("bundle", "rootfs"):
        if "\0" in data[name]:
            return name
    return "" if data["cgroup"] is None or cgroup.is_state(data["cgroup"]) else "cgroup"


def whole(data: Any) -> dict:
    """Those members of a damaged state.json (any value) that are what they must be; the others are as in BLANK."""
    found = dict(BLANK)
    for name, value in data.items() if data.__class__ is dict else ():
        if name in BLANK and not _wrong_member(BLANK | {name: value}):
            found[name] = value
    return found


# --- the root


_checked_root = ""


def check_root(root: str) -> None:
    """Refuses a --root in which somebody else could have forged a state. OSError, Error.

    Once a command: what this user's own processes do to it meanwhile is not guarded against.
    """
    global _checked_root
    if root == _checked_root:
        return
    about = posix.lstat(root)
    owners = (0, posix.geteuid())
    if about.st_mode & files.S_IFMT == files.S_IFLNK and about.st_uid in owners:
        about = posix.stat(root)
    if about.st_uid not in owners:
        raise Error(f"--root {root} belongs to {owner(about.st_uid)}, who could forge containers in it: call pyrun as that user, "
                    "or choose a directory of your own with --root")  # fmt: skip
    if about.st_mode & files.S_IFMT != files.S_IFDIR:
        raise Error(f"--root {root}: {words(errno.ENOTDIR)}")
    if about.st_mode & 0o022:
        raise Error(f"--root {root} may be written by others, who could forge containers in it: chmod go-w {root}, "
                    "or choose another directory with --root")  # fmt: skip
    _checked_root = root


def owner(uid: int) -> str:
    """Name of a user of the host, or the number."""
    if uid == 0:
        return "root"
    try:
        lines = files.read("/etc/passwd").decode(errors="surrogateescape").splitlines()
    except OSError:  # a host without names, or one that hides them
        return str(uid)
    rows = [line.split(":") for line in lines]
    return next((row[0] for row in rows if row[2:3] == [str(uid)]), str(uid))


def ids(root: str) -> list[str]:
    """Names of the state directories below root, sorted. Raises OSError, Error."""
    check_root(root)
    return sorted(name for name in posix.listdir(root) if name[0] != ".")
