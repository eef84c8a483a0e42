"""Makes the archive of the standalone binary: the cold modules, what they need of the standard library, and data files.

pyrun/base/archive.py reads it and describes its layout.
"""

from __future__ import annotations

import marshal
import modulefinder
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Left out of the archive: modules that some carried module imports inside a function that is never called here.
EXCLUDED = """
    asyncio concurrent ctypes.test curses distutils doctest ensurepip idlelib lib2to3 multiprocessing pdb pydoc pydoc_data readline
    sqlite3 test tkinter turtledemo unittest venv xmlrpc _aix_support _osx_support _bootsubprocess
    jsonschema.tests jsonschema.benchmarks jsonschema.cli click.testing pvectorc attr._typing_compat
""".split()
# Encodings are looked up by name at run time, so modulefinder does not see them.
ENCODINGS = "aliases ascii idna latin_1 punycode raw_unicode_escape unicode_escape utf_8 utf_8_sig utf_16 utf_32".split()
# Extension modules that are shared objects in Debian's Python. Others (_ssl, _bz2 …) need libraries that are not carried;
# those of csrc/modules.c are built in.
EXTENSIONS = ["_ctypes", "_json", "_queue", "mmap", "resource", "termios"]
# What is carried whether or not a cold module imports it by name.
PACKAGES = ["jsonschema", "ptrace.debugger", "ptrace.syscall", "traceback"]
# The packages that may be taken from site-packages. Whatever else is installed there must not change what is built.
SITE = {"attr", "attrs", "click", "jsonschema", "ptrace", "pyrsistent", "_pyrsistent_version"}
# Data files of packages: jsonschema reads its metaschemas.
DATA = ["jsonschema/schemas/**/*"]
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|ld-linux.*)\.so\.\d+")


def make(root: Path, cold: list[str], target: Path) -> list[Path]:
    """Writes the archive. root: the checkout. cold: names of the cold modules of pyrun. Returns the paths of the shared objects."""
    contents, position = [], 0

    def place(data: bytes) -> tuple[int, int]:
        nonlocal position
        start, position = position, position + len(data)
        contents.append(data)
        return start, position

    site, dynload = Path(sysconfig.get_path("platlib")), Path(sysconfig.get_path("stdlib")) / "lib-dynload"
    modules = {}
    for name, path, is_package in find(root, site, dynload, cold):
        file = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
        modules[name] = (file, is_package, *place(marshal.dumps(compile(path.read_bytes(), file, "exec", dont_inherit=True))))

    extensions, files, shared = {}, {}, []
    for name in EXTENSIONS:
        path = dynload / (name + sysconfig.get_config_var("EXT_SUFFIX"))
        libraries = needed(path)
        extensions[name] = (path.name, [library.name for library in libraries])
        shared += [path, *libraries]
    files |= {path.name: place(path.read_bytes()) for path in shared}
    for pattern in DATA:
        for path in sorted(path for path in site.glob(pattern) if path.is_file()):
            files[str(path.relative_to(site))] = place(path.read_bytes())
    for path in sorted((root / "specs").glob("*.json")):
        files[f"pyrun/specs/{path.name}"] = place(path.read_bytes())

    index = marshal.dumps((modules, extensions, files))
    target.write_bytes(len(index).to_bytes(8, "little") + index + b"".join(contents))
    return shared


def find(root: Path, site: Path, dynload: Path, cold: list[str]) -> Iterator[tuple[str, Path, bool]]:
    """(name, path, is_package) of every module that `cold` may import and that is Python source, sorted."""
    finder = modulefinder.ModuleFinder([str(root), str(site), str(dynload.parent), str(dynload)], excludes=EXCLUDED)
    for name in ["encodings", *(f"encodings.{name}" for name in ENCODINGS), *PACKAGES, *cold]:
        finder.import_hook(name)
    for name, module in sorted(finder.modules.items()):
        path, top = Path(getattr(module, "__file__", None) or ""), name.partition(".")[0]
        is_hot = top == "pyrun" and name not in cold and name != "pyrun"
        is_foreign = path.is_relative_to(site) and top not in SITE
        if path.suffix == ".py" and not is_hot and not is_foreign:
            yield name, path, path.name == "__init__.py"


def needed(path: Path) -> list[Path]:
    """The libraries that a shared object needs, without libc's own, which every system has."""
    found = []
    for line in subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and not SYSTEM_LIBRARIES.fullmatch(name):
            # Kept under its soname: the dynamic linker looks for that.
            found.append(Path(rest.rpartition(" (")[0]))
    return found
