"""Operating system, architecture and variant of an image, in Go's words, as OCI images have them."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error

# uname(2) -> architecture, and the variants that run there, the best first; '' stands for an image that names none.
MACHINES = {
    "x86_64": ("amd64", ("", "v1")),
    "aarch64": ("arm64", ("v8", "")),
    "armv7l": ("arm", ("v7", "", "v6", "v5")),
    "armv6l": ("arm", ("v6", "", "v5")),
    "i686": ("386", ("",)),
    "ppc64le": ("ppc64le", ("",)),
    "riscv64": ("riscv64", ("",)),
    "s390x": ("s390x", ("",)),
    "loongarch64": ("loong64", ("",)),
}


class Wanted:
    """The platform that an image shall be for. words: os/architecture[/variant], None for this machine's."""

    def __init__(self, words: str | None) -> None:
        if words is None:
            machine = posix.uname().machine
            self.os, (self.architecture, self.variants) = "linux", MACHINES.get(machine, (machine, ("",)))
            self.text = f"linux/{self.architecture}"
            return
        parts = words.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise Error(f'invalid platform "{words}": it is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as linux/arm64')
        self.os, self.architecture = parts[:2]
        self.variants = tuple(parts[2:]) or next((variants for name, variants in MACHINES.values() if name == self.architecture), ("",))
        self.text = words

    def rank(self, platform: tuple[str, str, str]) -> int | None:
        """How well an image's platform fits, 0 is best; None where it does not."""
        os, architecture, variant = platform
        if (os, architecture) != (self.os, self.architecture) or variant not in self.variants:
            return None
        return self.variants.index(variant)


def shown(platform: tuple[str, str, str]) -> str:
    return "/".join(part for part in platform if part)
