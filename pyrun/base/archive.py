"""The importer of the standalone binary's cold part: modules and data files that lie in the executable (csrc/archive.py)."""

from __future__ import annotations

import _imp
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

from pyrun.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BytesIO, StringIO
    from types import CodeType, ModuleType
    from typing import Any

# Modules of the archive seem to lie in this directory.
ROOT = "/proc/self/exe/"
# Where the descriptors of shared objects begin: out of the way of fds that the caller passes on.
LOWEST_FD = 512


def install(standalone: Any) -> None:
    """Makes the archive part of the import system. standalone: the module pyrun._standalone."""
    archive = Archive(standalone)
    sys.meta_path.append(archive)
    # Data files of the package itself are found through its loader.
    package = sys.modules["pyrun"]
    package.__spec__ = spec = archive.module_spec("pyrun")
    package.__file__ = spec.origin
    package.__path__ = spec.submodule_search_locations or []


def new_spec(name: str, loader: Any, origin: str, is_package: bool = False) -> ModuleSpec:
    return ModuleSpec(name, loader, origin=origin, is_package=is_package)


class Archive:
    """A finder and loader. Layout: 8 bytes with the index's size, the index (marshal), the contents.

    modules: name -> (file, whether it is a package, start, end) of a code object (marshal)
    extensions: name -> (file, names of the libraries it needs)
    files: name -> (start, end)
    """

    def __init__(self, standalone: Any) -> None:
        self.standalone = standalone
        self.data = standalone.archive()
        self.base = 8 + int.from_bytes(self.data[:8], "little")
        self.modules, self.extensions, self.files = marshal.loads(self.data[8:self.base])
        self.loaded = {}

    # --- finder and loader ---

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in self.modules:
            return self.module_spec(name)
        if name in self.extensions:
            file, libraries = self.extensions[name]
            for library in libraries:
                if library not in self.loaded:
                    self.standalone.load_library(self.in_memory(library))
            return new_spec(name, self, self.in_memory(file))
        return None

    def module_spec(self, name: str) -> ModuleSpec:
        """The spec of a module that the archive has as code."""
        file, is_package, _, _ = self.modules[name]
        spec = new_spec(name, self, ROOT + file, is_package)
        if is_package:
            spec.submodule_search_locations = [f"{ROOT}{file}".rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return _imp.create_dynamic(spec) if spec.name in self.extensions else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name in self.extensions:
            _imp.exec_dynamic(module)
        else:
            module.__file__ = ROOT + self.modules[name][0]
            exec(self.get_code(name), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        _, _, start, end = self.modules[name]
        return marshal.loads(self.data[self.base + start:self.base + end])

    def is_package(self, name: str) -> bool:
        return self.modules[name][1]

    def in_memory(self, file: str) -> str:
        """A path by which the dynamic linker can open a file of the archive. The memfd stays open: a path names one library."""
        if file not in self.loaded:
            import fcntl

            fd = posix.memfd_create(file, posix.MFD_CLOEXEC)
            write_all(fd, self.get_data(ROOT + file))
            try:
                high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
                posix.close(fd)
                fd = high
            except OSError:  # RLIMIT_NOFILE is lower than that
                pass
            self.loaded[file] = f"/proc/self/fd/{fd}"
        return self.loaded[file]

    # --- data files: importlib.resources and pkgutil.get_data ---

    def get_data(self, path: str) -> bytes:
        """The content of a file. path: below a module's __file__."""
        try:
            start, end = self.files[path.removeprefix(ROOT)]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None
        return bytes(self.data[self.base + start:self.base + end])

    def get_resource_reader(self, name: str) -> Reader | None:
        return Reader(self, ROOT + self.modules[name][0].rpartition("/")[0]) if self.is_package(name) else None


class Reader:
    """What importlib.resources asks for: the directory of a package."""

    def __init__(self, archive: Archive, path: str) -> None:
        self.archive = archive
        self.path = path

    def files(self) -> Resource:
        return Resource(self.archive, self.path)


class Resource:
    """A file or directory of the archive, as importlib.resources.abc.Traversable has it."""

    def __init__(self, archive: Archive, path: str) -> None:
        self.archive = archive
        self.path = path
        self.name = path.rpartition("/")[2]

    def joinpath(self, *names: str) -> Resource:
        return Resource(self.archive, "/".join((self.path, *names)))

    __truediv__ = joinpath

    def read_bytes(self) -> bytes:
        return self.archive.get_data(self.path)

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "r", *, encoding: str = "utf-8") -> BytesIO | StringIO:
        import io

        return io.BytesIO(self.read_bytes()) if "b" in mode else io.StringIO(self.read_text(encoding))

    def is_file(self) -> bool:
        return self.path.removeprefix(ROOT) in self.archive.files

    def is_dir(self) -> bool:
        return next(self.iterdir(), None) is not None

    def iterdir(self) -> Iterator[Resource]:
        directory = self.path.removeprefix(ROOT) + "/"
        names = {name[len(directory):].partition("/")[0] for name in self.archive.files if name.startswith(directory)}
        return (self.joinpath(name) for name in sorted(names))
