"""Makes build/pyrun.cdx.json: what the executable is made of, with versions and licenses, as CycloneDX has it (an SBOM).

What is listed is what is found in the executable. Versions are those of the packages that the build took.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import uuid
from pathlib import Path

from target import TARGET

EXECUTABLE = TARGET.build / "pyrun"
LICENSE = "Apache-2.0"


def python() -> str:
    return platform.python_version()


def package(name: str) -> str | None:
    """The version of a Python package of the build's environment."""
    return importlib.metadata.version(name)


def library(name: str) -> str | None:
    """The version of a C library that pkg-config(1) knows; None where it has no file there."""
    for directory in (f"usr/lib/{TARGET.config.get('MULTIARCH')}", "usr/lib64", "usr/lib", "usr/share"):
        path = Path(f"{TARGET.sysroot}/{directory}/pkgconfig/{name}.pc")
        if path.exists() and (found := re.search(r"^Version: *(\S+)", path.read_text(), re.MULTILINE)):
            return found[1]
    return None


def glibc(_: str) -> str | None:
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] or None


def musl(_: str) -> str | None:
    """What musl's dynamic linker says, which is of the same package as the static library."""
    for path in Path("/usr/lib").glob("*-linux-musl/libc.so"):
        said = subprocess.run([path], capture_output=True, text=True, check=False).stderr
        if found := re.search(r"^Version (\S+)", said, re.MULTILINE):
            return found[1]
    return None


# Name -> (license, what has the version, a text that the executable has if this is in it, what of this list it needs). A C library
# without a text of its own is known by that of its only user.
COMPONENTS = {
    "cpython": ("PSF-2.0", lambda _: python(), python(), ("zlib",)),
    "cffi": ("MIT", package, "_cffi_backend", ("libffi",)),
    "click": ("BSD-3-Clause", package, "click/core.py", ()),
    "jsonschema": ("MIT", package, "jsonschema/validators.py", ("attrs", "pyrsistent")),
    "attrs": ("MIT", package, "attr/_make.py", ()),
    "pyrsistent": ("MIT", package, "pyrsistent/_pmap.py", ()),
    "python-ptrace": ("GPL-2.0-only", package, "ptrace/debugger/process.py", ()),
    "libseccomp": ("LGPL-2.1-only", library, "native_seccomp_version", ()),
    "libffi": ("MIT", library, "_cffi_backend", ()),
    "zlib": ("Zlib", library, "crc32", ()),
    "zstd": ("BSD-3-Clause", lambda _: library("libzstd"), "native_zstd_begin", ()),
    "glibc": ("LGPL-2.1-or-later", glibc, "Fatal glibc error", ()),
    "musl": ("MIT", musl, "", ()),
}
PYPI = {"cffi", "click", "jsonschema", "attrs", "pyrsistent", "python-ptrace"}


def component(name: str) -> dict:
    license, version_of = COMPONENTS[name][:2]
    version = version_of(name)
    purl = f"pkg:{'pypi' if name in PYPI else 'generic'}/{name}" + (f"@{version}" if version else "")
    entry = {"type": "library", "bom-ref": name, "name": name, "purl": purl, "licenses": [{"license": {"id": license}}]}
    return entry | ({"version": version} if version else {})


def bom(version: str) -> dict:
    """version: pyrun's."""
    content = EXECUTABLE.read_bytes()
    names = [name for name, (_, _, mark, _) in COMPONENTS.items() if mark.encode() in content]
    digest = hashlib.sha256(content).hexdigest()
    needed = {name for *_, needs in COMPONENTS.values() for name in needs}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # Of the executable's bytes: two builds that are the same have one list.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": "pyrun", "name": "pyrun", "version": version,
                "licenses": [{"license": {"id": LICENSE}}], "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": [component(name) for name in names],
        "dependencies": [
            {"ref": "pyrun", "dependsOn": [name for name in names if name not in needed]},
            *({"ref": name, "dependsOn": [other for other in COMPONENTS[name][3] if other in names]} for name in names),
        ],
    }  # fmt: skip


def write(version: str) -> Path:
    target = TARGET.build / "pyrun.cdx.json"
    target.write_text(json.dumps(bom(version), indent=2) + "\n")
    return target
