"""Finds and loads the modules that the executable carries (csrc/modules.py makes them), and the modules in C that belong to packages."""

from __future__ import annotations

import _imp
import marshal
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

read = sys.read_carried  # type: ignore[attr-defined]  # csrc/main.c
begin = 8 + int.from_bytes(read(0, 8), "little")
hot, modules, files = marshal.loads(read(8, begin - 8))  # noqa: S302  # part of the executable


class Carried:
    """A finder and loader."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if _imp.is_builtin(name):
            return ModuleSpec(name, BuiltinImporter, origin="built-in")  # type: ignore[arg-type]
        if name not in modules:
            return None
        file, package = modules[name][:2]
        spec = ModuleSpec(name, Carried, origin=file, is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: Any) -> None:
        module.__file__, _, start, size = modules[module.__name__]
        exec(marshal.loads(read(begin + start, size)), module.__dict__)  # noqa: S102, S302  # likewise

    # --- files of packages ---

    @staticmethod
    def get_data(file: str) -> bytes:
        start, size = files[file]
        return read(begin + start, size)

    @staticmethod
    def get_resource_reader(name: str) -> Files:
        return Files(modules[name][0].rpartition("/")[0])


class Files(str):
    """A file or directory of a package, as importlib.resources wants it."""

    def files(self) -> Files:
        return self

    def joinpath(self, *names: str) -> Files:
        return Files("/".join((self, *names)))

    def iterdir(self) -> list[Files]:
        return [self.joinpath(name) for name in sorted({file[len(self) + 1 :].partition("/")[0] for file in files if file.startswith(f"{self}/")})]

    def read_text(self, encoding: str = "utf-8") -> str:
        return Carried.get_data(self).decode(encoding)


sys.meta_path.insert(2, Carried)
