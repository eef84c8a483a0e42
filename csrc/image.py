"""Turns the seed into the binary: runs it once, and puts the memory it writes in the place of its data segment (csrc/image.h)."""

from __future__ import annotations

import array
import fcntl
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from target import TARGET

# The fields of struct Elf64_Phdr and Elf64_Shdr, and some of their values (elf.h).
SEGMENT, SECTION = "<IIQQQQQQ", "<IIQQQQIIQQ"
PT_LOAD, SHT_PROGBITS, SHT_NOBITS, SHF_ALLOC = 1, 1, 8, 2
# Of the seed's file, as its memory map has it.
NAME = "pyrun-seed"


def make(seed: Path, modules: Path, target: Path) -> None:
    """Writes the executable `target` made from `seed`. modules: what csrc/modules.py has made."""
    elf = bytearray(seed.read_bytes())
    start = symbol(seed, "image_start")
    image, maps = run(seed, modules)
    if suspects := foreign(seed, image, maps):
        moved, _ = run(seed, modules, moved=True)
        if bad := [f"{start + place:#x}: {name}" for place, name in suspects if image[place:place + 8] != moved[place:place + 8]]:
            raise SystemExit(f"build: the image of {seed} points out of itself:\n" + "\n".join(bad[:40]))
    fresh = target.with_name(target.name + ".new")
    fresh.write_bytes(insert(elf, image, start))
    fresh.chmod(0o755)
    fresh.rename(target)


def insert(elf: bytearray, image: bytearray, start: int) -> bytes:
    """The executable with the image as the content of the segment that begins at `start`."""
    end = start + len(image)
    for header in headers(elf, 32, 54):
        kind, _, offset, address, _, size, _, _ = struct.unpack_from(SEGMENT, elf, header)
        if kind == PT_LOAD and address <= start < address + max(size, 1):
            before, after = offset + start - address, offset + size
            struct.pack_into("<QQ", elf, header + 32, end - address, end - address)  # p_filesz, p_memsz
    moved = -(after - before - len(image)) + 63 & -64  # what follows in the file are sections that are not loaded
    for header in headers(elf, 40, 58):
        name, kind, flags, address, offset, size, *rest = struct.unpack_from(SECTION, elf, header)
        if offset >= after and not flags & SHF_ALLOC:
            offset += moved
        if kind == SHT_NOBITS and flags & SHF_ALLOC and address >= start:
            offset = before + address - start
            if address + size < end:  # .image, until here without content in the file
                kind, size = SHT_PROGBITS, end - address
            else:  # .memory: nothing is left of it
                address, offset, size = end, before + len(image), 0
        struct.pack_into(SECTION, elf, header, name, kind, flags, address, offset, size, *rest)
    struct.pack_into("<Q", elf, 40, struct.unpack_from("<Q", elf, 40)[0] + moved)
    return bytes(elf[:before] + image).ljust(after + moved, b"\0") + elf[after:]


def headers(elf: bytearray, place: int, counts: int) -> range:
    """Where the headers of the segments or of the sections are, by the places of e_phoff and e_phentsize, or e_shoff and e_shentsize."""
    first, = struct.unpack_from("<Q", elf, place)
    size, count = struct.unpack_from("<HH", elf, counts)
    return range(first, first + size * count, size)


def run(seed: Path, modules: Path, *, moved: bool = False) -> tuple[bytearray, str]:
    """What the seed writes, and its memory map. moved: its stack, and all that it maps, lie at other addresses than usual."""
    # ASLR is switched off to make the image reproducible. Where that is not allowed, the image differs but is correct.
    fixed = ["setarch", "-R"]
    if subprocess.run([*fixed, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        fixed = []
    # mmap_threshold=0: libc's own blocks get high addresses, which foreign() cannot confuse with ordinary numbers.
    # TZ: the image must not depend on the time zone of the build machine.
    environment = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=0", "TZ": "UTC0"}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    # From a file without a path: Python asks for that while it starts, and its length would leave traces in the image.
    memory = os.memfd_create(NAME)
    os.write(memory, seed.read_bytes())
    file = fcntl.fcntl(memory, fcntl.F_DUPFD, 100)
    os.close(memory)
    command = [*fixed, *TARGET.emulator, f"/proc/self/fd/{file}", "--write-image", modules.name, "-" * (1 << 16) if moved else "-"]
    if moved:  # the stack begins with these words; what is mapped lies below the largest stack that is allowed or, in qemu, above the stack
        command = ["prlimit", "--stack=536870912:", *command]
    process = subprocess.Popen(command, cwd=modules.parent, env=environment, pass_fds=[file], **pipes)
    os.close(file)
    assert process.stdin and process.stdout
    image = bytearray()
    while part := os.read(process.stdout.fileno(), 1 << 20):
        image += part
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    process.stdin.close()
    if process.wait():
        raise SystemExit(f"build: {seed} ended with {process.returncode}")
    return image, maps


def symbol(elf: Path, name: str) -> int:
    """The address of a symbol."""
    lines = subprocess.run([f"{TARGET.prefix}nm", elf], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(f" {name}"))


def foreign(seed: Path, image: bytearray, maps: str) -> list[tuple[int, str]]:
    """Places in the image that could hold an address outside it (libc, heap, stack), wrong in the next process."""
    end, ranges = symbol(seed, "image_memory_end"), []
    for line in maps.splitlines():
        bounds, _, _, _, _, *name = line.split(maxsplit=5)
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        # Its own are the file's, and what has no name because the file has no content for it: what is zero in the seed.
        if not (name[0].startswith(f"/memfd:{NAME}") if name else low < end):
            ranges.append((low, high, "".join(name) or "memory without a name"))
    lowest = min(low for low, _, _ in ranges)
    found = []
    for index, word in enumerate(array.array("Q", bytes(image[:len(image) & -8]))):
        if word >= lowest:
            found += [(index * 8, f"{word:#x} in {name}") for low, high, name in ranges if low <= word < high]
    return found
