"""Builds the standalone binary, build/pyrun: libpython, the hot modules (frozen), the extensions and the archive in one executable."""

from __future__ import annotations

import ast
import marshal
import shutil
import sys
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any

import archive
import image
from build import BUILD, CFLAGS, CSRC, JSON, ROOT, SOURCES, build_init, init_source, native_source, run, stale

# Modules of pyrun that import slow parts of the standard library or other packages: they go to the archive.
COLD = ["cli/declaration", "cli/options", "config/schemas", "config/validate"]
# Frozen beside the hot modules: Python's core needs UTF-8 before the archive is opened.
CODECS = ["encodings", "encodings.aliases", "encodings.utf_8"]
# No PIE: the image (csrc/image.h) lies at fixed addresses.
LDFLAGS = ["-no-pie", "-Wl,-z,lazy,-z,relro,-z,noexecstack,-O1,--gc-sections,--build-id=none,--hash-style=gnu",
           *(f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "free", "_Py_Deepfreeze_Init"))]
LIBRARIES = ["-Wl,-Bstatic", "-lseccomp", "-lffi", "-lexpat", "-lz", "-Wl,-Bdynamic", "-lm", "-ldl"]


def build_binary() -> None:
    target, seed = BUILD / "pyrun", BUILD / "seed"
    python = sorted((ROOT / "pyrun").rglob("*.py"))
    own = [CSRC / name for name in ("main.c", "image.c", "modules.c")]
    sources = [*SOURCES, *JSON, *own, native_source(), init_source(build_init()), cffi_source()]
    if not stale(target, [*python, *CSRC.glob("*.h"), *sources, *(ROOT / "specs").glob("*.json"), CSRC / "requirements.txt"]):
        return
    cold = [f"pyrun.{name.replace('/', '.')}" for name in COLD]
    frozen = freeze(cold)
    shared = archive.make(ROOT, cold, BUILD / "archive.bin")
    (BUILD / "archive.s").write_text(incbin("archive", BUILD / "archive.bin"))
    objects = [compile_c(source) for source in [*sources, frozen, BUILD / "archive.s"]]
    exported = write_exports(shared, BUILD / "exports.list")
    run("gcc", *LDFLAGS, f"-Wl,--dynamic-list={exported}", "-o", seed, *objects, library(), *LIBRARIES)
    image.make(seed, target)


def library() -> Path:
    """libpython.a. Debian compiles it without -fPIE, so only an executable that is no PIE can link it."""
    path = Path(sysconfig.get_config_var("LIBPL")) / sysconfig.get_config_var("LIBRARY")
    if not path.exists():
        sys.exit(f"build: {path} is missing: apt-get install libpython3-dev")
    return path


def cffi_source() -> Path:
    """_cffi_backend.c of cffi's source distribution, the version that the environment has too."""
    requirement = next(line for line in (CSRC / "requirements.txt").read_text().split() if line.startswith("cffi=="))
    name = requirement.replace("==", "-")
    if not (BUILD / name).exists():
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--timeout", "15"]
        run(*download, "--no-deps", "--no-binary", "cffi", "-d", BUILD, requirement)
        shutil.unpack_archive(BUILD / f"{name}.tar.gz", BUILD)
    return BUILD / name / "src/c/_cffi_backend.c"


def compile_c(source: Path) -> Path:
    """The object file of a C or assembler source."""
    target = BUILD / f"{source.stem}.o"
    if stale(target, [source, *CSRC.glob("*.h")]) or source.suffix == ".s":
        run("gcc", *CFLAGS, "-fno-pie", "-fno-pic", "-ffunction-sections", "-fdata-sections", "-w" if "cffi" in source.name else "-Wall",
            "-DFFI_BUILDING=1", "-DUSE__THREAD", "-DHAVE_SYNC_SYNCHRONIZE", "-I", sysconfig.get_path("include"), "-iquote", CSRC,
            "-c", source, "-o", target)
    return target


def incbin(name: str, path: Path) -> str:
    """Assembler source of `const char NAME[], NAME_end[]` with the content of a file."""
    return (f'.section .lrodata,"a",@progbits\n.balign 64\n.global {name}, {name}_end\n{name}:\n.incbin "{path}"\n{name}_end:\n.byte 0\n'
            '.section .note.GNU-stack,"",@progbits\n')


# The marshalled code is read only when the image is made. In a section of its own (.lrodata), its pages do not lie between those
# that every start reads.
FROZEN_HEAD = """#include <Python.h>
#define FROZEN static const unsigned char __attribute__((section(".lrodata")))
"""


def freeze(cold: list[str]) -> Path:
    """C source of frozen_modules[]: every module of pyrun that is not cold."""
    modules = [(name, Path(sysconfig.get_path("stdlib")) / f"{name.replace('.', '/')}.py") for name in CODECS]
    modules[0] = ("encodings", Path(sysconfig.get_path("stdlib")) / "encodings/__init__.py")
    for path in sorted((ROOT / "pyrun").rglob("*.py")):
        words = path.relative_to(ROOT).with_suffix("").parts
        modules.append((".".join(words[:-1] if words[-1] == "__init__" else words), path))
    arrays, rows = [], []
    for index, (name, path) in enumerate(module for module in modules if module[0] not in cold):
        code = marshal.dumps(compile_hot(path))
        arrays.append(f"FROZEN code{index}[] = {{{','.join(map(str, code))}}};\n")
        rows.append(f'    {{"{name}", code{index}, {len(code)}, {int(path.stem == "__init__")}, 0}},\n')
    target = BUILD / "frozen.c"
    target.write_text(f"{FROZEN_HEAD}{''.join(arrays)}const struct _frozen frozen_modules[] = {{\n{''.join(rows)}    {{0}}\n}};\n")
    return target


def compile_hot(path: Path) -> CodeType:
    """The code of a module without what nobody reads in the binary: docstrings, annotations and what these alone import."""
    tree = Bare().visit(ast.parse(path.read_bytes()))
    file = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return compile(ast.fix_missing_locations(tree), str(file), "exec", dont_inherit=True)


class Bare(ast.NodeTransformer):
    """A module without docstrings and annotations."""

    def visit_body(self, node: Any) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_body(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)


def write_exports(shared: list[Path], target: Path) -> Path:
    """A list, for the linker, of the symbols that the shared objects of the archive want from the executable."""
    names = set()
    for path in shared:
        lines = run("nm", "-D", "--undefined-only", path, capture_output=True, text=True).stdout.splitlines()
        names |= {line.split()[-1].partition("@")[0] for line in lines if "@" not in line}
    target.write_text("{\n" + "".join(f"    {name};\n" for name in sorted(names)) + "};\n")
    return target


if __name__ == "__main__":
    build_binary()
