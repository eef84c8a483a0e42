"""linux.seccomp (config-linux.md#seccomp): which answer a filter gives, and which profiles are refused."""

import errno
import random
import time

import pytest
from seccomp_model import (
    ALL_BITS,
    ALLOW,
    ARM,
    ENOSYS,
    FAMILY,
    NATIVE,
    X32,
    X32_BIT,
    X86,
    X86_64,
    arg,
    expected,
    libseccomp,
    libseccomps_program,
    like_dockers,
    names,
    number,
    profile,
    rule,
    verdict,
)

from pyrun.base import log
from pyrun.base.errors import ConfigError
from pyrun.config import load
from pyrun.plan import seccomp, seccomp_program

DENY = seccomp.ACTIONS["SCMP_ACT_ERRNO"] | errno.EPERM
KILL = seccomp.ACTIONS["SCMP_ACT_KILL"]
ARCHS = {name.removeprefix("SCMP_ARCH_"): value for name, value in seccomp.ARCHS.items()}


def program(profile):
    return seccomp.compile_profile(profile, None).bpf


def answer(profile, name, *args, arch=X86_64):
    return verdict(program(profile), arch, number(arch, name), (*args, *[0] * (6 - len(args))))


def refused(path, profile):
    with pytest.raises(ConfigError) as error:
        seccomp.compile_profile(profile, None)
    assert error.value.path == path
    return str(error.value)


# --- actions


@pytest.mark.parametrize("name, value", sorted(seccomp.ACTIONS.items()))
def test_each_action_is_returned(name, value):
    word = name.removeprefix("SCMP_ACT_")
    wanted = value | (errno.EPERM if word in ("ERRNO", "TRACE") else 0)
    other = "ALLOW" if word != "ALLOW" else "TRAP"
    assert answer(profile(other, rule(word, "mkdir"), listenerPath="/agent"), "mkdir") == wanted
    if word != "NOTIFY":
        assert answer(profile(word, rule(other, "mkdir")), "chdir") == wanted


def test_the_errno_of_a_rule_and_of_the_default():
    made = profile("ERRNO", rule("ERRNO", "clone3", errnoRet=errno.ENOSYS), rule("TRACE", "mkdir", errnoRet=65535), defaultErrnoRet=errno.EACCES)
    assert answer(made, "clone3") == ENOSYS
    assert answer(made, "mkdir") == 0x7FF0FFFF
    assert answer(made, "chdir") == 0x50000 | errno.EACCES
    assert answer(profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=0)), "mkdir") == 0x50000


@pytest.mark.parametrize("action", ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ALLOW", "LOG"])
def test_an_errno_for_an_action_that_takes_none(action):
    made = profile("ERRNO", rule("TRAP", "chdir"), rule(action, "mkdir", errnoRet=1))
    assert "takes no errno" in refused("linux.seccomp.syscalls[1].errnoRet", made)
    assert "takes no errno" in refused("linux.seccomp.defaultErrnoRet", profile(action, defaultErrnoRet=1))


def test_an_errno_that_the_kernel_would_cut_off():
    assert "from 0 to 4095, not 4096" in refused("linux.seccomp.syscalls[0].errnoRet", profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=4096)))
    assert "from 0 to 65535" in refused("linux.seccomp.defaultErrnoRet", profile("TRACE", defaultErrnoRet=65536))


def test_a_rule_that_does_as_the_default_does_changes_nothing():
    made = profile("ALLOW", rule("ALLOW", "bdflush", "mkdir"), rule("KILL_THREAD", "chdir"))
    assert answer(made, "mkdir") == ALLOW
    assert answer(profile("ALLOW", rule("ALLOW", "mkdir"), rule("ERRNO", "mkdir")), "mkdir") == DENY
    assert answer(profile("KILL", rule("KILL_THREAD", "mkdir"), rule("ALLOW", "chdir")), "mkdir") == KILL


def test_names_that_nobody_knows_are_skipped(capfd):
    made = profile("ALLOW", rule("ERRNO", "no_such_call", "Ünbekannt", "\udcff", "", "mkdir"))
    log.start(None, "text", True)
    try:
        assert answer(made, "mkdir") == DENY
    finally:
        log.start(None, "text", False)
    assert capfd.readouterr().err.count("knows no such system call") == 4


