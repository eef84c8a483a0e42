"""Makes what is published: tarball and wheel of the executable, and the wheel and source archive that pip asks for (PEP 517).

    python csrc/package.py tarball   dist/pyrun-VERSION-linux-ARCH.tar.gz, its SBOM and their checksums
    python csrc/package.py wheel     dist/pyrun-VERSION-py3-none-….whl: the executable for any Python
    python csrc/package.py sbom      the SBOM alone, build/pyrun.cdx.json

A wheel's script is the executable itself, so an installed pyrun starts as quickly as a copied one. The wheel that pip asks for
has beside it the sources with their extension modules, for `python -m pyrun`. Archives of the same tree are the same to the byte.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import sbom
from target import ROOT, TARGET

DIST = ROOT / "dist"
DOCUMENTS = ROOT / "build"  # the same for every architecture
PYTHON = ROOT / ".venv/bin/python"
SOURCES = [
    ".ci", ".github", "pyrun", "csrc", "specs", "tests", "bundles", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
    "LICENSE", "pyproject.toml",
]
LICENSES = ["LICENSE", "csrc/debian/copyright"]  # of pyrun, and of what the executable has in it
# All files get one date, so that archives are reproducible: the earliest that a zip file can store.
LONG_AGO = (1980, 1, 1, 0, 0, 0)
EPOCH = 315532800


def version() -> str:
    text = (ROOT / "pyrun/__init__.py").read_text()
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("__version__"))


def bill() -> Path:
    """The SBOM of the executable."""
    return sbom.write(version())


def make(*targets: str) -> None:
    """Runs make with its output on stderr, which pip shows. pip sets PYTHONPATH for its build isolation; make's Python must not get it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["make", "-C", ROOT, *targets], check=True, stdout=sys.stderr, env=environment)


# --- tar -------------------------------------------------------------------------------------------------------------------


def write_tar(target: Path, files: dict[str, Path]) -> None:
    """A .tar.gz of files, by their names in it, with fixed dates and owners, so that the same files give the same bytes."""
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mtime = EPOCH
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            if path.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(entry)
                continue
            entry.size = path.stat().st_size
            with path.open("rb") as source:
                archive.addfile(entry, source)


def tarball() -> Path:
    """The tarball of the binary and what belongs to it and, beside it, the SBOM and a file for `sha256sum -c`."""
    DIST.mkdir(exist_ok=True)
    name = f"pyrun-{version()}-linux-{TARGET.machine}"
    components = bill()
    files = {path.name: path for path in (sbom.EXECUTABLE, components, *(ROOT / name for name in ("README.md", "CHANGELOG.md", "LICENSE")))}
    files["COPYRIGHT"] = ROOT / "csrc/debian/copyright"
    for made in ("man", "completions", "engines"):
        files |= {str(path.relative_to(DOCUMENTS)): path for path in (DOCUMENTS / made).rglob("*") if path.is_file()}
    target = DIST / f"{name}.tar.gz"
    write_tar(target, {f"{name}/{inside}": path for inside, path in files.items()})
    beside = DIST / f"{name}.cdx.json"
    beside.write_bytes(components.read_bytes())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (target, beside)]
    target.with_name(f"{target.name}.sha256").write_text("".join(sums))
    return target


