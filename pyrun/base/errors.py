"""The one error type of the runtime, and how an errno reads."""

from __future__ import annotations

import posix


class Error(Exception):
    """Something that ends a command. `str()` of it is the one line its user sees.

    code: exit status of the command, 1 unless runc gives another.
    """

    code = 1
    # Whether it is said as it is, without the name of the program and of the command before it.
    bare = False

    def __init__(self, message: str, code: int | None = None) -> None:
        Exception.__init__(self, message)
        if code is not None:
            self.code = code


class ProgramError(Error):
    """The program cannot be executed. number: the errno."""

    def __init__(self, message: str, number: int) -> None:
        Error.__init__(self, message)
        self.number = number


class ExecError(ProgramError):
    """execve(2) of the program failed when all else was done: one short line, as runc's init and a shell say it."""

    bare = True


class ConfigError(Error):
    """A fault of the bundle's config.json, or of another file: of a process, of resources.

    path: where in the file, in the words of the specification: `mounts[3].options[1]`; '' for the file itself.
    message: what is wrong there. cure: what can be done about it, '' if the message says that already.
    """

    def __init__(self, path: str, message: str, file: str = "config.json", cure: str = "") -> None:
        text = f"{message}: {cure}" if cure else message
        Error.__init__(self, f"{file}: {path}: {text}" if path else f"{file}: {text}")
        self.path = path
        self.message = message
        self.cure = cure


class HostError(ConfigError):
    """What the config asks for is right, and not to be had on this machine, or by this caller."""


def visible(text: str, also: dict[int, str] | None = None) -> str:
    """The text in one line, with escapes for what a terminal would obey and not show: control characters, and those that turn the
    direction of the line. Names that are not UTF-8 stay. also: further escapes, by the number of the character.
    """
    if also:
        return "".join(also.get(ord(letter)) or visible(letter) for letter in text)
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(letter: str) -> str:
    if letter.isprintable() or "\udca0" <= letter <= "\udcff":
        return letter
    code = ord(letter)
    if 0xDC80 <= code < 0xDCA0:  # a byte that is a control character beyond UTF-8
        code -= 0xDC00
    return _NAMED.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def words(number: int | None) -> str:
    """The words of an errno, lower-case as runc and Go print them: callers match `no such file or directory`.

    None, the errno of an OSError that Python raised on its own, reads as 0 does.
    """
    text = posix.strerror(number or 0)
    # docker and podman compare lower-case words; glibc capitalises the first letter only.
    return text[:1].lower() + text[1:]