def test_a_profile_that_allows_everything_keeps_other_architectures_out():
    made = program(profile("ALLOW"))
    assert verdict(made, X86_64, 0) == ALLOW
    assert verdict(made, X86, 0) == verdict(made, ARM, 0) == KILL


# --- conditions


@pytest.mark.parametrize("operator", ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])
@pytest.mark.parametrize("value", [0, 1, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 1 << 63, ALL_BITS])
def test_an_operator_on_64_bits(operator, value):
    made = profile("ERRNO", rule("ALLOW", "mkdir", args=[arg(3, operator, value)]))
    around = {value + step & ALL_BITS for step in (-(1 << 32), -1, 0, 1, 1 << 32)} | {0, 1, ALL_BITS, value >> 32, value & 0xFFFFFFFF}
    bpf = program(made)
    for argument in around:
        args = (9, 9, 9, argument, 9, 9)
        assert verdict(bpf, X86_64, number(X86_64, "mkdir"), args) == expected(made, "mkdir", args)


def test_masked_equal():
    made = profile("ERRNO", rule("ALLOW", "mkdir", args=[arg(0, "MASKED_EQ", 0xFF000000000000FF, 0x0100000000000002)]))
    assert answer(made, "mkdir", 0x01FFFFFFFFFFFF02) == ALLOW
    assert answer(made, "mkdir", 0x01FFFFFFFFFFFF03) == answer(made, "mkdir", 0x02FFFFFFFFFFFF02) == DENY
    outside = profile("ERRNO", rule("ALLOW", "mkdir", args=[arg(0, "MASKED_EQ", 0x0F, 0xF1)]))
    assert answer(outside, "mkdir", 0x21) == ALLOW  # what the mask leaves out of valueTwo counts no more than of the argument
    low = profile("ERRNO", rule("ALLOW", "clone", args=[arg(0, "MASKED_EQ", 0x7E020000)]))
    assert answer(low, "clone", 0x1200011) == answer(low, "clone", 1 << 40) == ALLOW
    assert answer(low, "clone", 0x10000000) == DENY


def test_all_conditions_of_a_rule_must_hold():
    made = profile("ERRNO", rule("ALLOW", "socket", args=[arg(0, "EQ", 16), arg(1, "LE", 3), arg(2, "NE", 9)]))
    assert answer(made, "socket", 16, 3, 0) == ALLOW
    assert [answer(made, "socket", *args) for args in ((2, 3, 0), (16, 4, 0), (16, 3, 9))] == [DENY] * 3


def test_conditions_on_one_argument_are_alternatives():
    made = profile("ERRNO", rule("ALLOW", "mkdir", args=[arg(0, "EQ", 1), arg(0, "EQ", 2), arg(1, "EQ", 7)]))
    assert [answer(made, "mkdir", *args) for args in ((1, 0), (2, 0), (0, 7))] == [ALLOW] * 3
    assert answer(made, "mkdir", 3, 8) == DENY


def test_the_first_rule_that_holds_counts_but_one_without_conditions_before_it():
    rules = [rule("TRAP", "mkdir", args=[arg(0, "EQ", 1)]), rule("ALLOW", "mkdir", args=[arg(0, "LT", 5)])]
    assert [answer(profile("ERRNO", *rules), "mkdir", value) for value in (1, 2, 5)] == [0x30000, ALLOW, DENY]
    assert answer(profile("ERRNO", *rules, rule("LOG", "mkdir"), rule("KILL", "mkdir")), "mkdir", 1) == 0x7FFC0000


def test_architectures_of_32_bits_compare_32_bits():
    """A value of -1 is written with 64 bits, and such an argument arrives with 32."""
    made = profile("ERRNO", rule("ALLOW", "mkdir", args=[arg(1, "EQ", ALL_BITS)]), archs=("X86", "X86_64", "MIPSEL64N32"))
    assert answer(made, "mkdir", 0, 0xFFFFFFFF, arch=X86) == answer(made, "mkdir", 0, 0xFFFFFFFF, arch=ARCHS["MIPSEL64N32"]) == ALLOW
    assert answer(made, "mkdir", 0, 0xFFFFFFFF) == DENY


