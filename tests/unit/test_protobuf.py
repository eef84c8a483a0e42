"""The wire format of protocol buffers (protobuf.dev, Encoding): the bytes of its own examples, and bad input."""

import pytest

from pyrun.criu import protobuf, service

TABLE = {"number": (1, int), "text": (2, str), "message": (3, {"number": (1, int)}), "texts": (4, [str]), "negative": (16, int)}
EXAMPLES = [
    ({"number": 150}, "08 96 01"),
    ({"number": 0}, "08 00"),
    ({"text": "testing"}, "12 07 74 65 73 74 69 6e 67"),
    ({"message": {"number": 150}}, "1a 03 08 96 01"),
    ({"texts": ["a", "", "bc"]}, "22 01 61 22 00 22 02 62 63"),
    ({"negative": -2}, "80 01 fe ff ff ff ff ff ff ff ff 01"),
    ({"text": "b\udcff"}, "12 02 62 ff"),
    ({}, ""),
]


@pytest.mark.parametrize(("message", "wire"), EXAMPLES)
def test_both_ways(message, wire):
    data = bytes.fromhex(wire)
    assert protobuf.encode(TABLE, message) == data
    assert protobuf.decode(TABLE, data) == message


def test_what_is_none_is_left_out():
    assert protobuf.encode(TABLE, {"number": None, "texts": []}) == b""


def test_fields_of_other_tables_are_skipped():
    known = bytes.fromhex("08 01")
    for other in ("28 96 01", "2a 02 08 01", "29 01 02 03 04 05 06 07 08", "2d 01 02 03 04"):
        assert protobuf.decode(TABLE, bytes.fromhex(other) + known) == {"number": 1}


@pytest.mark.parametrize("wire", ["08", "08 96", "12 07 74", "2b 01", "1a 02 08", "29 01", "10 01", "08" + " ff" * 10 + " 01"])
def test_bytes_that_are_no_message(wire):
    with pytest.raises(ValueError):
        protobuf.decode(TABLE, bytes.fromhex(wire))


def test_no_two_fields_have_one_number():
    for table in (service.OPTIONS, service.REQUEST, service.RESPONSE, service.FEATURES):
        numbers = [number for number, _ in table.values()]
        assert len(set(numbers)) == len(numbers)
