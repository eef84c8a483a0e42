"""Builds the standalone binary, build/pyrun: a whole Python and all modules in one executable."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import marshal
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import image
import modules
from build import BUILD, CFLAGS, CSRC, JSON, LDFLAGS, ROOT, SOURCES, build_init, c_array, init_source, native_source, run, stale, write_if_changed
from target import TARGET

# The versions of CPython whose image is known to be sound. Of others the executable starts the ordinary way.
KNOWN = [(3, 11), (3, 12), (3, 13), (3, 14)]  # 3.14.0 lacks a call that image.c needs
# What libpython must have built in for an image: modules that cannot be loaded then.
BUILT_IN = ["_datetime", "_posixsubprocess", "_struct", "binascii", "fcntl", "math", "select", "zlib"]
# What Debian has built in, and nobody needs here. Some of it wants libraries, the names of users and hosts even libc's at run time.
NEEDLESS = ["_blake2", "_csv", "_elementtree", "_md5", "_sha1", "_sha2", "_sha256", "_sha3", "_sha512", "_socket", "grp", "pwd", "pyexpat", "spwd",
            "syslog", "xxsubtype"]
# Ours: name -> the function that makes it.
OWN = {"_cffi_backend": "PyInit__cffi_backend", "pyrun._json": "PyInit__json", "pyrun._native": "PyInit__native"}
# What Python wants before it can import by itself, and what the executable runs then.
STDLIB = Path(sysconfig.get_path("stdlib"))
FROZEN = {"encodings": STDLIB / "encodings/__init__.py", "encodings.aliases": STDLIB / "encodings/aliases.py",
          "encodings.utf_8": STDLIB / "encodings/utf_8.py", "carried": CSRC / "carried.py", "seed": CSRC / "seed.py"}
# What csrc/image.c stands before.
WRAPPED = ["malloc", "calloc", "realloc", "free", "pthread_self", "pthread_getattr_np", "pthread_key_create", "pthread_setspecific", "syscall",
           "__register_frame_info"]
LINKER = ["-Wl,-z,now,-z,relro,-z,noexecstack,-O1,--gc-sections,--build-id=none,--hash-style=gnu", *LDFLAGS]
# No PIE: the image (csrc/image.h) lies at fixed addresses.
IMAGE = ["-static", "-no-pie", "-Wl,--eh-frame-hdr", *(f"-Wl,--wrap={name}" for name in WRAPPED), *LINKER]


def build_binary() -> None:
    target = BUILD / "pyrun"
    python = sorted((ROOT / "pyrun").rglob("*.py"))
    own = [CSRC / "main.c", CSRC / "image.c"]
    sources = [*SOURCES, *JSON, native_source(), init_source(build_init()), cffi_source()]
    others = [*CSRC.glob("*.h"), CSRC / "image.ld", CSRC / "order.txt", *(ROOT / "specs").glob("*.json"), CSRC / "requirements.txt"]
    if not stale(target, [*python, *sources, *own, *others]):
        return
    modules.make(ROOT, BUILD / "modules.bin")
    library = TARGET.path("LIBPL") / TARGET.config["LIBRARY"]
    why = obstacle(library)
    if why:
        print(f"build: {why}. So build/pyrun needs {STDLIB} and its libraries, starts the ordinary way, and is slower", file=sys.stderr)
        ordinary(target, sources, library)
    else:
        table = builtin_table(library.parent / "config.c", NEEDLESS)
        link_image(BUILD / "seed", [*(compile_c(source) for source in [*sources, *own, table, freeze()]), library])
        image.make(BUILD / "seed", BUILD / "modules.bin", target)


def obstacle(library: Path) -> str:
    """Why no image can be made of this Python."""
    if sys.version_info[:2] not in KNOWN or sys.version_info[:3] == (3, 14, 0):
        return f"how Python {sys.version_info[0]}.{sys.version_info[1]} starts is not known to csrc/image.c"
    if not library.exists():
        return f"{library} is missing (Debian has it in libpython3-dev)"
    missing = [name for name in BUILT_IN if name not in built_in(library)]
    return f"{library} is without {', '.join(missing)}" if missing else ""


@functools.cache
def built_in(library: Path) -> set[str]:
    """The names of the modules in C that are in libpython.a."""
    names = run(f"{TARGET.prefix}nm", "--defined-only", library, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r" T PyInit_(\w+)$", names, re.MULTILINE))


def ordinary(target: Path, sources: list[Path], library: Path) -> None:
    """The executable without an image."""
    config = TARGET.config
    table = builtin_table(library.parent / "config.c", [])
    data = BUILD / "carried.s"
    data.write_text('.section .rodata\n.global carried_modules\ncarried_modules:\n'
                    f'.incbin "{BUILD.relative_to(ROOT)}/modules.bin"\n'
                    '.section .note.GNU-stack,"",@progbits\n')
    objects = [*(compile_c(source) for source in [*sources, table, freeze(), data]), compile_c(CSRC / "main.c", "-DORDINARY")]
    python: list[object] = [library] if library.exists() else [f"-L{TARGET.path('LIBDIR')}", f"-lpython{config['LDVERSION']}"]
    libraries = " ".join(config.get(name) or "" for name in ("MODLIBS", "LIBS", "SYSLIBS")).split()
    fresh = BUILD / "pyrun.new"
    run(*TARGET.cc, "-no-pie", "-Wl,--export-dynamic", *LINKER, "-o", fresh, *objects, *python, "-lseccomp", "-lzstd", "-lffi", *libraries, "-lm")
    fresh.rename(target)


def link_image(target: Path, objects: list[Path]) -> None:
    """Links the seed, by the linker's own script with csrc/image.ld in it."""
    script = run(*TARGET.cc, *IMAGE, "-Wl,--verbose", "-o", target, capture_output=True, text=True, check=False).stdout.split("=" * 50)[1]
    first, data, bss = re.split(r"/\* \.(?:data|bss) \*/", (CSRC / "image.ld").read_text())
    script = script.replace("SECTIONS\n{\n", f"SECTIONS\n{{\n{first}", 1)
    script = re.sub(r"^  \.data +:", lambda found: data + found[0], script, count=1, flags=re.MULTILINE)
    script = re.sub(r"^  \.bss +:.*?^  }", lambda found: bss, script, count=1, flags=re.MULTILINE | re.DOTALL)
    for name, beginning in (("text", "*(.text.unlikely "), ("rodata", "*(.rodata ")):
        script = script.replace(beginning, "\n    ".join([*first_of(name), beginning]), 1)
    own = write_if_changed(BUILD / "image.ld", script)
    command = [*TARGET.cc, *IMAGE, f"-Wl,-T,{own}", f"-Wl,-Map,{target}.map", "-o", target, *objects, "-lseccomp", "-lzstd", "-lffi", "-lz", "-lm"]
    done = run(*command, capture_output=True, text=True, check=False)
    if done.returncode:  # otherwise the linker only warns that names of users and hosts want libc's libraries: they are not asked for
        sys.exit(f"{done.stderr}build: the linker ended with {done.returncode}: {' '.join(map(str, command))}")


