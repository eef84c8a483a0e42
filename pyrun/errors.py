"""The one error type of the runtime, and how an errno reads."""

import posix


class Error(Exception):
    """Something that ends a command. `str()` of it is the one line its user sees.

    code: exit status of the command (int, 1 unless runc gives another).
    """

    code = 1
    # Whether it is said as it is, without the name of the program and of the command before it.
    bare = False

    def __init__(self, message, code=None):
        Exception.__init__(self, message)
        if code is not None:
            self.code = code


class ExecError(Error):
    """execve(2) of the program failed when all else was done: one short line, as runc's init and a shell say it."""

    bare = True


class ConfigError(Error):
    """A fault of the bundle's config.json, or of another file: of a process, of resources.

    path: where in the file, in the words of the specification: `mounts[3].options[1]`; '' for the file itself.
    message: what is wrong there.
    """

    def __init__(self, path, message, file="config.json"):
        Error.__init__(self, f"{file}: {path}: {message}" if path else f"{file}: {message}")
        self.path = path
        self.message = message


def words(number):
    """The words of an errno, lower-case as runc and Go print them: callers match `no such file or directory`."""
    text = posix.strerror(number)
    # docker and podman compare lower-case words; glibc capitalises the first letter only.
    return text[:1].lower() + text[1:]
