"""How plans are packed, shown and opened, and the words for each way in which an op can fail."""

import errno
import os
import struct

import pytest

from pyrun import faults
from pyrun import plan as plans
from pyrun._native import ffi, lib
from pyrun.errors import Error
from pyrun.plan import Plan

HEADER, OP = struct.Struct("=6I"), struct.Struct("=HHiiI4I6Q")


def unpacked(plan):
    """(header, ops, string area) of a packed plan."""
    raw = plan.pack()
    header = HEADER.unpack_from(raw)
    ops = [OP.unpack_from(raw, HEADER.size + OP.size * index) for index in range(header[2])]
    return header, ops, raw[HEADER.size + OP.size * header[2] :]


def text(area, offset):
    return area[offset : area.index(b"\0", offset)].decode()


# --- packing


def test_the_records_are_those_of_the_header_file():
    assert HEADER.size == ffi.sizeof("struct plan_header")
    assert OP.size == ffi.sizeof("struct plan_op")
    wanted = {"op": 0, "flags": 2, "fd": 4, "fd2": 8, "len": 12, "s": 16, "n": 32}
    assert {name: ffi.offsetof("struct plan_op", name) for name in wanted} == wanted


def test_a_packed_plan():
    plan = Plan()
    plan.add(lib.OP_HOSTNAME, "hostname", "box", s=("box",))
    plan.add(lib.OP_SETNS, flags=lib.SETNS_TRY, fd=plan.given("container"), n=(5,))
    header, ops, area = unpacked(plan)
    assert header == (lib.PLAN_MAGIC, lib.PLAN_VERSION, 2, len(area), plans.FIRST_SLOT + 1, 0)
    assert ops[0][:5] == (lib.OP_HOSTNAME, 0, -1, -1, 0)
    assert text(area, ops[0][5]) == "box"
    assert ops[1][:4] == (lib.OP_SETNS, lib.SETNS_TRY, 2, -1)
    assert ops[1][9:] == (5, 0, 0, 0, 0, 0)
    assert area[0] == area[-1] == 0


def test_a_string_is_kept_once():
    plan = Plan()
    assert plan.string("same") == plan.string("same") != plan.string("other")
    assert plan.string("") == 0


def test_negative_numbers_are_their_64_bits():
    plan = Plan()
    plan.add(lib.OP_UMASK, n=(-1,))
    assert unpacked(plan)[1][0][9] == 2**64 - 1


def test_lists_keep_empty_strings_and_names_that_are_no_utf8():
    plan = Plan()
    offset = plan.strings(["a", "", "\udcff"])
    assert plan.area[offset:] == b"a\0\0\xff\0\0"


@pytest.mark.parametrize("before", ["", "a", "seven..", "eight..."])
def test_blobs_are_aligned(before):
    plan = Plan()
    plan.string(before)
    offset = plan.blob(b"data")
    assert offset % 8 == 0 and offset > 0
    assert plan.area[offset : offset + 4] == b"data"


# --- files


def test_a_file_is_opened_once_and_closed_unless_given(tmp_path):
    (tmp_path / "a").touch()
    plan = Plan()
    own = plan.file(str(tmp_path / "a"), os.O_RDONLY, "here")
    assert plan.file(str(tmp_path / "a"), os.O_RDONLY, "here") == own
    given = plan.given("socket")
    read, write = os.pipe()
    fds = plan.open_files(socket=read)
    assert len(fds) == 2 and fds[given - plans.FIRST_SLOT] == read
    assert os.readlink(f"/proc/self/fd/{fds[own - plans.FIRST_SLOT]}") == str(tmp_path / "a")
    plan.close_files(fds)
    os.fstat(read)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[own - plans.FIRST_SLOT])
    os.close(read)
    os.close(write)


def test_a_missing_file_is_named_with_its_place_and_the_others_are_closed(tmp_path):
    (tmp_path / "a").touch()
    plan = Plan()
    plan.file(str(tmp_path / "a"), os.O_RDONLY, "one")
    plan.file("/no/ns", os.O_RDONLY, "linux.namespaces[1].path")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Error, match=r"^linux\.namespaces\[1\]\.path: open /no/ns: no such file or directory$"):
        plan.open_files()
    assert os.listdir("/proc/self/fd") == before


# --- describing


def test_a_line_shows_everything():
    plan = Plan()
    plan.add(
        lib.OP_BIND, "mounts[0]", flags=lib.BIND_RECURSIVE | lib.BIND_TARGET_FILE, fd=plan.given("a"), fd2=plan.file("/b", 0, "b"),
        s=("", "/target", plan.strings(["x", ""])), n=(0, 16),
    )  # fmt: skip
    assert plan.describe() == ["BIND RECURSIVE TARGET_FILE fd=2:<a> fd2=3:/b '' '/target' ['x', ''] n=0x0,0x10 # mounts[0]"]


