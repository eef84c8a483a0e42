"""Device rules: the same verdicts on v1 and v2."""

import errno
import os
import select

import pytest
from cgroup_worlds import DENY_ALL, answer, ended, spawn

from pyrun import cgroup

pytestmark = pytest.mark.worlds

PROBES = {"c 1:11": "kmsg", "c 10:229": "fuse", "c 5:1": "console", "b 7:5": "loop"}
FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


def rule(allow, text):
    kind, numbers, access = text.split()
    major, minor = numbers.split(":")
    found = {"allow": allow, "type": kind, "access": access, "major": int(major)}
    return found if minor == "*" else found | {"minor": int(minor)}


# rules, what is allowed of `NUMBERS ACCESS`; everything else that the probes try is not
VERDICTS = [
    ([DENY_ALL], ""),
    ([DENY_ALL, rule(True, "c 1:11 r")], "c 1:11 r"),
    ([DENY_ALL, rule(True, "c 1:11 r"), rule(True, "c 1:11 w")], "c 1:11 r, c 1:11 w, c 1:11 rw"),
    ([DENY_ALL, rule(True, "c 1:* rw"), rule(True, "b 7:5 r")], "c 1:11 r, c 1:11 w, c 1:11 rw, b 7:5 r"),
    ([DENY_ALL, rule(True, "c 10:229 rwm"), rule(False, "c 10:229 w")], "c 10:229 r"),
    ([{"allow": True, "access": "rwm"}, rule(False, "c 1:11 w"), rule(False, "b 7:5 rw"), rule(False, "c 5:1 r")],
     "c 1:11 r, c 10:229 r, c 10:229 w, c 10:229 rw, c 5:1 w"),
    # docker's
    ([DENY_ALL, *(rule(True, f"c {n} rwm") for n in ("1:5", "1:3", "1:9", "1:8", "5:0", "5:1")), rule(False, "c 10:229 rwm")],
     "c 5:1 r, c 5:1 w, c 5:1 rw"),
    # so many that the kernel's verifier would give up a program in which it had to follow each beside all others
    ([DENY_ALL, *(rule(True, f"c {300 + n % 100}:{n // 100} rw") for n in range(2000)), rule(True, "c 10:229 rwm"), rule(True, "b 7:* r")],
     "c 10:229 r, c 10:229 w, c 10:229 rw, b 7:5 r"),
]  # fmt: skip


def device_probe(directory):
    """`NUMBERS ACCESS, …` of what the caller may open. A device that is not there is allowed all the same."""

    def probe():
        found = []
        for numbers, name in PROBES.items():
            for access, flags in FLAGS.items():
                try:
                    os.close(os.open(directory / name, flags | os.O_NONBLOCK | os.O_NOCTTY))
                except OSError as fault:
                    if fault.errno == errno.EPERM:
                        continue
                    assert fault.errno in (errno.ENXIO, errno.ENODEV, errno.EIO), fault
                found.append(f"{numbers} {access}")
        return ", ".join(sorted(found))

    return probe


@pytest.fixture
def nodes(tmp_path):
    """A directory with a node for each of PROBES."""
    for numbers, name in PROBES.items():
        kind, number = numbers.split()
        device = os.makedev(*map(int, number.split(":")))
        os.mknod(tmp_path / name, (0o020000 if kind == "c" else 0o060000) | 0o600, device)
    return tmp_path


@pytest.mark.parametrize(("rules", "allowed"), VERDICTS, ids=range(len(VERDICTS)))
def test_device_verdicts_are_the_same_everywhere(inside, nodes, rules, allowed):
    def body(world):
        group = world.make({"devices": rules})
        assert answer(group, device_probe(nodes)) == ", ".join(sorted(filter(None, allowed.split(", "))))
        group.delete()

    inside(body)


def test_default_devices(inside, tmp_path):
    """Without any rule: the specification's devices can be used, any node made, and nothing else used."""

    def probe():
        for path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"):
            os.close(os.open(path, os.O_RDWR))
        os.mknod(tmp_path / "any", 0o060600, os.makedev(7, 9))
        try:
            os.open(tmp_path / "any", os.O_RDONLY)
        except PermissionError as fault:
            return str(fault.errno)
        return "opened"

    def body(world):
        (tmp_path / "any").unlink(missing_ok=True)
        group = world.make()
        assert answer(group, probe) == str(errno.EPERM)
        group.delete()

    inside(body)


def test_device_rules_change_without_a_gap(inside, nodes):
    """While rules come and go, what stays allowed is never refused, and what is never allowed is never given."""

    def watch(reader, writer):
        faults = set()
        os.write(writer, b"x")
        while not select.select([reader], [], [], 0)[0]:
            try:
                os.close(os.open("/dev/zero", os.O_RDWR))
                os.close(os.open(nodes / "kmsg", os.O_RDONLY))
            except OSError as fault:
                faults.add(f"refused: {fault}")
            try:
                os.close(os.open(nodes / "loop", os.O_RDONLY))
            except PermissionError:
                pass
            else:
                faults.add("given")
        os.write(writer, ("; ".join(faults) or "none").encode())

    def body(world):
        rules = [DENY_ALL, rule(True, "c 1:11 rw")]
        group = world.make({"devices": rules})
        stop, go = os.pipe()
        reader, writer = os.pipe()
        pid = spawn(group, lambda: watch(stop, writer))
        os.read(reader, 1)
        again = cgroup.from_state(group.to_state())
        for count in range(100):
            again.apply({"devices": [*rules, *([rule(True, "c 10:229 rw")] if count % 2 else [])]})
        again.apply({"pids": {"limit": 100}} if world.has(group, "pids") else {})  # names no rules: they stay
        os.write(go, b"x")
        assert os.read(reader, 4096).decode() == "none"
        ended(pid)
        assert answer(group, device_probe(nodes)) == "c 10:229 r, c 10:229 rw, c 10:229 w, c 1:11 r, c 1:11 rw, c 1:11 w"
        group.delete()

    inside(body)
