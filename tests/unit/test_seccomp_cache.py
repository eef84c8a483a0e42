"""Filters are kept: found again, never taken for another profile's, never trusted when they are not as they were written."""

import os
import time

import pytest
from seccomp_model import arg, like_dockers, profile, rule

from pyrun.base.errors import ConfigError
from pyrun.plan import seccomp


def program(profile):
    return seccomp.compile_profile(profile, None).bpf


def files(directory):
    return sorted(directory.iterdir()) if directory.exists() else []


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_filter_is_kept_and_found_again(cache):
    made = like_dockers("X86_64", "X86", "X32")
    first = seccomp.compile_profile(made, str(cache))
    (file,) = files(cache)
    assert file.stat().st_mode == 0o100600 and cache.stat().st_mode & 0o777 == 0o700
    before = file.stat()
    second = seccomp.compile_profile(made, str(cache))
    assert (second.bpf, second.flags) == (first.bpf, first.flags)
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert program(made) == first.bpf


def test_what_the_agent_gets_is_no_part_of_the_filter(cache):
    for word in "ab":
        made = profile("ALLOW", rule("NOTIFY", "mkdir"), listenerPath=f"/{word}", listenerMetadata=word)
        assert seccomp.compile_profile(made, str(cache)).notify
    assert len(files(cache)) == 1
    with pytest.raises(ConfigError):
        seccomp.compile_profile(profile("ALLOW", rule("NOTIFY", "mkdir")), str(cache))


def test_all_that_decides_a_filter_makes_another_file(cache):
    made = [
        profile("ALLOW"), profile("ERRNO"), profile("ERRNO", defaultErrnoRet=2), profile("ALLOW", archs=("X86",)), profile("ALLOW", flags=[]),
        profile("ALLOW", rule("ERRNO", "mkdir")), profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=2)),
        profile("ALLOW", rule("ERRNO", "mkdir", args=[arg(0, "EQ", 1)])),
    ]  # fmt: skip
    for one in made:
        assert seccomp.compile_profile(one, str(cache)).bpf == program(one)
    assert len(files(cache)) == len(made)


def rewrite(path, change):
    data = path.read_bytes()
    path.unlink()
    path.touch(0o600)
    path.write_bytes(change(data))


KEPT, OTHER = profile("ERRNO", rule("ALLOW", "read")), profile("ERRNO", rule("ALLOW", "open"))
DAMAGES = {
    "another profile's file": lambda path, other: rewrite(path, lambda data: other.read_bytes()),
    "a bit of the program": lambda path, other: rewrite(path, lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]),
    "a bit of the key": lambda path, other: rewrite(path, lambda data: bytes([data[0] ^ 1]) + data[1:]),
    "its end": lambda path, other: rewrite(path, lambda data: data[:-8]),
    "zeros for its end": lambda path, other: rewrite(path, lambda data: data[: data.rindex(program(KEPT)) - 12].ljust(len(data), b"\0")),
    "everything": lambda path, other: rewrite(path, lambda data: b""),
    "more behind it": lambda path, other: rewrite(path, lambda data: data + bytes(8)),
    "its mode": lambda path, other: path.chmod(0o620),
    "a link": lambda path, other: (path.rename(path.with_name("real")), path.symlink_to("real")),
    "a directory": lambda path, other: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path, other: (path.unlink(), os.mkfifo(path, 0o600)),
    "its owner": lambda path, other: os.chown(path, 1234, -1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_as_it_was_written_is_not_used(cache, damage):
    if damage == "its owner" and os.geteuid():
        pytest.skip("only root gives files away")
    seccomp.compile_profile(OTHER, str(cache))
    (wrong,) = files(cache)
    wanted = seccomp.compile_profile(KEPT, str(cache))
    (file,) = set(files(cache)) - {wrong}
    DAMAGES[damage](file, wrong)
    again = seccomp.compile_profile(KEPT, str(cache))
    assert (again.bpf, again.flags) == (wanted.bpf, wanted.flags)
    if damage != "a directory":  # all others are replaced
        assert file.lstat().st_mode == 0o100600 and file.lstat().st_uid == os.geteuid()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing/cache", tmp_path / "file", "/proc/cache"):
        assert seccomp.compile_profile(profile("ALLOW"), str(path)).bpf == program(profile("ALLOW"))


def test_the_cache_is_bounded(cache):
    """The oldest files go."""
    made = [profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=value)) for value in range(seccomp.CACHE_LIMIT + 10)]
    written = []
    for one in made:
        before = set(files(cache))
        seccomp.compile_profile(one, str(cache))
        for path in set(files(cache)) - before:
            os.utime(path, (len(written), len(written)))  # the clock may be too coarse to tell them apart
            written.append(path)
    assert len(written) == len(made)
    assert files(cache) == sorted(written[10:])


def test_a_hit_is_quick(cache):
    made = like_dockers("X86_64", "X86", "X32")
    seccomp.compile_profile(made, str(cache))
    seconds = []
    for _ in range(200):
        begin = time.perf_counter()
        seccomp.compile_profile(made, str(cache))
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.0003
