"""Values of the annotations org.systemd.property.NAME: the text format of GVariant."""

import pytest

from pyrun.cgroup.systemd.gvariant import parse

GOOD = [
    ("true", "b", True),
    ("false", "b", False),
    ("5", "i", 5),
    ("-5", "i", -5),
    ("0x10", "i", 16),
    ("010", "i", 8),
    ("1.5", "d", 1.5),
    ("uint64 5", "t", 5),
    ("uint64 18446744073709551615", "t", (1 << 64) - 1),
    ("int64 -9223372036854775808", "x", -(1 << 63)),
    ("uint32 7", "u", 7),
    ("int32 7", "i", 7),
    ("uint16 7", "q", 7),
    ("byte 0xff", "y", 255),
    ("double 2", "d", 2.0),
    ("@t 5", "t", 5),
    ("'a b'", "s", "a b"),
    ('"it\'s"', "s", "it's"),
    (r"'it\'s \\ \n'", "s", "it's \\ \n"),
    ("objectpath '/a'", "o", "/a"),
    ("['a', 'b']", "as", ["a", "b"]),
    ("[ 'a' ]", "as", ["a"]),
    ("@as []", "as", []),
    ("[uint32 1, 2]", "au", [1, 2]),
    ("[[1], [2, 3]]", "aai", [[1], [2, 3]]),
    ("[('/dev/null', 'rw')]", "a(ss)", [("/dev/null", "rw")]),
    ("@a(st) [('/dev/sda', 5)]", "a(st)", [("/dev/sda", 5)]),
]
BAD = [
    "", "x", "5 6", "[", "'a", "[1, 'a']", "[1 2]", "[]", "uint32 -1", "uint64 -1", "2147483648", "byte 256", "true false", "@q 'a'", "(1",
    "int32", "uint64 true", "True", "5s", "09", "@as ['a', 1]", "@(ss) ('a',)",
    "()", "@() ()", "@as{{{ []", "@{sv} []", "@a{vs} []", "@a() []", "[" * 1000, "uint32 " * 1000 + "1", "@a" + "a" * 300 + "s []",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "value"), GOOD)
def test_values(text, kind, value):
    assert parse(text) == (kind, value)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_value(text):
    with pytest.raises(ValueError, match="."):
        parse(text)
