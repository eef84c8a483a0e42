"""How plans are packed, shown and opened, and the words for each way in which an op can fail."""

import errno
import inspect
import os
import string
import struct

import pytest

from pyrun._native import ffi, lib
from pyrun.base.errors import Error
from pyrun.base.facts import facts
from pyrun.config import normal
from pyrun.init import faults
from pyrun.plan import describe, process
from pyrun.plan import records as plans
from pyrun.plan.records import Plan

HEADER = struct.Struct("=5I2H")


def unpacked(plan):
    """(header, ops, string area) of a packed plan."""
    raw = plan.pack()
    header = HEADER.unpack_from(raw)
    size = ffi.sizeof("struct plan_op")
    ops = ffi.new("struct plan_op[]", header[2])
    ffi.buffer(ops)[:] = raw[HEADER.size : HEADER.size + size * header[2]]
    return header, ops, raw[HEADER.size + size * header[2] :]


def text(area, offset):
    return area[offset : area.index(b"\0", offset)].decode()


# --- packing


def test_every_op_has_a_method_that_packs_a_whole_record():
    assert HEADER.size == ffi.sizeof("struct plan_header")
    plan = Plan()
    for name in ffi.typeof("enum plan_opcode").relements:
        if name in ("OP_NONE", "OP_COUNT"):
            continue
        method = getattr(plan, name[3:].lower())
        wanted = [word for word, one in inspect.signature(method).parameters.items() if one.default is inspect.Parameter.empty]
        values = {"str": "x", "int": 1, "bytes": b"x", "Sequence[str]": ["x"]}
        method(**{word: values[method.__annotations__[word]] for word in wanted})
        assert len(plan.records[-1]) == ffi.sizeof("struct plan_op")
        assert plan.notes[-1] == (name[3:].lower(), "", "")


def test_a_packed_plan():
    plan = Plan()
    plan.hostname("hostname", "box", name="box")
    plan.setns(flags=lib.SETNS_TRY, file=plan.given("container"), namespaces=5)
    header, ops, area = unpacked(plan)
    assert header == (lib.PLAN_MAGIC, lib.PLAN_VERSION, 2, len(area), 0, plans.FIRST_SLOT + 1, 0)
    assert (ops[0].op, ops[0].flags) == (lib.OP_HOSTNAME, 0)
    assert text(area, ops[0].hostname.name.at) == "box"
    assert (ops[1].op, ops[1].flags, ops[1].setns.file.slot, ops[1].setns.namespaces) == (lib.OP_SETNS, lib.SETNS_TRY, 2, 5)
    assert area[0] == area[-1] == 0


def test_an_operand_is_given_by_its_name():
    with pytest.raises(TypeError):
        Plan().hostname("hostname", "box", path="box")
    with pytest.raises(TypeError):
        Plan().umask()


def test_a_string_is_kept_once():
    plan = Plan()
    assert plan.text("same") == plan.text("same") != plan.text("other")
    assert plan.text("") == 0


def test_negative_numbers_are_their_64_bits():
    plan = Plan()
    plan.umask(mask=-1)
    assert unpacked(plan)[1][0].umask.mask == 2**64 - 1


def test_lists_keep_empty_strings_and_names_that_are_no_utf8():
    plan = Plan()
    offset = plan.strings(["a", "", "\udcff"])
    assert plan.area[offset:] == b"a\0\0\xff\0\0"


@pytest.mark.parametrize("before", ["", "a", "seven..", "eight..."])
def test_blobs_are_aligned(before):
    plan = Plan()
    plan.text(before)
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
    fds = plan.open_files({"socket": read})
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
        plan.open_files({})
    assert os.listdir("/proc/self/fd") == before


# --- describing


def test_a_line_shows_everything():
    plan = Plan()
    plan.bind(
        "mounts[0]", flags=lib.BIND_RECURSIVE | lib.BIND_TARGET_FILE, tree=plan.given("a"), userns=plan.file("/b", 0, "b"), target="/a b",
        attr_clear=0x11, propagation=0x84000,
    )  # fmt: skip
    plan.exec(candidates=["/x"], argv=["x", ""], env=["SECRET=1"], first_closed=3)
    plan.device(path="/dev/null", mode=0o20666, device=0x103, uid=0, gid=5)
    plan.bounding(kept_caps=1 << 5 | 1 << 50)
    plan.rlimit(resource=7, soft=10, hard=-1)
    plan.mkdir(path="/\x1b[1m")
    assert describe.lines(plan) == [
        "bind opened as <a> on '/a b'; without ro, noatime; rslave; ids of /b; recursive; target file  # mounts[0]",
        "exec /x; args x ''; env SECRET; fds from 3 on closed",
        "device /dev/null char rw-rw-rw- 1:3; owner 0:5",
        "bounding CAP_KILL, 0x4000000000000",
        "rlimit RLIMIT_NOFILE soft 10 hard unlimited",
        "mkdir '/\\x1b[1m'",
    ]


def test_an_operand_of_a_line_is_one_of_the_op():
    for name, line in describe.LINES.items():
        members = [member for member, _ in ffi.typeof(f"struct op_{name}").fields]
        assert {field for _, field, _, _ in string.Formatter().parse(line) if field} <= set(members), name


def test_the_same_for_programs():
    plan = Plan()
    plan.mount("mounts[1]", '"tmpfs" to /x', flags=lib.MOUNT_TARGET_MODE, type="tmpfs", target="/x", options=["a=1"], attr_set=1, ms_flags=1)
    assert describe.data(plan) == [{
        "op": "mount", "where": "mounts[1]", "subject": '"tmpfs" to /x', "flags": ["target_mode"],
        "operands": {"type": "tmpfs", "target": "/x", "options": ["a=1"], "attr_set": ["ro"], "propagation": "", "ms_flags": "0x1"},
    }]  # fmt: skip