def tracked() -> dict[str, Path]:
    """The source files, by their names: those that git tracks; without git, all files that are not made by a build."""
    listed = subprocess.run(["git", "ls-files", "-z", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.rstrip("\0").split("\0")
        return {name: ROOT / name for name in names if (ROOT / name).exists()}
    found = [path for top in SOURCES for path in (ROOT / top, *(ROOT / top).rglob("*"))]
    kept = [path for path in found if (path.is_file() or path.is_symlink()) and path.suffix != ".so" and "__pycache__" not in path.parts]
    return {str(path.relative_to(ROOT)): path for path in kept}


# --- wheel -----------------------------------------------------------------------------------------------------------------


def tag() -> str:
    """The wheel's tag: of the Python that its extension modules were built for."""
    code = "import sysconfig as s, sys; print('cp%d%d' % sys.version_info[:2], s.get_platform().replace('-', '_'))"
    python, system = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return f"{python}-{python}-{system}"


def metadata(*, executable_alone: bool = False) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = ["Metadata-Version: 2.4", f"Name: {project['name']}", f"Version: {version()}", f"Summary: {project['description']}",
             f"License-Expression: {sbom.LICENSE}", *(f"License-File: {path}" for path in LICENSES)]
    if not executable_alone:
        lines += [f"Requires-Python: {project['requires-python']}"]
        for extra, wanted in project["optional-dependencies"].items():
            lines += [f"Provides-Extra: {extra}", *(f'Requires-Dist: {one}; extra == "{extra}"' for one in wanted)]
    lines += ["Description-Content-Type: text/markdown", "", (ROOT / "README.md").read_text()]
    return "\n".join(lines)


class Wheel:
    """A wheel under construction."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record: list[str] = []

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        entry = zipfile.ZipInfo(name, LONG_AGO)
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self.archive.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(data)}")

    def close(self, information: str, *tags: str) -> None:
        """information: the text of METADATA."""
        info = f"pyrun-{version()}.dist-info"
        self.add(f"pyrun-{version()}.data/scripts/pyrun", sbom.EXECUTABLE.read_bytes(), 0o755)
        for path in LICENSES:
            self.add(f"{info}/licenses/{path}", (ROOT / path).read_bytes())
        self.add(f"{info}/METADATA", information.encode())
        kind = ["Wheel-Version: 1.0", "Generator: pyrun", "Root-Is-Purelib: false", *(f"Tag: {tag}" for tag in tags), ""]
        self.add(f"{info}/WHEEL", "\n".join(kind).encode())
        self.archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", LONG_AGO), "\n".join([*self.record, f"{info}/RECORD,,", ""]))
        self.archive.close()


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    make("ext", "build")
    name = f"pyrun-{version()}-{tag()}.whl"
    wheel = Wheel(Path(wheel_directory) / name)
    for path in sorted((ROOT / "pyrun").rglob("*")):
        if path.suffix in (".py", ".so"):
            wheel.add(str(path.relative_to(ROOT)), path.read_bytes())
    for path in sorted((ROOT / "specs").glob("*.json")):
        wheel.add(f"pyrun/specs/{path.name}", path.read_bytes())
    wheel.close(metadata(), tag())
    return name


def executable_wheel() -> Path:
    """The wheel of the executable and its manual pages, for any Python of a Linux of this architecture.

    A static executable asks less than each of these platforms promises: neither glibc's nor musl's version concerns it.
    """
    systems = [f"{name}_{TARGET.machine}" for name in ("manylinux_2_17", "manylinux2014", "musllinux_1_1")]
    target = DIST / f"pyrun-{version()}-py3-none-{'.'.join(systems)}.whl"
    DIST.mkdir(exist_ok=True)
    wheel = Wheel(target)
    for page in sorted((DOCUMENTS / "man").iterdir()):
        wheel.add(f"pyrun-{version()}.data/data/share/man/man8/{page.name}", page.read_bytes())
    wheel.add(f"pyrun-{version()}.dist-info/sboms/pyrun.cdx.json", bill().read_bytes())
    wheel.close(metadata(executable_alone=True), *(f"py3-none-{system}" for system in systems))
    return target


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    name = f"pyrun-{version()}"
    information = Path(sdist_directory) / "PKG-INFO"
    information.write_text(metadata())
    files = {f"{name}/{path}": source for path, source in tracked().items()}
    write_tar(Path(sdist_directory) / f"{name}.tar.gz", files | {f"{name}/PKG-INFO": information})
    information.unlink()
    return f"{name}.tar.gz"


if __name__ == "__main__":
    print({"tarball": tarball, "wheel": executable_wheel, "sbom": bill}[sys.argv[1]]())