def test_binary_data_is_cut():
    plan = Plan()
    plan.add(lib.OP_AFFINITY, size=3, s=(plan.blob(b"abc"),))
    plan.add(lib.OP_AFFINITY, size=40, s=(plan.blob(bytes(40)),))
    assert plan.describe() == ["AFFINITY <3 bytes: 616263>", f"AFFINITY <40 bytes: {'00' * 32}…>"]


def test_what_start_needs_is_what_comes_after_the_wait():
    plan = Plan()
    for opcode in (lib.OP_SETSID, lib.OP_WAIT_START, lib.OP_CAPS):
        plan.add(opcode, "place", "subject")
    assert plan.later_notes(lib.OP_WAIT_START) == {"1": ("WAIT_START", "place", "subject"), "2": ("CAPS", "place", "subject")}


# --- errors


def explained(opcode, where, subject, step, error, detail=""):
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_ERROR, "value": error, "step": step})
    message.detail = detail.encode()
    return str(faults.explain((opcode, where, subject), message))


ARGS0 = "process.args[0]"
MOUNT = '"src" to rootfs at "/dst"'


@pytest.mark.parametrize(("given", "wanted"), [
    # docker: 127 for `executable file not found` and `no such file or directory`, 126 for `permission denied`
    ((lib.OP_EXEC_CHECK, ARGS0, "nope", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "nope": executable file not found in $PATH'),
    ((lib.OP_EXEC, ARGS0, "nope", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "nope": executable file not found in $PATH'),
    ((lib.OP_EXEC_CHECK, ARGS0, "/x", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "/x": stat /x: no such file or directory'),
    ((lib.OP_EXEC_CHECK, ARGS0, "/x", lib.STEP_EXECVE, errno.EACCES), 'process.args[0]: exec: "/x": permission denied'),
    ((lib.OP_EXEC_CHECK, ARGS0, "x", lib.STEP_EXECVE, errno.EACCES), 'process.args[0]: exec: "x": permission denied'),
    ((lib.OP_EXEC, ARGS0, "/x", lib.STEP_EXECVE, errno.ENOENT), "exec /x: no such file or directory"),
    ((lib.OP_EXEC, ARGS0, "/x", lib.STEP_EXECVE, errno.ENOEXEC), "exec /x: exec format error"),
    ((lib.OP_CHDIR, "process.cwd", "/w", lib.STEP_CHDIR, errno.ENOENT),
     'process.cwd: chdir to cwd ("/w") set in config.json failed: no such file or directory'
     " (make the directory in the root file system or change cwd)"),
    ((lib.OP_CHDIR_CHECK, "process.cwd", "/w", lib.STEP_CHDIR, errno.EACCES),
     'process.cwd: chdir to cwd ("/w") set in config.json failed: permission denied'),
    ((lib.OP_MOUNT, "mounts[2]", MOUNT, lib.STEP_ORDINARY_DIR, errno.ENOTDIR),
     f"error during container init: error mounting {MOUNT}: mounts[2].destination: ordinary_dir: not a directory"
     " (must be mounted on ordinary directory)"),
    ((lib.OP_MOUNT, "mounts[2]", MOUNT, lib.STEP_FSCONFIG, errno.EINVAL, "tmpfs: Unknown parameter 'x'"),
     f"error during container init: error mounting {MOUNT}: mounts[2]: fsconfig: invalid argument (tmpfs: Unknown parameter 'x')"),
    ((lib.OP_BIND, "mounts[2]", MOUNT, lib.STEP_OPEN_TREE, errno.ENOENT),
     f"error during container init: error mounting {MOUNT}: mounts[2].source: open_tree: no such file or directory"
     " (create it on the host, or correct the path)"),
    ((lib.OP_BIND, "mounts[2]", MOUNT, lib.STEP_OPEN_TREE, errno.EACCES),
     f"error during container init: error mounting {MOUNT}: mounts[2].source: open_tree: permission denied"),
    ((lib.OP_PIVOT, "root.path", "", lib.STEP_PIVOT_ROOT, errno.EINVAL),
     "error during container init: root.path: pivot_root: invalid argument"
     " (the root file system of the host may be an initramfs: try --no-pivot)"),
    ((lib.OP_SETSID, "", "", lib.STEP_SETSID, errno.EPERM), "error during container init: setsid: setsid: operation not permitted"),
    ((lib.OP_SYSCTL, "linux.sysctl[a]", "a", lib.STEP_WRITE, errno.EINVAL),
     "error during container init: linux.sysctl[a]: write a: invalid argument"),
])  # fmt: skip
def test_an_error_of_init_in_words(given, wanted):
    assert explained(*given) == wanted


def test_every_step_has_a_word_and_every_op_a_name():
    assert set(faults.STEP_NAMES) == set(range(lib.STEP_COUNT + 1))
    assert set(plans.OP_NAMES) == set(range(lib.OP_COUNT + 1))


def test_a_detail_that_is_no_text_does_no_harm():
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_ERROR, "value": errno.EIO, "step": 9999})
    ffi.buffer(message.detail)[:] = b"\xff" * ffi.sizeof(message.detail)
    assert "input/output error" in str(faults.explain((lib.OP_MASK, "linux.maskedPaths[0]", "/x"), message))