def first_of(section: str) -> list[str]:
    """The patterns of what the linker puts first into a section: that of the object files in csrc/order.txt. Of libpython's code only what its
    compiler has found to be hot.
    """
    found = []
    for line in (CSRC / "order.txt").read_text().splitlines():
        archive, _, names = line.partition(": ")
        if not line.startswith("#"):
            part = ".hot" if (archive, section) == ("libpython3", "text") else f" .{section}.*"
            found += [f"*{archive}*.a:{name}.o(.{section}{part})" if archive else f"*/{name}.o(.{section}{part})" for name in names.split()]
    return found


def cffi_source() -> Path:
    """_cffi_backend.c of cffi's source distribution, the version that the environment has, by csrc/requirements.txt."""
    requirements, name = CSRC / "requirements.txt", f"cffi-{importlib.metadata.version('cffi')}"
    if not (BUILD / name).exists():
        archive = Path(os.environ.get("SOURCES") or ROOT / "build/sources") / f"{name}.tar.gz"
        if not archive.exists():
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--timeout", "15", "--dest", archive.parent]
            run(*download, "--no-deps", "--no-binary", "cffi", "-r", requirements)
        if hashlib.sha256(archive.read_bytes()).hexdigest() not in requirements.read_text():
            sys.exit(f"build: {archive} is not what {requirements} pins")
        shutil.unpack_archive(archive, BUILD)
    return BUILD / name / "src/c/_cffi_backend.c"


def compile_c(source: Path, *options: str) -> Path:
    """The object file of a C or assembler source."""
    target = BUILD / f"{source.stem}{''.join(options)}.o"
    if stale(target, [source, *CSRC.glob("*.h")]):
        run(*TARGET.cc, *CFLAGS, "-fno-pie", "-fno-pic", "-ffunction-sections", "-fdata-sections", "-Wall" if source.parent == CSRC else "-w",
            "-DFFI_BUILDING=1", "-DUSE__THREAD", "-DHAVE_SYNC_SYNCHRONIZE", "-I", TARGET.path("INCLUDEPY"), "-iquote", CSRC,
            *options, "-c", source, "-o", target, cwd=ROOT)
    return target


def builtin_table(config: Path, left_out: list[str]) -> Path:
    """Python's own table of its built-in modules, with ours and without some."""
    row = re.compile(rf'^.*(PyInit_({"|".join(left_out) or "-"})\b).*\n', re.MULTILINE)
    rows = "".join(f'{{"{name}", {function}}},\n' for name, function in OWN.items())
    externs = "".join(f"extern PyObject *{function}(void);\n" for function in OWN.values())
    text = row.sub("", config.read_text()).replace("struct _inittab", f"{externs}struct _inittab").replace("/* Sentinel */", rows)
    return write_if_changed(BUILD / "config.c", text)


def freeze() -> Path:
    """C source of frozen_modules[]."""
    arrays, rows = [], []
    for index, (name, path) in enumerate(FROZEN.items()):
        code = marshal.dumps(modules.bare(path, f"{name.replace('.', '/')}.py"))
        arrays.append(c_array(f"code{index}", code))
        rows.append(f'    {{"{name}", code{index}, {len(code)}, {int(path.stem == "__init__")}}},\n')
    text = f"#include <Python.h>\n{''.join(arrays)}const struct _frozen frozen_modules[] = {{\n{''.join(rows)}    {{0}}\n}};\n"
    return write_if_changed(BUILD / "frozen.c", text)


if __name__ == "__main__":
    build_binary()
