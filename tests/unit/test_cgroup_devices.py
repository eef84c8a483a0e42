"""Device rules: what a rule list allows, and that v1's files and v2's program say the same."""

import struct

import pytest

from pyrun.base.errors import ConfigError
from pyrun.cgroup import bpf, devices

BITS = {"r": devices.READ, "w": devices.WRITE, "m": devices.MKNOD}
DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}


def rule(allow, text):
    """`c 1:3 rw` as a rule of the config."""
    kind, numbers, access = text.split()
    found = {"allow": allow, "type": kind, "access": access}
    for name, number in zip(("major", "minor"), numbers.split(":"), strict=True):
        if number != "*":
            found[name] = int(number)
    return found


def yes(text):
    return rule(True, text)


def no(text):
    return rule(False, text)


# rules, then accesses that are allowed, then those that are not
TABLE = [
    ([], ["c 1:3 rw", "c 136:7 rw", "c 5:0 r", "c 10:200 w", "c 9:9 m", "b 8:0 m"], ["c 1:11 r", "b 8:0 r", "c 1:11 rm"]),
    ([DENY_ALL], ["c 1:3 rwm", "c 1:8 r"], ["c 5:1 r", "c 10:229 rw"]),
    ([DENY_ALL, yes("c 1:11 rw")], ["c 1:11 rw", "c 1:11 r", "c 1:11 m"], ["c 1:12 r", "b 1:11 r"]),
    ([DENY_ALL, yes("c 1:11 r")], ["c 1:11 r"], ["c 1:11 w", "c 1:11 rw"]),
    ([DENY_ALL, yes("c 1:11 r"), yes("c 1:11 w")], ["c 1:11 rw"], []),
    ([DENY_ALL, yes("c 1:11 rwm"), no("c 1:11 w")], ["c 1:11 r"], ["c 1:11 w", "c 1:11 rw"]),
    ([DENY_ALL, yes("c 1:11 rwm"), DENY_ALL], [], ["c 1:11 r"]),
    ([DENY_ALL, yes("b 8:* rw")], ["b 8:0 rw", "b 8:99 r"], ["b 9:0 r"]),
    ([DENY_ALL, yes("c *:11 rw")], ["c 1:11 rw", "c 200:11 r"], ["c 1:12 r"]),
    # docker's list: what is denied at its end was never allowed
    ([DENY_ALL, yes("c 1:5 rwm"), yes("c 5:1 rwm"), no("c 10:229 rwm")], ["c 5:1 rw"], ["c 10:229 rw"]),
    # everything but some
    ([ALLOW_ALL], ["c 1:11 rwm", "b 8:0 rw"], []),
    ([ALLOW_ALL, no("c 1:11 w")], ["c 1:11 r", "b 1:11 w", "c 1:11 m"], ["c 1:11 w", "c 1:11 rw"]),
    ([ALLOW_ALL, no("b 8:* rw")], ["b 7:0 rw", "b 8:1 m"], ["b 8:1 r", "b 8:2 rw"]),
    ([ALLOW_ALL, no("b 8:0 rwm"), yes("b 8:0 r")], ["b 8:0 r"], ["b 8:0 w"]),
    # `a` is everything, whatever numbers stand beside it
    ([{"allow": True, "type": "a", "major": 1, "minor": 3, "access": "r"}], ["b 8:0 rwm"], []),
    ([DENY_ALL, {"allow": True, "type": "c", "major": -1, "minor": -1, "access": "r"}], ["c 77:1 r"], ["c 77:1 w"]),
    # several minors of a major, and what is for all of them beside it
    ([DENY_ALL, yes("c 1:11 r"), yes("c 1:12 w"), yes("c 1:* m"), yes("c *:13 r")],
     ["c 1:11 r", "c 1:12 w", "c 1:12 m", "c 2:13 r", "c 1:13 r"], ["c 1:11 w", "c 1:12 r", "c 2:11 r", "b 1:11 r"]),
    ([DENY_ALL, yes("c 1:11 r"), yes("c 1:* rwm"), yes("c 2:3 r")], ["c 1:11 w", "c 1:7 rwm", "c 2:3 r"], ["c 2:3 w"]),
    ([ALLOW_ALL, no("c 200:11 r"), no("c 200:* w"), no("c *:13 r")], ["c 200:11 m", "c 2:11 r"], ["c 200:11 r", "c 200:5 w", "c 2:13 rw"]),
    ([DENY_ALL, yes("c 4294967295:4294967295 rw")], ["c 4294967295:4294967295 rw"], ["c 4294967295:0 r"]),
]


