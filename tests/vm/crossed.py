"""The executable for another machine, as it runs here in qemu's emulator of processes. worlds.py calls this file by its name."""

import json
import re
import subprocess

import pytest
from harness import PROJECT

BUILD = PROJECT / "build/arm64"


def call(*words, code=0, **options):
    done = subprocess.run(["qemu-aarch64", BUILD / "pyrun", *words], capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_version():
    assert call("--version").startswith("pyrun version ")


def test_features():
    features = json.loads(call("features"))
    assert features["ociVersionMax"] == "1.3.0"
    assert "SCMP_ARCH_AARCH64" in features["linux"]["seccomp"]["archs"]
    assert features["annotations"]["org.pyrun.start"] == "image"


def test_a_config_is_written_and_valid(tmp_path):
    call("spec", cwd=tmp_path)
    (tmp_path / "rootfs").mkdir()
    assert json.loads((tmp_path / "config.json").read_text())["ociVersion"]
    assert "is valid, but will not run on this host" in call("validate", code=2, cwd=tmp_path)  # its root file system is empty


def test_help():
    assert "pyrun run - create, start" in call("run", "--help")


@pytest.mark.parametrize("page", [0x1000, 0x4000, 0x10000])
def test_its_segments_can_be_mapped_with_pages_of(page):
    """Each begins on pages of its own, at a place of the file that lies on its page as the address does."""
    headers = subprocess.run(["readelf", "-lW", BUILD / "pyrun"], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = re.findall(r"^  (LOAD|GNU_RELRO) +(\S+) (\S+) \S+ \S+ (\S+)", headers, re.MULTILINE)
    places = [(kind, *(int(word, 16) for word in words)) for kind, *words in rows]
    segments = [(offset, address, size) for kind, offset, address, size in places if kind == "LOAD"]
    [end_of_relro] = [address + size for kind, _, address, size in places if kind == "GNU_RELRO"]
    assert all(offset % page == address % page for offset, address, _ in segments)
    pages = [range(address // page, (address + size - 1) // page + 1) for _, address, size in segments]
    assert pages[0][-1] < pages[1][0] and len(pages) == 2
    assert end_of_relro % page == 0
