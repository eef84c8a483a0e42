"""init refuses every plan that csrc/plan.h does not allow, before it does anything, and never crashes over one."""

import os
import random
import struct

import pytest

from pyrun._native import ffi, lib
from pyrun.init import session
from pyrun.plan.records import Plan

HEADER, OP = ffi.sizeof("struct plan_header"), ffi.sizeof("struct plan_op")
FLAGS = 2
SIGNALLED = "init died of a signal"


def run(raw, seal=True, rest=()):
    """Starts init on these bytes as its plan. Returns its first message as (type, index, step), None if it sent none.

    rest: fds that are sent to it as the rest of the plan.
    """
    pair = ffi.new("int[2]")
    assert lib.native_socketpair(pair) == 0
    if seal:
        memory = lib.native_memfd(b"plan", raw, len(raw))
    else:
        memory = os.memfd_create("plan")
        os.write(memory, raw)
    pid = lib.native_spawn([-1, -1, -1], [pair[1], memory], 2, 0)
    os.close(memory)
    os.close(pair[1])
    assert pid > 0, os.strerror(-pid)
    if rest:
        sent = ffi.new("struct plan_msg *", {"type": lib.MSG_REST})
        assert session.send(pair[0], ffi.buffer(sent)[:], rest) == 0
    message, _, _ = session.receive(pair[0], 10_000)
    os.close(pair[0])
    status = os.waitpid(pid, 0)[1]
    assert not os.WIFSIGNALED(status), SIGNALLED
    return message and (message.type, message.number, message.step)


def refused(raw, **how):
    """Whether init refused the plan in verification; the index of the record it named."""
    message = run(bytes(raw), **how)
    assert message is not None, "init ended without a word"
    kind, index, step = message
    assert (kind, step) == (lib.MSG_ERROR, lib.STEP_VERIFY), f"the plan ran: {message}"
    return index


def good_plan():
    """A plan whose first op waits for the runtime, which is not going to answer: accepted, it does no harm."""
    made = Plan()
    made.barrier(number=1)
    made.setns(file=1, namespaces=0)
    made.mount(type="tmpfs", target="/x", options=["mode=755", "ro"], ms_flags=0)
    made.ids(gids=struct.pack("2I", 5, 6), uid=0, gid=0)
    made.affinity(cpus=b"\1")
    made.seccomp(filter=bytes(16), filter_flags=0)
    made.bind(target="/x", tree=1)
    made.exec(candidates=["/bin/true"], argv=["true"], env=["A=", ""], first_closed=3)
    return made


def packed(change=None):
    """The good plan's bytes, changed by `change(bytes, offset of the string area)`."""
    made = good_plan()
    raw = bytearray(made.pack())
    if change:
        change(raw, HEADER + OP * len(made.records))
    return raw


def at(op, operand, part=None):
    """The place in a record of an operand (`bind.source`), or of a part of it (`size`)."""
    place = ffi.offsetof("struct plan_op", op, operand)
    return place + (ffi.offsetof(dict(ffi.typeof(f"struct op_{op}").fields)[operand].type, part) if part else 0)


def field(op, offset, form, value):
    """A change of one field of the op with this index."""
    return lambda raw, _: struct.pack_into(form, raw, HEADER + OP * op + offset, value)


def header(number, value):
    return lambda raw, _: struct.pack_into("I", raw, 4 * number, value)


def byte(place, value):
    """A change of one byte of the string area."""
    return lambda raw, area: raw.__setitem__(area + place if place >= 0 else len(raw) + place, value)


def test_a_good_plan_runs():
    assert run(bytes(packed())) == (lib.MSG_BARRIER, 1, lib.STEP_NONE)


def test_a_plan_that_can_still_be_changed_is_refused():
    refused(packed(), seal=False)


@pytest.mark.parametrize("change", [
    pytest.param(header(0, lib.PLAN_MAGIC + 1), id="magic"),
    pytest.param(header(1, lib.PLAN_VERSION + 1), id="version"),
    pytest.param(header(2, 7), id="fewer ops"),
    pytest.param(header(2, 9), id="more ops"),
    pytest.param(header(2, 0xFFFFFFFF), id="far too many ops"),
    pytest.param(header(3, 1), id="small string area"),
    pytest.param(header(3, 0), id="no string area"),
    pytest.param(header(3, 0xFFFFFFFF), id="huge string area"),
    pytest.param(header(4, 1), id="not the first part"),
    pytest.param(header(4, 0xFFFFFFFF), id="far from the first part"),
    pytest.param(header(5, 1), id="no slot for the plan"),
    pytest.param(header(5, lib.PLAN_MAX_FDS + 1), id="too many fds"),
    pytest.param(header(5, 2 | 2 << 16), id="unknown flag"),
    pytest.param(byte(0, 65), id="offset 0 is not the empty string"),
    pytest.param(byte(-1, 65), id="string area without its last NUL"),
    pytest.param(lambda raw, _: raw.append(0), id="one byte more"),
    pytest.param(lambda raw, _: raw.__delitem__(-1), id="one byte less"),
])
def test_a_bad_header_is_refused(change):
    assert refused(packed(change)) == 0xFFFFFFFF


BARRIER, SETNS, MOUNT, IDS, AFFINITY, SECCOMP, BIND, EXEC = range(8)