def run_program(program, kind, major, minor, access):
    """The verdict of a BPF program: what the kernel's interpreter does with these few instructions."""
    context = struct.pack("<III", access << 16 | bpf.TYPES[kind], major, minor)
    code = [struct.unpack_from("<BBhi", program, at) for at in range(0, len(program), 8)]
    registers = [None] * 6
    at = 0
    while True:
        operation, names, offset, value = code[at]
        target, source = names & 15, names >> 4
        at += 1
        if operation == 0x61:
            assert source == 1
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif operation == 0xB4:
            registers[target] = value & 0xFFFFFFFF
        elif operation == 0xBC:
            registers[target] = registers[source]
        elif operation == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif operation == 0x74:
            registers[target] >>= value
        elif operation == 0x95:
            return registers[0]
        else:
            assert operation in (0x16, 0x56, 0x5E), hex(operation)
            other = registers[source] if operation == 0x5E else value & 0xFFFFFFFF
            if (registers[target] == other) == (operation == 0x16):
                at += offset


class Kernel:
    """The exceptions of a v1 devices cgroup, by its own rules, fed with what is written to its files."""

    def __init__(self):
        self.allow, self.exceptions = True, {}

    def write(self, file, text):
        allow = file == "devices.allow"
        if text == "a":
            self.allow, self.exceptions = allow, {}
            return
        kind, numbers, access = text.split()
        key = (kind, *numbers.split(":"))
        bits = sum(BITS[letter] for letter in access)
        old = self.exceptions.get(key, 0)
        self.exceptions[key] = old & ~bits if allow == self.allow else old | bits

    def verdict(self, kind, major, minor, access):
        matches = [
            bits
            for (a_kind, a_major, a_minor), bits in self.exceptions.items()
            if a_kind == kind and a_major in ("*", str(major)) and a_minor in ("*", str(minor))
        ]
        if self.allow:
            return not any(access & bits for bits in matches)
        return any(access & bits == access for bits in matches)


def probe(text):
    kind, numbers, access = text.split()
    return kind, *map(int, numbers.split(":")), sum(BITS[letter] for letter in access)


@pytest.mark.parametrize(("rules", "allowed", "denied"), TABLE, ids=range(len(TABLE)))
def test_verdicts(rules, allowed, denied):
    target = devices.compile(rules, "linux.resources.devices")
    program = bpf.assemble(target)
    kernel = Kernel()
    for file, texts in devices.v1_writes(target):
        for text in texts:
            kernel.write(file, text)
    for text in allowed:
        assert run_program(program, *probe(text)) == 1, text
        assert kernel.verdict(*probe(text)), text
    for text in denied:
        assert run_program(program, *probe(text)) == 0, text
        assert not kernel.verdict(*probe(text)), text


@pytest.mark.parametrize("first", range(len(TABLE)))
@pytest.mark.parametrize("second", range(len(TABLE)))
def test_an_update_ends_where_a_new_cgroup_does(first, second):
    rules = [devices.compile(TABLE[index][0], "") for index in (first, second)]
    kernel, fresh = Kernel(), Kernel()
    for file, texts in devices.v1_writes(rules[0]) + devices.v1_writes(rules[1], rules[0]):
        for text in texts:
            kernel.write(file, text)
    for file, texts in devices.v1_writes(rules[1]):
        for text in texts:
            fresh.write(file, text)
    exceptions = [{key: bits for key, bits in one.exceptions.items() if bits} for one in (kernel, fresh)]
    assert kernel.allow == fresh.allow
    assert exceptions[0] == exceptions[1]


def test_an_update_writes_only_what_differs():
    old = devices.compile([DENY_ALL, yes("c 1:11 rw"), yes("b 8:0 r")], "")
    new = devices.compile([DENY_ALL, yes("c 1:11 r"), yes("b 8:0 rw")], "")
    assert devices.v1_writes(new, old) == [("devices.deny", ["c 1:11 w"]), ("devices.allow", ["b 8:0 w"])]
    assert devices.v1_writes(old, old) == []


def test_devices_list_is_understood():
    found = devices.parse("c *:* m\nb *:* m\nc 136:* rwm\nb 8:0 r\n")
    assert not found.allow
    assert found.exceptions == {("c", None, None): 1, ("b", None, None): 1, ("c", 136, None): 7, ("b", 8, 0): 2}
    assert devices.parse("a *:* rwm\n").allow


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ([DENY_ALL, {"allow": True, "type": "c"}], "devices[1]: device access cannot be empty"),
        ([{"allow": True, "type": "c", "access": "rx"}], "devices[0]: invalid device access 'rx'"),
        ([{"allow": True, "type": "p", "access": "r"}], "devices[0]: invalid device type 'p'"),
        ([{"allow": True, "type": "c", "major": 1 << 32, "access": "r"}], "devices[0]: invalid device number"),
        ([DENY_ALL, yes("c 1:* rwm"), no("c 1:11 w")], "devices[2]: cannot punch a hole in the wider rule c 1:* rwm"),
        ([ALLOW_ALL, no("c *:* r")], "devices: the default device c 1:3 rwm must be allowed"),
    ],
)
def test_faults(rules, error):
    with pytest.raises(ConfigError) as fault:
        devices.compile(rules, "linux.resources.devices")
    assert error in str(fault.value)