def test_binary_data_in_words():
    plan = Plan()
    plan.affinity(cpus=b"\x8f\x01")
    plan.affinity(cpus=bytes(40))
    plan.ids(uid=1, gid=2, gids=struct.pack("=2I", 3, 4))
    process.emit_setup(plan, normal.process_of({
        "cwd": "/",
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    }), normal.config_of({"linux": {
        "personality": {"domain": "LINUX32"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]},
    }})["linux"], facts)  # fmt: skip
    assert [line.partition("  # ")[0] for line in describe.lines(plan)] == [
        "affinity CPUs 0-3,7-8",
        "affinity",
        "ids 1:2; groups 3, 4",
        "affinity CPUs 0-8191",
        "scheduler policy SCHED_BATCH, flags SCHED_FLAG_RESET_ON_FORK, nice 3",
        "ioprio IOPRIO_CLASS_BE 4",
        "personality LINUX32",
        "mempolicy MPOL_BIND, MPOL_F_STATIC_NODES; nodes 0-1,3",
        "umask 0022",
    ]


def test_what_start_needs_is_what_comes_after_the_wait():
    plan = Plan()
    plan.setsid("place", "subject")
    plan.wait_start("place", "subject", socket=2)
    plan.no_new_privs("place", "subject")
    assert plan.notes_from("wait_start") == {"1": ("wait_start", "place", "subject"), "2": ("no_new_privs", "place", "subject")}


# --- errors


def explained(name, where, subject, step, error, detail=""):
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_ERROR, "value": error, "step": step})
    message.detail = detail.encode()
    return str(faults.explain((name, where, subject), message))


ARGS0 = "process.args[0]"
MOUNT = '"src" to rootfs at "/dst"'


@pytest.mark.parametrize(("given", "wanted"), [
    # docker: 127 for `executable file not found` and `no such file or directory`, 126 for `permission denied`
    (("exec_check", ARGS0, "nope", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "nope": executable file not found in $PATH'),
    (("exec", ARGS0, "nope", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "nope": executable file not found in $PATH'),
    (("exec_check", ARGS0, "/x", lib.STEP_EXECVE, errno.ENOENT), 'process.args[0]: exec: "/x": stat /x: no such file or directory'),
    (("exec_check", ARGS0, "/x", lib.STEP_EXECVE, errno.EACCES), 'process.args[0]: exec: "/x": permission denied'),
    (("exec_check", ARGS0, "x", lib.STEP_EXECVE, errno.EACCES), 'process.args[0]: exec: "x": permission denied'),
    (("exec", ARGS0, "/x", lib.STEP_EXECVE, errno.ENOENT), "exec /x: no such file or directory"),
    (("exec", ARGS0, "/x", lib.STEP_EXECVE, errno.ENOEXEC), "exec /x: exec format error"),
    (("chdir", "process.cwd", "/w", lib.STEP_CHDIR, errno.ENOENT),
     'process.cwd: chdir to cwd ("/w") set in config.json failed: no such file or directory'
     " (make the directory in the root file system or change cwd)"),
    (("chdir_check", "process.cwd", "/w", lib.STEP_CHDIR, errno.EACCES),
     'process.cwd: chdir to cwd ("/w") set in config.json failed: permission denied'),
    (("mount", "mounts[2]", MOUNT, lib.STEP_ORDINARY_DIR, errno.ENOTDIR),
     f"error during container init: error mounting {MOUNT}: mounts[2].destination: ordinary_dir: not a directory"
     " (must be mounted on ordinary directory)"),
    (("mount", "mounts[2]", MOUNT, lib.STEP_FSCONFIG, errno.EINVAL, "tmpfs: Unknown parameter 'x'"),
     f"error during container init: error mounting {MOUNT}: mounts[2]: fsconfig: invalid argument (tmpfs: Unknown parameter 'x')"),
    (("bind", "mounts[2]", MOUNT, lib.STEP_OPEN_TREE, errno.ENOENT),
     f"error during container init: error mounting {MOUNT}: mounts[2].source: open_tree: no such file or directory"
     " (create it on the host, or correct the path)"),
    (("bind", "mounts[2]", MOUNT, lib.STEP_OPEN_TREE, errno.EACCES),
     f"error during container init: error mounting {MOUNT}: mounts[2].source: open_tree: permission denied"),
    (("pivot", "root.path", "", lib.STEP_PIVOT_ROOT, errno.EINVAL),
     "error during container init: root.path: pivot_root: invalid argument"
     " (the root file system of the host may be an initramfs: try --no-pivot)"),
    (("setsid", "", "", lib.STEP_SETSID, errno.EPERM), "error during container init: setsid: setsid: operation not permitted"),
    (("sysctl", "linux.sysctl[a]", "a", lib.STEP_WRITE, errno.EINVAL),
     "error during container init: linux.sysctl[a]: write a: invalid argument"),
])  # fmt: skip
def test_an_error_of_init_in_words(given, wanted):
    assert explained(*given) == wanted


def test_every_step_has_a_word():
    assert set(faults.STEP_NAMES) == set(range(lib.STEP_COUNT + 1))


def test_a_detail_that_is_no_text_does_no_harm():
    message = ffi.new("struct plan_msg *", {"type": lib.MSG_ERROR, "value": errno.EIO, "step": 9999})
    ffi.buffer(message.detail)[:] = b"\xff" * ffi.sizeof(message.detail)
    assert "input/output error" in str(faults.explain(("mask", "linux.maskedPaths[0]", "/x"), message))
