"""config.json: read it, and check it before anything is made.

The check has two parts: the schema of specs/, as a table made from it (shape.py), and the rules that a schema cannot
say (rules.py). A member that is null counts as left out, as it does for callers written in Go.
"""

from __future__ import annotations

import errno

from pyrun.base import files, jsonio
from pyrun.base.errors import ConfigError, Error, words
from pyrun.config.shape import explain, known, show, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "config.json"
BOM = b"\xef\xbb\xbf"
"""What some editors begin a file with, and no JSON may."""
ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-."
ID_LENGTH = 1024


# --- reading -----------------------------------------------------------------------------------------------------------


def load(bundle: str) -> dict:
    """The config (dict) of the bundle, a directory (str). Raises Error, ConfigError."""
    return decode(read(bundle), FILE)


def read(bundle: str) -> bytes:
    try:
        return files.read_regular(f"{bundle}/{FILE}")
    except OSError as error:
        raise no_config(bundle, error.errno) from None


def no_config(bundle: str, number: int | None) -> Error:
    """The Error that the config of a bundle (directory, str) cannot be opened for, by its errno."""
    cure = ""
    if number == errno.ENOTDIR:
        cure = f": give the directory that holds {FILE}"
    elif number == errno.ENOENT and files.is_directory(bundle):
        cure = ": `pyrun spec` makes one"
    return Error(f"{bundle}/{FILE}: {words(number)}{cure}")


def load_process(path: str) -> dict:
    """The process (dict) of a file as `exec --process` takes it; /dev/fd/N too. Raises Error, ConfigError."""
    return decode(read_process(path), path)


def read_process(path: str) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise Error(f"{path}: {words(error.errno)}") from None


def load_resources(path: str) -> dict:
    """The resources (dict, as linux.resources) of a file as `update --resources` takes it; `-` is stdin. Raises Error, ConfigError.

    What the specification does not know is left out.
    """
    from pyrun.config import _checks

    resources = decode(read_resources(path), path)
    node = _checks.CONFIG[1]["linux"][1]["resources"]
    fault = walk(node, resources)
    if fault:
        where, message = explain(fault)
        raise ConfigError(where, message, path)
    return known(node, resources)


def read_resources(path: str) -> bytes:
    try:
        return files.read_fd(0, "stdin") if path == "-" else files.read(path)
    except OSError as error:
        raise Error(f"{path}: {words(error.errno)}") from None


def decode(data: bytes, file: str) -> dict:
    """The object in a JSON text, without members that are null. file: its name in messages. Raises ConfigError."""
    try:
        value = jsonio.loads(data)
    except Error as error:
        raise ConfigError("", f"syntax error: {error}", file) from None
    if type(value) is not dict:
        raise ConfigError("", f"must be an object, not {show(value)}", file)
    if b"null" in data:  # rare, and costly to look for in what was decoded
        _drop_nulls(value)
    return value


def _drop_nulls(value: Any) -> None:
    """Takes the members that are null out of all objects in value."""
    rest = [value]
    while rest:
        value = rest.pop()
        if type(value) is dict:
            for name in [name for name, member in value.items() if member is None]:
                del value[name]
            rest.extend(value.values())
        elif type(value) is list:
            rest.extend(value)


# --- checks ------------------------------------------------------------------------------------------------------------


def check(config: dict, *, bundle: str) -> None:
    """Raises ConfigError for the first fault of a config (dict, as load() gives it) in the bundle (directory, str)."""
    from pyrun.config import _checks, rules

    fault = walk(_checks.CONFIG, config)
    if fault:
        raise ConfigError(*explain(fault))
    for path, message, cure in rules.broken(config, bundle):
        raise ConfigError(path, message, cure=cure)


def check_process(process: dict, file: str = "process.json") -> None:
    """The same for a process alone; file is named in the message. Paths begin with `process.` as in a config."""
    from pyrun.config import _checks, rules

    fault = walk(_checks.PROCESS, process)
    if fault:
        path, message = explain([*fault, "process"])
        raise ConfigError(path, message, file)
    for path, message, cure in rules.broken_process(process):
        raise ConfigError(path, message, file, cure)


def check_id(id: str) -> None:
    """Refuses an id (str) that is no single, visible file name of letters, digits, _ + - and dots. Raises Error."""
    # strip() leaves nothing of a string that is made of these characters alone.
    odd = id.strip(ID_CHARACTERS)
    if odd:
        raise Error(f"invalid container ID format: invalid character {show(odd[0])} in {show(id)}: use letters, digits and _ + - .")
    if id[:1] in ("", ".") or len(id) > ID_LENGTH:
        raise Error(f"invalid container ID format: {show(id)}: 1 to {ID_LENGTH} characters, the first no dot")
