"""Builds the C parts: the static init, the cffi extension that carries it, and the standalone binary.

    python csrc/build.py ext      pyrun/_native*.so beside the Python sources
    python csrc/build.py binary   build/pyrun, one executable
    python csrc/build.py types    what mypy reads of csrc/*.h; it takes no compiler
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (said before the first import that an older one would trip over)
    sys.exit(f"build: this is Python {sys.version.split()[0]} ({sys.executable}); pyrun takes 3.11 or newer")

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import native_stub
import plan_table
from target import GUARDS, ROOT, TARGET

CSRC = ROOT / "csrc"
BUILD = TARGET.build

# -ffile-prefix-map: assert() writes __FILE__ into the binary, which must not depend on the directory it was built in.
CFLAGS = ["-O2", "-g0", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fno-strict-aliasing", "-fvisibility=hidden",
          f"-ffile-prefix-map={ROOT}=.", "-fstack-protector-strong", "-fstack-clash-protection", "-D_FORTIFY_SOURCE=2",
          *GUARDS.get(TARGET.machine, [])]
# What a packager or a user wants besides.
CFLAGS += shlex.split(os.environ.get("CFLAGS", ""))
LDFLAGS = shlex.split(os.environ.get("LDFLAGS", ""))
# What `make sanitize` wants of init besides.
INIT_CFLAGS = shlex.split(os.environ.get("INIT_CFLAGS", ""))
# What Python calls: NAME.h goes to cffi, after plan.h, and NAME.c implements it.
INTERFACES = ["start", "native", "seccomp", "bpf", "trace", "unpack", "running"]
HEADERS = [CSRC / f"{name}.h" for name in ("plan", *INTERFACES)]
SOURCES = [CSRC / f"{name}.c" for name in INTERFACES]
# The module pyrun._json.
JSON = [CSRC / f"{name}.c" for name in ("json", "json_decode", "json_encode")]


def run(*command: object, **options: Any) -> subprocess.CompletedProcess:
    """Runs a command, and stops the build with its name if it fails."""
    try:
        return subprocess.run([str(word) for word in command], **{"check": True, **options})
    except FileNotFoundError:
        sys.exit(f"build: {command[0]} is missing")
    except subprocess.CalledProcessError as error:
        sys.exit(f"build: {command[0]} ended with {error.returncode}: {' '.join(map(str, command))}")


def stale(target: Path, sources: Iterable[Path]) -> bool:
    """Whether `target` is missing or older than one of `sources` or of the build's own files."""
    if not target.exists():
        return True
    made = target.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > made for source in [*sources, *CSRC.glob("*.py"), BUILD / "settings"])