def test_what_libseccomp_never_gets_done():
    """With these rules it runs for ever (2.5.4 to 2.6.1)."""
    made = profile(
        "ERRNO",
        rule("ALLOW", "mmap", args=[arg(1, "EQ", 1), arg(2, "NE", 2), arg(0, "NE", 2)]),
        rule("ALLOW", "mmap", args=[arg(2, "EQ", 1), arg(0, "NE", 2)]),
    )
    assert [answer(made, "mmap", *args) for args in ((0, 1, 0), (0, 5, 1), (2, 1, 1), (0, 5, 0))] == [ALLOW, ALLOW, DENY, DENY]


VALUES = [0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 1 << 63, ALL_BITS - 1, ALL_BITS]


def random_profile(chance):
    """Each system call has one action; up to four entries of the profile name it."""
    made = profile(chance.choice(["ERRNO", "KILL", "ALLOW", "TRACE", "TRAP"]))
    left = chance.sample(sorted(names().values()), chance.choice([0, 1, 5, 30, 100]))
    while left:
        called = [left.pop() for _ in range(min(len(left), chance.randint(1, 5)))]
        action = chance.choice(["ALLOW", "ERRNO", "KILL_PROCESS", "TRAP", "LOG"])
        for _ in range(chance.choice([1, 1, 2, 4])):
            made["syscalls"].append(rule(action, *called, args=random_conditions(chance)))
    chance.shuffle(made["syscalls"])
    return made


def random_conditions(chance):
    conditions = []
    for index in [2, 2] if chance.random() < 0.1 else chance.sample(range(6), chance.randint(0, 4)):
        operator, value = chance.choice(sorted(seccomp.OPERATORS)).removeprefix("SCMP_CMP_"), random_value(chance)
        conditions.append(arg(index, operator, value, random_value(chance) & value if operator == "MASKED_EQ" else None))
    return conditions


def random_value(chance):
    return chance.choice(VALUES) if chance.random() < 0.8 else chance.getrandbits(64)


@pytest.mark.parametrize("seed", range(60))
def test_the_answers_to_random_profiles(seed):
    chance = random.Random(seed)
    made = random_profile(chance)
    bpf = program(made)
    newest = max([number(X86_64, name) for entry in made["syscalls"] for name in entry["names"]], default=-1)
    refuses = made["defaultAction"] in ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP")
    for nr, name in names().items():
        mentioned = [one for entry in made["syscalls"] if name in entry["names"] for one in entry["args"]]
        for _ in range(30 if mentioned else 1):
            args = [random_value(chance) for _ in range(6)]
            for one in mentioned:
                if chance.random() < 0.6:
                    args[one["index"]] = one.get("valueTwo", one["value"]) + chance.choice([0, 0, 1, -1]) & ALL_BITS
            wanted = ENOSYS if refuses and nr > newest >= 0 else expected(made, name, args)
            assert verdict(bpf, X86_64, nr, args) == wanted, (name, args)
            assert NATIVE != X86_64 or seccomp.Filter(bpf, 0).answer(name, *args) == wanted, (name, args)


def test_a_program_that_is_not_ours_lets_nothing_pass():
    for instructions in (b"", bytes.fromhex("2000000040000000 060000000000ff7f"), bytes.fromhex("0000000000000000 060000000000ff7f")):
        assert not seccomp.Filter(instructions, 0).lets_pass("write")
    assert seccomp.Filter(bytes.fromhex("060000000000ff7f"), 0).lets_pass("write")


# --- the same answers as libseccomp's, where it is right

FAMILIES = [["X86_64", "X86", "X32"], ["AARCH64", "ARM"], ["MIPSEL", "MIPSEL64", "MIPSEL64N32"], ["PPC64LE", "RISCV64"]]
BASES = {"X32": X32_BIT, "MIPSEL": 4000, "MIPSEL64": 5000, "MIPSEL64N32": 6000}


