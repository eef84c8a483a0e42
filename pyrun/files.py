"""Paths as text, and the small files of procfs, cgroupfs and sysfs."""

import posix


def clean(path):
    """The path (str, from / on) without `.`, `..` and doubled slashes. `..` stops at the top; symbolic links are not looked at."""
    names = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/" + "/".join(names)


def read_line(path):
    """The content (bytes) of a small file of the kernel's, which comes with one read; OSError as posix gives it."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)
    finally:
        posix.close(fd)


def write(path, *texts):
    """Writes texts (str) to a file of the kernel's, each with one write(2), as it wants them. OSError as posix gives it."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        for text in texts:
            posix.write(fd, text.encode())
    finally:
        posix.close(fd)


def make_tree(path, mode):
    """Makes a directory, and those above it that are missing (mkdir -p). OSError as posix gives it."""
    try:
        _make_directory(path, mode)
    except FileNotFoundError:
        parent = path.rstrip("/").rpartition("/")[0]
        if not parent:
            raise
        make_tree(parent, mode)
        _make_directory(path, mode)


def _make_directory(path, mode):
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        pass


def find_program(name, path):
    """The first executable file of that name (str) in a list like $PATH (bytes); None where there is none."""
    for directory in path.decode("utf-8", "surrogateescape").split(":"):
        if directory[:1] == "/" and posix.access(f"{directory}/{name}", posix.X_OK):
            return f"{directory}/{name}"
    return None