def write_if_changed(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def c_array(name: str, data: bytes) -> str:
    """C source of `const unsigned char NAME[]` and `const unsigned long NAME_size` for bytes."""
    rows = (", ".join(map(str, data[i:i + 24])) for i in range(0, len(data), 24))
    return (f"extern const unsigned char {name}[];\nextern const unsigned long {name}_size;\n"
            f"const unsigned char {name}[] = {{\n" + ",\n".join(rows) + f"\n}};\nconst unsigned long {name}_size = {len(data)};\n")


# --- init --------------------------------------------------------------------------------------------------------

def build_plan_table() -> Path:
    """What is made of the ops that plan.h declares: build/plan_table.c, and the Python module of Ops."""
    target = BUILD / "plan_table.c"
    plan_table.write(cdef(CSRC / "plan.h"), target, ROOT / "pyrun/plan/_ops.py")
    return target


def build_types() -> None:
    """The module of Ops, and the stub of pyrun._native."""
    build_plan_table()
    native_stub.write([cdef(header) for header in HEADERS], ROOT / "pyrun/_native.pyi")


def build_init() -> Path:
    """The static init of csrc/init/*.c. musl makes it about 20 KB; glibc's libc.a does where musl is not installed."""
    target = BUILD / "init"
    sources = [*sorted((CSRC / "init").glob("*.c")), build_plan_table()]
    if stale(target, [*sources, *(CSRC / "init").glob("*.h"), CSRC / "plan.h"]):
        run(*TARGET.musl(), "-std=gnu11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
            "-fno-pie", "-no-pie", "-ffunction-sections", "-fdata-sections",
            "-Wl,--gc-sections,-z,noexecstack,-z,noseparate-code,-z,norelro,--build-id=none",
            "-iquote", CSRC, "-iquote", CSRC / "init", "-idirafter", f"{TARGET.sysroot}/usr/include",
            "-idirafter", f"{TARGET.sysroot}/usr/include/{TARGET.config.get('MULTIARCH')}",
            *INIT_CFLAGS, "-o", target, *sources)
    return target


def init_source(init: Path) -> Path:
    return write_if_changed(BUILD / "init_image.c", c_array("init_image", init.read_bytes()))


# --- extension ---------------------------------------------------------------------------------------------------

def cdef(header: Path) -> str:
    """A header as cffi can read it: of the preprocessor lines only `#define NAME NUMBER` stay."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    keep = re.compile(r"#\s*define\s+\w+\s+(0[xX][0-9a-fA-F]+|\d+)\s*$")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#") or keep.match(line))


def native_source() -> Path:
    """C source of the module pyrun._native, made by cffi."""
    target = BUILD / "_native.c"
    if stale(target, HEADERS):
        import cffi

        ffi = cffi.FFI()
        includes = "\n".join(f'#include "{header.name}"' for header in HEADERS)
        ffi.set_source("pyrun._native", f"#include <stddef.h>\n#include <stdint.h>\n#include <sys/types.h>\n{includes}\n")
        for header in HEADERS:
            ffi.cdef(cdef(header))
        ffi.emit_c_code(str(target))
        target.touch()
    return target


def build_extension(name: str, sources: list[Path], *libraries: str, directory: Path = ROOT / "pyrun") -> None:
    """NAME.<abi>.so in `directory`."""
    target = Path(directory) / (name + TARGET.config["EXT_SUFFIX"])
    if stale(target, [*sources, *CSRC.glob("*.h")]):
        # -iquote: csrc/seccomp.h must not hide libseccomp's <seccomp.h>.
        # Written under another name and then renamed: overwriting a file that a process has mapped would crash it.
        fresh = BUILD / target.name
        run(*TARGET.cc, *CFLAGS, "-fPIC", "-shared", "-I", TARGET.path("INCLUDEPY"), "-iquote", CSRC, "-o", fresh, *sources, *LDFLAGS, *libraries)
        shutil.move(fresh, target)


def build_extensions(directory: Path = ROOT / "pyrun") -> None:
    """The extension modules pyrun._native and pyrun._json in `directory`."""
    BUILD.mkdir(parents=True, exist_ok=True)
    build_extension("_native", [native_source(), init_source(build_init()), *SOURCES], "-lseccomp", "-lzstd", directory=directory)
    build_extension("_json", JSON, directory=directory)


# --- generated modules ---------------------------------------------------------------------------------------------

# Modules of pyrun made from others: name -> (what prints it, the sources it depends on).
GENERATED = {
    "cli/_argv_table": (["pyrun.cli.table"], ["pyrun/cli/table.py", "pyrun/cli/declaration.py", "pyrun/cli/options.py", "pyrun/cli/scan.py"]),
    "config/_checks": (["pyrun.config.schemas"], ["pyrun/config/schemas.py", *(f"specs/{path.name}" for path in (ROOT / "specs").glob("*.json"))]),
}


def build_generated() -> None:
    """The modules of GENERATED in pyrun/."""
    for name, (command, sources) in GENERATED.items():
        target = ROOT / f"pyrun/{name}.py"
        if stale(target, [ROOT / source for source in sources]):
            made = run(sys.executable, "-m", *command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            target.write_text(made.stdout)


def write_build_info() -> None:
    """pyrun/_build_info.py, for `pyrun --version`."""
    write_if_changed(ROOT / "pyrun/_build_info.py", f'COMMIT = "{commit()}"\n')


def commit() -> str:
    """The commit that the sources are of, with `-dirty` where files that it has were changed; `unknown` where this is no clone."""
    if not (ROOT / ".git").exists():
        return "unknown"  # git would find a repository that this lies in
    # `sudo make install` in the clone of another user is no danger here, and git shall not write in it.
    command = ["git", "-c", f"safe.directory={ROOT}", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here
        return "unknown"


def main(what: str) -> None:
    if TARGET.emulator:  # modules are generated by others, which run here
        run(sys.executable, __file__, "ext", env={name: value for name, value in os.environ.items() if name not in TARGET.SETTINGS})
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = os.open(ROOT / "build", os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    write_if_changed(BUILD / "settings", f"{sys.version}\n{TARGET.cc} {CFLAGS} {LDFLAGS} {INIT_CFLAGS}\n")
    build_types()
    if what == "types":
        return
    if what == "ext" or not TARGET.emulator:
        build_extensions()
    if not TARGET.emulator:
        build_generated()
        write_build_info()
    if what == "binary":
        # In a new process with a fixed hash seed: marshal's output depends on reference counts and the order of sets, and the
        # same sources must give the same bytes.
        os.set_inheritable(lock, True)
        os.execve(sys.executable, [sys.executable, str(CSRC / "binary.py")], os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    if sys.argv[1:] not in (["ext"], ["binary"], ["types"]):
        sys.exit(__doc__)
    main(sys.argv[1])