@pytest.mark.parametrize("archs", FAMILIES, ids=lambda archs: archs[0])
def test_libseccomp_gives_the_same_answers(archs):
    if not libseccomp():
        pytest.skip("no libseccomp.so")
    chance = random.Random(1)
    made = like_dockers(*archs)
    ours, theirs = program(made), libseccomps_program(made)
    named = {name for entry in made["syscalls"] for name in entry["names"]}
    for word in ["X86_64", *archs]:
        base = BASES.get(word, 0)
        known = {number(ARCHS[word], name) for name in named}
        for nr in [*range(base, base + 600), 0xF0002, 0xF0005, 0x80000000]:
            # The first argument of socketcall and ipc selects the call.
            args = [chance.choice([*range(40), 0x20000, 0x7E020000, 0xFFFFFFFF, 1 << 32]) for _ in range(6)]
            mine, other = (verdict(bpf, ARCHS[word], nr, args) for bpf in (ours, theirs))
            newer = mine == ENOSYS and other == DENY and nr not in known
            assert mine == other or newer, (word, nr, args)
    for arch in (ARCHS["S390X"], ARCHS["MIPS"], 0xDEADBEEF):
        assert verdict(ours, arch, 1) == verdict(theirs, arch, 1) == KILL


def test_the_numbers_of_the_tables_are_libseccomps():
    if not libseccomp():
        pytest.skip("no libseccomp.so")
    for name, value in ARCHS.items():
        found = libseccomp().seccomp_arch_resolve_name(name.lower().encode())
        assert found in (value, 0), name  # 0: newer than the library
    assert libseccomp().seccomp_arch_resolve_name(b"x32") == X32


def test_socketcall_lets_through_what_socket_does():
    """On x86 it can't be seen which family a socketcall asks for."""
    made = profile("ERRNO", rule("ALLOW", "socket", args=[arg(0, "EQ", 16)]), rule("ALLOW", "shmget"), archs=("X86",))
    bpf = program(made)
    assert verdict(bpf, X86, 102, (1, 0xFFFF0000, 0, 0, 0, 0)) == ALLOW  # SYS_SOCKET
    assert verdict(bpf, X86, 102, (2, 0xFFFF0000, 0, 0, 0, 0)) == DENY  # SYS_BIND
    assert [verdict(bpf, X86, 359, (family, 0, 0, 0, 0, 0)) for family in (16, 2)] == [ALLOW, DENY]
    assert [verdict(bpf, X86, 117, (call, 0, 0, 0, 0, 0)) for call in (23, 24)] == [ALLOW, DENY]
    assert verdict(bpf, X86, 395) == ALLOW


# --- architectures


NATIVE_WORD, OTHER_WORD = (f"SCMP_ARCH_{name}" for name in FAMILY[:2])


@pytest.mark.parametrize("given", [None, [], [NATIVE_WORD], [OTHER_WORD, OTHER_WORD]])
def test_the_native_architecture_is_always_in(given):
    made = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": given}
    assert verdict(program(made), NATIVE, 0) == ALLOW
    assert verdict(program(made), seccomp.ARCHS[OTHER_WORD], 0) == (ALLOW if given and OTHER_WORD in given else KILL)


@pytest.mark.parametrize("name", sorted(ARCHS))
def test_each_architecture_of_the_specification(name):
    """It works, or there is a reason."""
    made = profile("ERRNO", rule("ALLOW", "read"), archs=(name,))
    if not ARCHS[name] & 0x40000000:
        assert "has another byte order than this machine" in refused("linux.seccomp.architectures[0]", made)
        return
    try:
        bpf = program(made)
    except ConfigError as error:  # newer than the library
        assert error.path == "linux.seccomp.architectures[0]" and f"does not know SCMP_ARCH_{name}" in str(error)
        assert name in ("LOONGARCH64", "SH")
        return
    assert verdict(bpf, ARCHS[name], number(ARCHS[name], "read")) == ALLOW


def test_x32_is_told_from_x86_64_by_the_number():
    rules = [rule("ALLOW", "getpid", "read"), rule("LOG", "ioctl")]
    both = program(profile("TRACE", *rules, archs=("X86_64", "X32")))
    alone = program(profile("TRACE", *rules))
    assert verdict(both, X86_64, 39) == verdict(both, X86_64, X32_BIT + 39) == verdict(alone, X86_64, 39) == ALLOW
    assert verdict(both, X86_64, 16) == verdict(both, X86_64, X32_BIT + 514) == 0x7FFC0000  # x32 has its own ioctl
    assert verdict(both, X86_64, X32_BIT + 16) == 0x7FF00001
    assert verdict(alone, X86_64, X32_BIT + 39) == KILL