@pytest.mark.parametrize(("op", "change"), [
    pytest.param(op, field(op, *change), id=name) for op, change, name in [
        (BARRIER, (0, "H", 0), "no opcode"),
        (BARRIER, (0, "H", lib.OP_COUNT), "opcode just too large"),
        (BARRIER, (0, "H", 0xFFFF), "opcode far too large"),
        (BARRIER, (FLAGS, "H", 1), "a flag that the op does not have"),
        (MOUNT, (FLAGS, "H", 0x8000), "an unknown flag"),
        (SETNS, (at("setns", "file"), "i", 2), "slot outside the table"),
        (SETNS, (at("setns", "file"), "i", -1), "slot missing"),
        (BIND, (at("bind", "tree"), "i", -2), "negative slot"),
        (BIND, (at("bind", "userns"), "i", 0x7FFFFFFF), "second slot outside the table"),
        (BIND, (at("bind", "tree"), "i", -1), "neither a source nor a tree"),
        (BIND, (at("bind", "source"), "I", 0x7FFFFFFF), "optional text outside the area"),
        (MOUNT, (at("mount", "type"), "I", 0), "text missing"),
        (MOUNT, (at("mount", "target"), "I", 0xFFFFFFFF), "text outside the area"),
        (IDS, (at("ids", "gids", "size"), "I", 7), "half a group id"),
        (IDS, (at("ids", "gids", "size"), "I", 4 * 100_000), "groups beyond the area"),
        (AFFINITY, (at("affinity", "cpus", "size"), "I", 0xFFFFFFFF), "mask beyond the area"),
        (AFFINITY, (at("affinity", "cpus"), "I", 0), "size without data"),
        (SECCOMP, (at("seccomp", "filter", "size"), "I", 12), "one and a half instructions"),
        (SECCOMP, (at("seccomp", "filter"), "I", 1), "data not aligned"),
        (EXEC, (at("exec", "argv", "count"), "I", 0), "no argv[0]"),
        (EXEC, (at("exec", "argv", "count"), "I", 1 << 20), "argv beyond the area"),
        (EXEC, (at("exec", "argv", "count"), "I", (1 << 32) - 1), "argc as large as it can be"),
        (EXEC, (at("exec", "env", "count"), "I", 1 << 31), "env beyond the area"),
        (BARRIER, (0, "H", lib.OP_EXEC), "a program before the end"),
    ]
])
def test_a_bad_record_is_refused_by_its_index(op, change):
    assert refused(packed(change)) == op


def in_two_parts(change=None, files=0):
    """init's first message to a plan whose second part, packed and changed, comes with this many files."""
    made = Plan()
    made.umask(mask=0)
    made.rest()
    first, ops = bytes(made.pack()), len(made.records)
    made.barrier(number=7)
    second = bytearray(made.pack(since=ops))
    if change:
        change(second, None)
    memory = lib.native_memfd(b"rest", bytes(second), len(second))
    try:
        return run(first, rest=[memory] * (1 + files))
    finally:
        os.close(memory)


def test_a_plan_in_two_parts():
    assert in_two_parts() == (lib.MSG_BARRIER, 7, lib.STEP_NONE)


@pytest.mark.parametrize("number", [0, 1, 3, 0xFFFFFFFF])
def test_the_rest_must_go_on_where_the_first_part_ends(number):
    assert in_two_parts(header(4, number)) == (lib.MSG_ERROR, 0xFFFFFFFF, lib.STEP_VERIFY)


def test_the_rest_must_bring_its_files():
    kind, _, step = in_two_parts(files=1)
    assert (kind, step) == (lib.MSG_ERROR, lib.STEP_PROTOCOL)
    kind, _, step = in_two_parts(header(5, 3))
    assert (kind, step) == (lib.MSG_ERROR, lib.STEP_PROTOCOL)


def test_a_bad_record_in_the_rest_is_refused_by_its_number():
    assert in_two_parts(lambda raw, _: struct.pack_into("H", raw, HEADER, 0)) == (lib.MSG_ERROR, 2, lib.STEP_VERIFY)


def test_nothing_follows_the_rest_in_a_part():
    made = Plan()
    made.rest()
    made.umask(mask=0)
    assert refused(made.pack()) == 0


def test_a_list_must_end_inside_the_area():
    made = Plan()
    made.exec_check(candidates=["/bin/true"])
    raw = bytearray(made.pack())
    del raw[-2:]  # the list's end and the area's last NUL: a string that ends the area, but no empty one behind it
    struct.pack_into("I", raw, 12, len(raw) - HEADER - OP)
    raw[-1] = 0
    assert refused(raw) == 0


def test_random_bytes_are_refused():
    random.seed(1)
    for _ in range(300):
        refused(random.randbytes(random.choice((1, 4, HEADER - 1, HEADER, HEADER + 1, 200, 5000))))


def test_truncated_plans_are_refused():
    whole = packed()
    for size in range(1, len(whole)):
        refused(whole[:size])


def test_mutated_plans_never_crash_it():
    """Anything may be changed but the first op, at which an accepted plan ends: nobody answers its barrier."""
    random.seed(2)
    for _ in range(1000):
        raw = packed()
        for _ in range(random.randrange(1, 20)):
            raw[random.randrange(HEADER + OP, len(raw))] = random.randrange(256)
        kind, _, step = run(bytes(raw))
        assert kind == lib.MSG_BARRIER or step == lib.STEP_VERIFY
