"""The command line, without click: what the options table (made from pyrun/cli/declaration.py) says, in Go's style of options.

`-bundle X`, `--bundle X`, `-bundle=X` and `--bundle=X` are the same. Options may follow the container's id, global ones may
follow the command. `--` ends the options.
"""

from __future__ import annotations

import errno
import posix

from pyrun.base.errors import Error, words
from pyrun.cli.settings import Settings
from pyrun.config.load import FILE as CONFIG
from pyrun.config.load import no_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Option = tuple[str, str, bool]
    CommandLine = tuple[Settings, str, dict[str, Any]]

COMPLETE = "_PYRUN_COMPLETE"
"""The environment variable by which a shell asks for completion."""
BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True)
BOOLEANS |= dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False)


class Refused(Exception):
    """Words that the table does not allow; str() is the message."""


class Unknown(Refused):
    """An option that is not in the table. name: without its dashes."""

    def __init__(self, name: str) -> None:
        Refused.__init__(self, f"flag provided but not defined: -{name}")
        self.name = name


def parse(argv: Sequence[str]) -> CommandLine | None:
    """The command line of a hot command. argv: the words after the program's name.

    None for whatever click shall decide: help, an error, a table that was not made.
    """
    try:
        from pyrun.cli import _argv_table as table
    except ImportError:
        return None
    try:
        return read(table.GLOBALS, table.COMMANDS, argv)
    except Refused:
        return None


def read(global_options: dict[str, Option], commands: dict[str, dict], argv: Sequence[str]) -> CommandLine:
    """parse() with a given table; raises Refused."""
    settings = {}
    rest = scan(global_options, argv, True, settings, settings)
    if settings.pop("version", False):
        return Settings(**settings), "version", {}
    if not rest or rest[0] not in commands:
        raise Refused("no hot command")
    name, command = rest[0], commands[rest[0]]
    values = dict(command["defaults"])
    rest = scan(command["options"], rest[1:], command["stop"], values, settings)
    values |= arguments(name, command["arguments"], rest)
    return Settings(**settings), name, values


def scan(options: dict[str, Option], argv: Sequence[str], stop: bool, values: dict[str, Any], global_values: dict[str, Any]) -> list[str]:
    """Reads the options in argv into two dicts, and returns the other words.

    options: name -> (keyword, kind, whether it is a global one). Kinds: flag, text, number, and texts and
    numbers (a tuple, with one value for each time the option is given). stop: whether the first other word ends the options.
    """
    found = []
    argv = list(argv)
    while argv:
        word = argv.pop(0)
        if word == "--":
            return found + argv
        if len(word) < 2 or word[0] != "-" or word[1].isdigit():
            found.append(word)
            if stop:
                return found + argv
            continue
        name, equals, value = word[2 if word[1] == "-" else 1:].partition("=")
        if name not in options:
            raise Unknown(name)
        keyword, kind, is_global = options[name]
        target = global_values if is_global else values
        if kind == "flag":
            if equals and value not in BOOLEANS:
                raise Refused(f'invalid value "{value}" for flag -{name}: neither true nor false')
            target[keyword] = BOOLEANS[value] if equals else True
            continue
        if not equals:
            if not argv:
                raise Refused(f"flag needs an argument: {word}")
            value = argv.pop(0)
        if kind in ("number", "numbers") and not (value.isascii() and value.isdigit()):
            raise Refused(f'invalid value "{value}" for flag -{name}: not a number from 0 on')
        if kind == "text" and not value and not is_global:
            continue  # a caller's empty variable: as if it were not given
        read = int(value) if kind in ("number", "numbers") else value
        target[keyword] = (*target.get(keyword, ()), read) if kind in ("texts", "numbers") else read
    return found


def arguments(command: str, wanted: Sequence[tuple[str, str]], found: list[str]) -> dict[str, Any]:
    """The keyword arguments that the words found give. wanted: (keyword, kind) in order, of kind `one`, `maybe` or `rest`.

    Raises Refused where there are too few or too many words.
    """
    least = sum(kind == "one" for _, kind in wanted)
    most = None if any(kind == "rest" for _, kind in wanted) else len(wanted)
    if least == most != len(found):
        raise Refused(f'"{command}" requires exactly {least} argument{"s" * (least != 1)}')
    if len(found) < least:
        raise Refused(f'"{command}" requires a minimum of {least} argument{"s" * (least != 1)}')
    if most is not None and len(found) > most:
        raise Refused(f'"{command}" requires a maximum of {most} argument{"s" * (most != 1)}')
    values: dict[str, Any] = {}
    for index, (keyword, kind) in enumerate(wanted):
        if kind == "rest":
            # `exec ID -- ls`: a second `--` is the command's own.
            if found[index:index + 1] == ["--"]:
                index += 1
            values[keyword] = tuple(found[index:])
        elif index < len(found):
            values[keyword] = found[index]
    return values


def bundle_and_id(bundle: str | None, word: str) -> tuple[str, str]:
    """What `create` and `run` work on: (the bundle's absolute path, without symbolic links; the container's id).

    bundle: what --bundle said, or None. word: the argument, an id. Where there is no --bundle, a path is the bundle's and
    its base name the id; so is the name of a directory with a config.json. Raises Error for a missing directory.
    """
    if bundle:
        return _real_directory(bundle), word
    if "/" not in word and not holds_config(word):
        if word and not holds_config("."):
            raise Error(f"{word}/{CONFIG}: {words(errno.ENOENT)}, nor is there one in the working directory: `pyrun spec` makes one")
        return _real_directory("."), word
    path = _real_directory(word)
    name = word.rstrip("/").rpartition("/")[2]
    return path, path.rpartition("/")[2] if name in ("", ".", "..") else name


def holds_config(directory: str) -> bool:
    """Whether there is a config.json; one that may not be looked at is one."""
    try:
        posix.stat(f"{directory}/{CONFIG}")
    except OSError as fault:
        return fault.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # a zero byte in the name
        return False
    return directory != ""


def _real_directory(path: str) -> str:
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as fault:
        raise no_config(path.rstrip("/"), fault.errno) from None
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)