# --- ENOSYS for what is newer than the profile


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"])
def test_newer_calls_get_enosys(default):
    made = profile(default, rule("ALLOW", "read", "openat2", "not_yet"), rule(default, "faccessat2"))
    assert number(X86_64, "faccessat2") == 439
    assert [verdict(program(made), X86_64, nr) for nr in (440, 462, 99999, X32_BIT - 1)] == [ENOSYS] * 4
    assert ENOSYS not in [verdict(program(made), X86_64, nr) for nr in (0, 1, 436, 437, 439)]


@pytest.mark.parametrize("default", ["ALLOW", "LOG", "TRACE"])
def test_defaults_that_let_calls_pass_do_so_for_newer_ones(default):
    made = profile(default, rule("ERRNO", "read"))
    assert verdict(program(made), X86_64, 462) & 0xFFFF0000 == seccomp.ACTIONS[f"SCMP_ACT_{default}"]


def test_a_profile_without_names_has_no_age():
    assert verdict(program(profile("ERRNO")), X86_64, 462) == DENY


def test_each_architecture_has_its_own_newest_call():
    made = profile("ERRNO", rule("ALLOW", "futex_time64", "execve"), archs=("X86_64", "X86", "X32", "ARM"))
    bpf = program(made)
    assert number(X86, "futex_time64") == 422 and number(X86_64, "futex_time64") < 0
    assert [verdict(bpf, X86, nr) for nr in (421, 422, 423)] == [DENY, ALLOW, ENOSYS]
    assert [verdict(bpf, X86_64, nr) for nr in (58, 59, 60)] == [DENY, ALLOW, ENOSYS]


def test_numbers_beside_the_row_say_nothing_about_a_profiles_age():
    """x32's own calls (512…547) and ARM's private ones (from 0x0f0000) are old ones."""
    made = program(profile("ERRNO", rule("ALLOW", "faccessat2", "execveat", "cacheflush"), archs=("X86_64", "X32", "ARM")))
    assert [verdict(made, X32, X32_BIT + nr) for nr in (438, 439, 440, 511)] == [DENY, ALLOW, ENOSYS, ENOSYS]
    assert [verdict(made, X32, X32_BIT + nr) for nr in (512, 545, 546)] == [DENY, ALLOW, ENOSYS]
    assert [verdict(made, ARM, nr) for nr in (438, 439, 440, 0x0EFFFF)] == [DENY, ALLOW, ENOSYS, ENOSYS]
    assert [verdict(made, ARM, nr) for nr in (0x0F0001, 0x0F0002, 0x0F0003)] == [DENY, ALLOW, ENOSYS]


def test_the_number_that_means_no_call():
    """A tracer writes -1 over the number: nothing may be killed for that."""
    for archs in (("X86_64",), ("X86_64", "X32")):
        assert verdict(program(profile("KILL_PROCESS", rule("ALLOW", "read"), archs=archs)), X86_64, 0xFFFFFFFF) == ENOSYS
        assert verdict(program(profile("ALLOW", rule("KILL", "read"), archs=archs)), X86_64, 0xFFFFFFFF) == ALLOW


def test_s390_has_no_number_for_what_its_kernel_does_not_know():
    arch = ARCHS["S390X"]
    bpf = seccomp_program.build([arch], {"read": [(ALLOW, [])], "reboot": [(ALLOW, [])]}, DENY, ENOSYS)
    assert [verdict(bpf, arch, nr) for nr in (0, 1, 3, 88, 89)] == [ENOSYS, DENY, ALLOW, ALLOW, ENOSYS]


# --- flags


@pytest.mark.parametrize(
    "flags, value",
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"], 6),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0x28),
    ],
)
def test_flags(flags, value, capfd):
    """The last one takes an agent."""
    action = "NOTIFY" if value & 8 else "ERRNO"
    log.start(None, "text", True)
    try:
        found = seccomp.compile_profile(profile("ALLOW", rule(action, "mkdir"), flags=flags, listenerPath="/agent"), None)
    finally:
        log.start(None, "text", False)
    assert (found.flags, found.notify) == (value, action == "NOTIFY")
    assert f'"seccomp filter flags: {value}"' in capfd.readouterr().err


def test_wait_killable_needs_a_listener():
    flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    assert "SCMP_ACT_NOTIFY" in refused("linux.seccomp.flags[1]", profile("ALLOW", rule("ERRNO", "mkdir"), flags=flags))


