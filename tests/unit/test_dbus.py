"""D-Bus as the runtime speaks it: messages as the specification lays them out, and a bus that answers or does not."""

import os
import socket
import struct
import subprocess
import threading
import time

import pytest

from pyrun.cgroup.systemd import dbus

# As `busctl --json` and gdbus see them; the bytes are those of the specification's rules for alignment.
VALUES = [
    ("y", 7, "07"),
    ("b", True, "01000000"),
    ("n", -2, "feff"),
    ("q", 65535, "ffff"),
    ("i", -5, "fbffffff"),
    ("u", 1 << 31, "00000080"),
    ("x", -1, "ffffffffffffffff"),
    ("t", (1 << 64) - 1, "ffffffffffffffff"),
    ("d", 1.5, "000000000000f83f"),
    ("s", "añ", "0300000061c3b100"),
    ("o", "/a", "020000002f6100"),
    ("g", "a(sv)", "056128737629" + "00"),
    ("ay", [1, 2], "020000000102"),
    ("as", ["a", "bc"], "0f000000" + "010000006100" + "0000" + "02000000626300"),
    # The padding before the first structure is not part of the array's length.
    ("a(ss)", [("a", "b")], "0e000000" + "00000000" + "010000006100" + "0000" + "010000006200"),
    ("a(ss)", [], "00000000" + "00000000"),
    ("at", [1], "08000000" + "00000000" + "0100000000000000"),
    ("aau", [[1], []], "0c000000" + "0400000001000000" + "00000000"),
    ("(yu)", (1, 2), "01" + "000000" + "02000000"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES)
def test_a_value_has_its_bytes_and_back(kind, value, expected):
    out = bytearray()
    dbus.encode(out, kind, value)
    assert out.hex() == expected
    assert dbus.decode(bytes(out), 0, kind) == (value, len(out))


def test_a_variant_carries_its_type_and_decodes_to_what_is_in_it():
    out = bytearray()
    dbus.encode(out, "a(sv)", [("Delegate", ("b", True)), ("PIDs", ("au", [1, 2])), ("Nested", ("v", ("s", "x")))])
    assert dbus.decode(bytes(out), 0, "a(sv)")[0] == [("Delegate", True), ("PIDs", [1, 2]), ("Nested", "x")]


def test_a_message_of_the_other_byte_order():
    body = b"\x00\x00\x00\x01a\x00"
    fields = b"\x08\x01g\x00\x01s\x00\x00" + b"\x05\x01u\x00\x00\x00\x00\x09"
    head = b"B\x02\x00\x01" + len(body).to_bytes(4, "big") + (1).to_bytes(4, "big") + len(fields).to_bytes(4, "big")
    message = head + fields + body
    assert dbus.message_size(message) == len(message)
    found = dbus.decode_message(message)
    assert (found.kind, found.fields[dbus.REPLY_SERIAL], found.body) == (dbus.RETURN, 9, ["a"])


@pytest.mark.parametrize("signature", ["ssa(sv)a(sa(sv))", "a{sv}", "aaay", "(i(ss)v)", ""])
def test_a_signature_falls_apart_into_complete_types(signature):
    parts = dbus.split(signature)
    assert "".join(parts) == signature
    assert all(dbus.split(part) == [part] for part in parts)


@pytest.mark.parametrize("signature", ["(s", "a", "z", "a(s", "{s", "()", "a()", "{sv}", "a{s}", "a{ssv}", "a{vs}"])
def test_what_is_no_signature(signature):
    with pytest.raises(ValueError, match="is no D-Bus type"):
        dbus.split(signature)


@pytest.mark.parametrize("signature", ["s" * 256, "a" * 100 + "s", "(" * 100 + "s" + ")" * 100])
def test_a_signature_that_is_too_much(signature):
    with pytest.raises(ValueError, match="longer than|nested too deeply"):
        dbus.split(signature)


WHOLE = dbus.encode_call(1, {dbus.PATH: "/o", dbus.MEMBER: "M"}, "sv", ["x", ("as", ["y"])])
NO_MESSAGES = {
    "cut": WHOLE[:-4],
    "cut in its header": WHOLE[:20],
    "a body that is not there": WHOLE.replace(b"\x02sv\0", b"\x02ix\0")[:-12],
    "a variant of two types": WHOLE.replace(b"\x02as\0", b"\x02ss\0"),
    "a variant without a type": WHOLE.replace(b"\x02as\0", b"\x00\0\0\0"),
    "an array of nothing": WHOLE.replace(b"\x02sv\0", b"\x03a()\0"),
    "a signature that is a number": dbus.encode_call(1, {dbus.PATH: "/o"}, "", []).replace(b"\x01\x01o\0", b"\x08\x01u\0"),
}


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_no_message(data):
    with pytest.raises(ValueError, match="."):
        dbus.decode_message(data)


def test_a_message_larger_than_any():
    with pytest.raises(ValueError, match="it would have 4294967311 bytes"):
        dbus.message_size(b"l\1\0\1" + b"\xff\xff\xff\xff" + bytes(8))


@pytest.mark.parametrize(("kind", "value"), [("u", -1), ("y", 256), ("q", "x")])
def test_a_number_out_of_range(kind, value):
    with pytest.raises(struct.error):
        dbus.encode(bytearray(), kind, value)


# --- a real bus -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bus(tmp_path):
    """The socket of a message bus of the test's own."""
    path = tmp_path / "bus"
    command = ["dbus-daemon", "--session", f"--address=unix:path={path}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        daemon.stdout.readline()
        yield str(path)
        daemon.terminate()


def ask(connection, member, signature="", *values):
    return connection.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature, *values)


@pytest.mark.skipif(not os.access("/usr/bin/dbus-daemon", os.X_OK), reason="no dbus-daemon here")
def test_calls_answers_errors_and_signals_of_a_bus(bus):
    connection = dbus.Connection(bus, 10)
    try:
        assert ask(connection, "RequestName", "su", "org.example.Test", 0) == [1]
        assert "org.example.Test" in ask(connection, "ListNames")[0]
        with pytest.raises(dbus.Refused) as refused:
            ask(connection, "NoSuchMethod")
        assert refused.value.name == "org.freedesktop.DBus.Error.UnknownMethod"
        ask(connection, "AddMatch", "s", "type='signal',member='NameOwnerChanged'")
        ask(connection, "RequestName", "su", "org.example.Other", 0)
        while (signal := connection.signal()).body[0] != "org.example.Other":
            pass
        assert signal.fields[dbus.MEMBER] == "NameOwnerChanged"
    finally:
        connection.close()


@pytest.mark.skipif(not os.access("/usr/bin/dbus-daemon", os.X_OK), reason="no dbus-daemon here")
def test_answers_are_kept_for_who_asks_later(bus):
    connection = dbus.Connection(bus, 10)
    sent = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    first, second = connection.send(*sent, "GetId"), connection.send(*sent, "NameHasOwner", "s", "org.freedesktop.DBus")
    assert connection.answer(second) == [True]
    assert len(connection.answer(first)[0]) == 32
    connection.close()


@pytest.mark.skipif(not os.access("/usr/bin/dbus-daemon", os.X_OK), reason="no dbus-daemon here")
def test_a_message_larger_than_what_the_socket_holds(bus):
    connection = dbus.Connection(bus, 20)
    try:
        assert ask(connection, "NameHasOwner", "s", "x" * (4 << 20)) == [False]
    finally:
        connection.close()


# --- a bus that is no good --------------------------------------------------------------------------------------------


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        sock.listen(1)
        yield sock


def test_a_bus_that_says_nothing_ends_in_time(listener):
    started = time.monotonic()
    connection = dbus.Connection(listener.getsockname(), 0.2)
    with pytest.raises(dbus.Silent, match="no answer in time"):
        ask(connection, "ListNames")
    connection.close()
    assert 0.15 < time.monotonic() - started < 5


def test_a_bus_with_no_room_for_another_connection(listener):
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for sock in waiting:
        sock.connect(listener.getsockname())
    with pytest.raises(BlockingIOError):
        dbus.Connection(listener.getsockname(), 0.2)
    for sock in waiting:
        sock.close()


def test_a_bus_that_does_not_want_us(listener):
    def serve():
        sock, _ = listener.accept()
        sock.sendall(b"REJECTED EXTERNAL\r\n")
        while sock.recv(4096):
            pass
        sock.close()

    server = threading.Thread(target=serve)
    server.start()
    connection = dbus.Connection(listener.getsockname(), 10)
    with pytest.raises(dbus.Silent, match="authentication failed: REJECTED EXTERNAL"):
        ask(connection, "ListNames")
    connection.close()
    server.join()


@pytest.mark.parametrize("answer", [b"\xff" * 100, b"l\2\0\1" + bytes(4) + b"\1\0\0\0\x08\0\0\0" + b"\xff" * 8])
def test_a_bus_that_sends_what_is_no_message(listener, answer):
    connection = dbus.Connection(listener.getsockname(), 10)
    sock, _ = listener.accept()
    sock.sendall(b"OK 1234\r\n" + answer)
    with pytest.raises(dbus.Silent, match="no message of D-Bus"):
        ask(connection, "ListNames")
    connection.close()
    sock.close()


def test_a_bus_that_hangs_up(listener):
    connection = dbus.Connection(listener.getsockname(), 10)
    listener.accept()[0].close()
    with pytest.raises(dbus.Silent, match="closed|reset|broken pipe"):
        ask(connection, "ListNames")
    connection.close()


def test_nobody_is_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        dbus.Connection(str(tmp_path / "none"), 1)
