"""Finds the modules that the executable carries: all of pyrun, what that may import, and what both need of the standard library."""

from __future__ import annotations

import ast
import marshal
import modulefinder
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any

# Left out: modules that some carried module imports inside a function that is never called here, or does without.
EXCLUDED = """
    argparse asyncio bz2 concurrent contextvars csv ctypes curses distutils doctest email encodings.idna encodings.mbcs ensurepip getopt gzip hashlib
    idlelib importlib.metadata lib2to3 lzma multiprocessing pdb plistlib py_compile pydoc pydoc_data quopri readline socket sqlite3 ssl
    tarfile test tkinter tracemalloc turtledemo unittest urllib.error urllib.response venv webbrowser xml xmlrpc
    _aix_support _ios_support _osx_support _bootsubprocess
    jsonschema.tests jsonschema.benchmarks jsonschema.cli click.testing click._winconsole pvectorc attr._typing_compat
    logging optparse pickle ptrace.debugger.application ptrace.debugger.child ptrace.disasm ptrace.binding.freebsd_struct
    ptrace.binding.openbsd_struct ptrace.syscall.freebsd_syscall ptrace.syscall.freebsd_constants
    ptrace.syscall.linux.i386 ptrace.syscall.linux.powerpc32 ptrace.syscall.linux.powerpc64 ptrace.syscall.linux.riscv32 ptrace.syscall.linux.riscv64
""".split()
# What carried modules import at their top, and never use here: no host is asked for a schema, no file made for a resource, no number
# is a Decimal. And what Python 3.11 has as a shared object.
INSTEAD = {"random": "", "tempfile": "TemporaryDirectory = None", "urllib.request": "urlopen = None", "decimal": "class Decimal: pass",
           "_typing": "def _idfunc(value): return value"}
# What is carried though nothing imports it by name: encodings are looked up at run time.
WANTED = ["jsonschema", "traceback", "encodings", *(f"encodings.{name}" for name in (
    "aliases ascii latin_1 punycode raw_unicode_escape unicode_escape utf_8 utf_8_sig utf_16 utf_32".split()))]
# The packages that may be taken from site-packages. Whatever else is installed there must not change what is built.
SITE = {"attr", "attrs", "click", "jsonschema", "ptrace", "pyrsistent", "_pyrsistent_version"}
DATA = "jsonschema/schemas/**/*"
# Our own files, by the beginning of their names: annotations are taken out of these alone.
OURS = ("pyrun/", "carried.py", "seed.py")
# What is imported first: it brings what each command needs, from the one that needs the least on, so that this lies together.
FIRST = ["pyrun.__main__", *(f"pyrun.commands.{name}" for name in "state kill delete start list exec create run".split())]
# Modules of pyrun that a hot command does not import. They come last into the image.
COLD = [*("pyrun.image", "pyrun.trace", "pyrun.validate"), *(f"pyrun.{package}.{name}" for package, names in {
    "base": "notice",
    "cgroup": "available blame intended",
    "cli": "completion declaration help options paint table",
    "commands": "complete plan top trace unpack",
    "config": "faults schemas",
    "container": "outline usage why",
    "host": "kernellog program rootfs screen",
    "image": "archive bundle config ids layers layout owners platform profile progress stream tar tree users",
    "plan": "describe overview",
    "trace": "attach binding bundle calls profile report structures tracer",
    "validate": "host judge limits places program report roots semantics subject trial",
}.items() for name in names.split())]


def make(root: Path, target: Path) -> None:
    """Writes the index (marshal) and, behind it, what it refers to.

    The index is (hot, modules, files): the names to import first; name -> (file, whether it is a package, start and size of its
    code); file -> start and size of its content.
    """
    site = Path(sysconfig.get_path("purelib"))
    found = {name: (path, package) for name, path, package in find(root)}
    hot = FIRST + [name for name in found if name.partition(".")[0] == "pyrun" and name not in (*FIRST, *COLD)]
    contents = bytearray()

    def place(data: bytes) -> tuple[int, int]:
        contents.extend(data)
        return len(contents) - len(data), len(data)

    modules, files = {}, {}
    for name, (path, package) in found.items():
        file = name.replace(".", "/") + ("/__init__.py" if package else ".py")
        modules[name] = (file, package, *place(marshal.dumps(bare(path, file))))
    for name, text in INSTEAD.items():
        modules[name] = (name, False, *place(marshal.dumps(compile(text, name, "exec"))))
    for path in (path for path in sorted(site.glob(DATA)) if path.is_file()):
        files[str(path.relative_to(site))] = place(path.read_bytes())
    for path in sorted((root / "specs").glob("*.json")):
        files[f"pyrun/specs/{path.name}"] = place(path.read_bytes())
    index = marshal.dumps((hot, modules, files))
    target.write_bytes(len(index).to_bytes(8, "little") + index + contents)


def find(root: Path) -> list[tuple[str, Path, bool]]:
    """(name, path, is_package) of every module that is Python source, sorted."""
    site, stdlib = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib"))
    finder = modulefinder.ModuleFinder([str(root), str(site), str(stdlib), str(stdlib / "lib-dynload")], excludes=[*EXCLUDED, *INSTEAD])
    own = [".".join(path.relative_to(root).with_suffix("").parts) for path in sorted((root / "pyrun").rglob("*.py"))]
    if not (site / "ptrace").exists():  # which is under another license: README.md
        own = [name for name in own if not name.startswith("pyrun.trace.")]
    for name in [*WANTED, *(name.removesuffix(".__init__") for name in own)]:
        finder.import_hook(name)
    result = []
    for name, module in sorted(finder.modules.items()):
        path = Path(getattr(module, "__file__", None) or "")
        foreign = path.is_relative_to(site) and name.partition(".")[0] not in SITE
        if path.suffix == ".py" and not foreign:
            result.append((name, path, path.name == "__init__.py"))
    return result


def bare(path: Path, file: str) -> CodeType:
    """The code of a module without what nobody reads in the executable: docstrings, annotations and what these alone import."""
    tree = ast.parse(path.read_bytes())
    if file.startswith(OURS):
        tree = ast.fix_missing_locations(Bare().visit(tree))
    return compile(tree, file, "exec", dont_inherit=True, optimize=2)


class Bare(ast.NodeTransformer):
    """A module without annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Assign([node.target], node.value) if node.value else ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Pass() if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse] or ast.Pass()
        return self.generic_visit(node)