def test_every_flag_is_known_to_a_kernel_of_today():
    assert all(seccomp.flag_supported(name) for name in seccomp.FLAGS)


# --- notification


def test_notify():
    assert seccomp.compile_profile(profile("ALLOW", rule("NOTIFY", "mkdir"), listenerPath="/agent"), None).notify
    assert "SCMP_ACT_NOTIFY" in refused("linux.seccomp.listenerPath", profile("ALLOW", rule("NOTIFY", "mkdir"), listenerPath=""))
    without = profile("ALLOW", rule("ERRNO", "mkdir"), listenerPath="/agent", listenerMetadata="x")
    assert not seccomp.compile_profile(without, None).notify
    refused("linux.seccomp.listenerMetadata", profile("ALLOW", listenerMetadata="x"))


def test_notify_where_nobody_could_answer():
    words = "SCMP_ACT_NOTIFY cannot be used for the write syscall"
    made = profile("ALLOW", rule("ERRNO", "write"), rule("NOTIFY", "read", "write"), listenerPath="/agent")
    assert words in refused("linux.seccomp.syscalls[1].names[1]", made)
    assert "SCMP_ACT_NOTIFY" in refused("linux.seccomp.defaultAction", profile("NOTIFY", listenerPath="/agent"))


# --- size


def test_more_rules_than_the_kernel_takes():
    rules = [rule("ALLOW", "mkdir", args=[arg(0, "EQ", value)]) for value in range(2000)]
    begin = time.monotonic()
    assert "the kernel takes 4096" in refused("linux.seccomp.syscalls", profile("ERRNO", *rules))
    assert time.monotonic() - begin < 2


def test_conditions_of_many_calls_are_in_the_program_once():
    conditions = [arg(index, "EQ", 1 << 40) for index in range(6)]
    called = [name for nr, name in names(NATIVE).items() if nr % 2]
    assert len(program(profile("ERRNO", rule("ALLOW", *called, args=conditions), archs=FAMILY[:1]))) < 8 * 1000


def test_jumps_over_more_than_255_instructions():
    rules = [rule("ALLOW", "mkdir", args=[arg(0, "EQ", value)]) for value in range(280)]
    made = profile("ERRNO", *rules, rule("TRAP", *[name for nr, name in names().items() if nr % 2 and name != "mkdir"]), archs=("X86_64", "X86"))
    bpf = program(made)
    assert [verdict(bpf, X86_64, 83, (value, 0, 0, 0, 0, 0)) for value in (0, 279, 280)] == [ALLOW, ALLOW, DENY]
    assert [verdict(bpf, X86, 39, (value, 0, 0, 0, 0, 0)) for value in (0, 279, 280)] == [ALLOW, ALLOW, DENY]
    assert [verdict(bpf, X86_64, nr) for nr in (200, 201, 202)] == [DENY, 0x30000, DENY]


# --- the whole way


def test_a_profile_of_the_configs_check(tmp_path):
    """What compile_profile() does not look at is refused before it is asked."""
    base = {"ociVersion": "1.3.0", "root": {"path": str(tmp_path)}, "process": {"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}}}
    wrong = {
        "linux.seccomp.syscalls[1].action": profile("ALLOW", rule("ERRNO", "read"), rule("FORBID", "write")),
        "linux.seccomp.syscalls[0].args[0].op": profile("ALLOW", rule("ERRNO", "read", args=[arg(0, "LIKE", 1)])),
        "linux.seccomp.syscalls[0].args[0].index": profile("ALLOW", rule("ERRNO", "read", args=[arg(6, "EQ", 1)])),
        "linux.seccomp.syscalls[0].args[0].value": profile("ALLOW", rule("ERRNO", "read", args=[arg(0, "EQ", 1 << 64)])),
        "linux.seccomp.syscalls[0].names": profile("ALLOW", rule("ERRNO")),
        "linux.seccomp.architectures[0]": profile("ALLOW", archs=("PDP11",)),
        "linux.seccomp.flags[0]": profile("ALLOW", flags=["SECCOMP_FILTER_FLAG_NEW"]),
        "linux.seccomp.defaultAction": profile("PERMIT"),
    }
    for path, made in wrong.items():
        with pytest.raises(ConfigError) as error:
            load.check({**base, "linux": {"seccomp": made}}, bundle=str(tmp_path))
        assert error.value.path == path
