"""Turns the seed into the binary: runs it once, and puts the memory it writes in the place of its data segment (csrc/image.h)."""

from __future__ import annotations

import array
import os
import struct
import subprocess
from pathlib import Path

PT_LOAD, PF_W = 1, 2
PAGE = 4096
# The seed is no PIE: the kernel loads it below this address. libc, the heap and the stack are above.
LOWEST_FOREIGN = 0x10000000


def make(seed: Path, target: Path) -> None:
    """Writes the executable `target` made from `seed`."""
    elf = bytearray(seed.read_bytes())
    header, offset, address, _, memory_size = data_segment(elf)
    start = data_start(seed)
    image, maps = run(seed)
    if len(image) > address + memory_size - start:
        raise SystemExit("build: the seed's data segment is not one piece")
    clear_copies(seed, image, start)
    refuse_foreign(seed, image, start, maps)

    # The whole segment is written to the end of the file. What precedes __data_start (.got, .dynamic) is kept from the seed.
    segment = elf[offset:offset + start - address] + image
    fresh_offset = (len(elf) + PAGE - 1 & -PAGE) + address % PAGE
    elf += bytes(fresh_offset - len(elf)) + segment
    struct.pack_into("<Q", elf, header + 8, fresh_offset)
    struct.pack_into("<Q", elf, header + 32, len(segment))    # p_filesz; p_memsz is unchanged, the kernel zeroes the rest
    fresh = target.with_name(target.name + ".new")
    fresh.write_bytes(elf)
    fresh.chmod(0o755)
    fresh.rename(target)


def run(seed: Path) -> tuple[bytearray, str]:
    """What the seed writes, and its memory map."""
    # ASLR is switched off to make the image reproducible. Where that is not allowed, the image differs but is correct.
    fixed = ["setarch", "-R"]
    if subprocess.run([*fixed, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        fixed = []
    # mmap_threshold=0: libc's own blocks get high addresses, which refuse_foreign() cannot confuse with ordinary numbers.
    # TZ: the image must not depend on the time zone of the build machine.
    environment = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=0", "TZ": "UTC0"}
    process = subprocess.Popen([*fixed, seed], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0)
    assert process.stdin and process.stdout
    image = bytearray()
    while part := os.read(process.stdout.fileno(), 1 << 20):
        image += part
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    process.stdin.close()
    if process.wait():
        raise SystemExit(f"build: {seed} ended with {process.returncode}")
    return image, maps


def data_start(seed: Path) -> int:
    """The address at which the variables of the program begin."""
    lines = subprocess.run(["nm", seed], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(" __data_start"))


def data_segment(elf: bytes | bytearray) -> tuple[int, int, int, int, int]:
    """The program header of the writable segment: (offset of the header in the file, p_offset, p_vaddr, p_filesz, p_memsz)."""
    place, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for header in range(place, place + size * count, size):
        kind, flags, offset, address, _, file_size, memory_size, _ = struct.unpack_from("<IIQQQQQQ", elf, header)
        if kind == PT_LOAD and flags & PF_W:
            return header, offset, address, file_size, memory_size
    raise SystemExit("build: the seed has no data segment")


def clear_copies(seed: Path, image: bytearray, start: int) -> None:
    """Zeroes the copies of libc's variables (stderr, environ …; R_X86_64_COPY): the dynamic linker fills them at each start."""
    for line in subprocess.run(["readelf", "-rW", seed], check=True, capture_output=True, text=True).stdout.splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == "R_X86_64_COPY":
            place = int(words[0], 16) - start
            image[place:place + 8] = bytes(8)


def refuse_foreign(seed: Path, image: bytearray, start: int, maps: str) -> None:
    """Stops the build if a word of the image could be an address outside it (libc, heap, stack), wrong in the next process."""
    ranges = []
    for line in maps.splitlines():
        low, high = (int(bound, 16) for bound in line.split()[0].split("-"))
        if low >= LOWEST_FOREIGN:
            ranges.append((low, high, line.split()[-1]))
    lowest = min(low for low, _, _ in ranges)
    bad = []
    for index, word in enumerate(array.array("Q", bytes(image[:len(image) & -8]))):
        if word >= lowest:
            bad += [f"{start + index * 8:#x}: {word:#x} in {name}" for low, high, name in ranges if low <= word < high]
    if bad:
        raise SystemExit(f"build: the image of {seed} points out of itself:\n" + "\n".join(bad[:40]))
