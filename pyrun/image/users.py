"""The user that an image's program runs as, by name or number, looked up in the image's own passwd(5) and group(5)."""

from __future__ import annotations

import io
import posix

from pyrun.base import files
from pyrun.base.errors import Error, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.image.tree import Tree

REGULAR = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
LARGE = 16 << 20  # bytes of a list of users
MOST = (1 << 32) - 2  # of ids: the last one is no id


def find(tree: Tree, user: str) -> dict:
    """process.user. user: `USER`, `USER:GROUP`, names or numbers; '' is root. Raises Error."""
    name, _, group = user.partition(":")
    people, groups = _rows(tree, "etc/passwd", 7), _rows(tree, "etc/group", 4)
    person = next((row for row in people if name in (row[0], row[2])), None)
    if person is None and name and not name.isdigit():
        raise Error(f'the image\'s user is "{name}", who is not in its etc/passwd')
    uid, gid = (_id(person[2]), _id(person[3])) if person else (_id(name or "0"), 0)
    if group:
        of_group = next((row for row in groups if group in (row[0], row[2])), None)
        if of_group is None and not group.isdigit():
            raise Error(f'the image\'s group is "{group}", which is not in its etc/group')
        gid = _id(of_group[2] if of_group else group)
        return {"uid": uid, "gid": gid, "additionalGids": [gid]}
    # The group of the user is among the others too: what a file denies to it, a program must not get at by dropping it (CVE-2022-36109).
    more = [_id(row[2]) for row in groups if person and f",{person[0]}," in f",{row[3]},"]
    return {"uid": uid, "gid": gid, "additionalGids": list(dict.fromkeys([gid, *more]))}


def _id(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 12 and int(word) <= MOST):
        raise Error(f'"{word}", of the image\'s user, is no user or group id')
    return int(word)


def _rows(tree: Tree, path: str, columns: int) -> Iterator[list[str]]:
    """The lines of a file of the root file system, one at a time: millions of short ones would fill the memory. None where it is not there."""
    try:
        fd = tree.open(path, REGULAR)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as fault:
        raise Error(f"{path} of the image: {words(fault.errno)}") from None
    try:
        about = posix.fstat(fd)
        if about.st_mode & files.S_IFMT != files.S_IFREG or about.st_size > LARGE:
            raise Error(f"{path} of the image is no file, or one of more than {LARGE >> 20} MiB")
        text = files.read_fd(fd, path).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)
    for line in io.StringIO(text):
        if line[0] not in "#+-" and line.count(":") >= columns - 1:
            yield line.rstrip("\n").split(":", columns)
