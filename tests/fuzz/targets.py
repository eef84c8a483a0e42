"""The targets in Python. Each takes any bytes, and does with them what a command would do: it gives a right answer, or raises Error.

What a command makes of its input ends in a plan; each is given to init's own check. Of one machine and another facts are given.
"""

import ctypes
import errno
import json
import os
import posix
import shutil
import socket
import struct
import tempfile
import time

import configs
from fuzz import programs

from pyrun.base import errors, jsonio, log, output
from pyrun.base.errors import Error
from pyrun.base.facts import Facts
from pyrun.cgroup import bpf, devices, layout, resources
from pyrun.cgroup.base import Hierarchy
from pyrun.cgroup.systemd import dbus, unit
from pyrun.cli import declaration, scan
from pyrun.commands import spec
from pyrun.config import load, normal
from pyrun.config.annotations import SYSTEMD_PROPERTY
from pyrun.container import record
from pyrun.criu import protobuf, service
from pyrun.host import netdevices, rdt
from pyrun.plan import create, describe, seccomp
from pyrun.plan.context import Context
from pyrun.plan.execute import process_plan
from pyrun.plan.hook import hook_plan
from pyrun.plan.namespaces import Entrance
from pyrun.plan.process import ALL_CAPABILITIES
from pyrun.plan.records import Plan
from pyrun.plan.request import Additions, Request

SECONDS = 2
"""Of processor time, the most that an input may take: a thousand times what it does."""
LONGEST = 50_000
"""Characters, the most that an error may have: a name of 8 KB, each a \\u1234."""
EVERY_NAMESPACE = 0x7E020080
REAL = {
    "uid": 0, "gid": 0, "in_user_namespace": False, "denies_setgroups": False, "owns_mounts": True, "selinux": True, "apparmor": True,
    "capabilities": (ALL_CAPABILITIES, ALL_CAPABILITIES), "is_file": lambda path, nofollow: "f" in path,
}  # fmt: skip
V1 = [["pids"], ["cpu", "cpuacct"], ["name=systemd"], [""]]
MACHINES = [([[""]], {}), (V1, {"selinux": False}), ([[""]], {"uid": 1000, "gid": 1000, "capabilities": (0, ALL_CAPABILITIES)}),
            (V1, {"in_user_namespace": True, "owns_mounts": False, "denies_setgroups": True})]  # fmt: skip
DIRECTORY = tempfile.mkdtemp(prefix="pyrun-fuzz-", dir=os.environ.get("TMPDIR", "/dev/shm"))
"""The bundle, with a root file system."""
os.mkdir(f"{DIRECTORY}/rootfs")


def tidy():
    shutil.rmtree(DIRECTORY)


# --- what is asserted


def judge(target, data):
    """Raises AssertionError, or whatever else is not allowed, for an input that the target does not take as it must."""
    begin = time.process_time()
    attempt(TARGETS[target], data)
    took = time.process_time() - begin
    assert took < SECONDS, f"it takes {took:.1f} s"


def attempt(function, *args):
    """The result of a call, None after an error, which must be one that a user can read."""
    try:
        return function(*args)
    except Error as fault:
        line = errors.visible(str(fault))
        assert line and "\n" not in line and len(line) < LONGEST, f"an error that is not a line: {line[:300]}"
        assert not line.endswith(": "), f"an error without a reason: {line[:300]}"
        return None


def accepted(plan):
    """Holds a plan to what init holds it to; and each of its ops can be shown."""
    rest = next((index + 1 for index, note in enumerate(plan.notes) if note[0] == "rest"), 0)
    parts = [(plan.pack(since=rest), rest)]
    if rest:
        first = Plan()
        first.records, first.area, first.files = plan.records[:rest], plan.area, plan.files
        parts.append((first.pack(), 0))
    for raw, since in parts:
        verdict = programs.library().verify_plan(ctypes.create_string_buffer(raw, len(raw)), ctypes.c_size_t(len(raw)), since)
        assert verdict == 0, "init refuses the plan"
    if len(plan.area) % 8 == 0:  # it takes long
        assert len(describe.lines(plan)) == len(plan.records)
        json.dumps(describe.data(plan))


# --- config, process, resources


def written(data, name="config.json"):
    path = f"{DIRECTORY}/{name}"
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC)
    posix.write(fd, data)
    posix.close(fd)
    return path


def context_of(config, machine):
    names, facts = machine
    mounts = [layout.Mount(name, "/sys/fs/cgroup" + f"/{name[0]}" * (names == V1), "") for name in names]
    files = [f"{mount.point}/box/cgroup.procs" for mount in mounts]
    hierarchies = [Hierarchy(mount, f"{mount.point}/box") for mount in mounts]
    return attempt(Context, config, Request("box", DIRECTORY), files, hierarchies, Additions(1, ["A=b"]), Facts(**REAL | facts))


class Group:
    """A cgroup that is nowhere."""

    def __init__(self, version):
        self.version = version

    def version_of(self, controller):
        return self.version, "/none"


def limits(given, annotations=()):
    for version in (1, 2):
        asked = attempt(resources.writes, given, Group(version), "linux.resources")
        for systemd in (219, 255) if asked else ():
            marshalled(unit.of_limits(asked, lambda directory: lambda file: "", systemd))
    filter = attempt(devices.compile, given.get("devices", ()), "linux.resources.devices")
    if filter:
        assert len(bpf.assemble(filter)) % 8 == 0
        devices.v1_writes(filter)
        marshalled(unit.of_devices(filter))
    marshalled(attempt(unit.annotated, annotations) if annotations else [])


def marshalled(properties):
    """Properties of systemd's that D-Bus can carry, and gives back."""
    for name, variant in properties or ():
        message = bytearray()
        dbus.encode(message, "(sv)", (name, variant))
        value, size = dbus.decode(bytes(message), 0, "(sv)")
        assert size == len(message) and value[0] == name


def config(data):
    written(data)
    given = load.load(DIRECTORY)
    load.check(given, bundle=DIRECTORY)
    full = normal.config_of(given)
    filter = attempt(seccomp.compile_profile, full["linux"]["seccomp"], None) if full["linux"]["seccomp"].get("defaultAction") else None
    context = context_of(full, MACHINES[len(data) % len(MACHINES)])
    plan = attempt(create.first_part, context) if context else None
    if plan:
        attempt(create.emit_rest, plan, context, filter, len(data) % 3 > 0)
        accepted(plan)
    for kind in normal.CONFIG["hooks"]:
        for hook in full["hooks"][kind]:
            accepted(hook_plan(hook, hook["env"] or [], 0, Entrance(EVERY_NAMESPACE, {"container": -1}), [], True, "/rootfs", filter))
    limits(full["linux"]["resources"], full["annotations"])
    attempt(unit.parse, full["linux"]["cgroupsPath"], "box", False)
    if full["linux"]["intelRdt"] is not None:
        rdt.schemata(full["linux"]["intelRdt"])


BASE = normal.config_of(configs.BASE | {"linux": {"namespaces": [{"type": "mount"}]}})


def process(data):
    path = written(data, "process.json")
    given = load.load_process(path)
    load.check_process(given)
    full = normal.process_of(given)
    for mask in (EVERY_NAMESPACE, 0x20000000):
        facts = Facts(**REAL)
        plan = attempt(process_plan, BASE, full, Additions(2), None, Entrance(mask, {"container": -1}), ["/c"], lambda: False, "/proc/7/root", facts)
        if plan:
            accepted(plan)


def update(data):
    limits(load.load_resources(written(data, "resources.json")))


# --- the other formats


def state(data):
    try:
        value = record.decode("/run/pyrun", "box", data)
    except record.Unusable as fault:
        value = record.whole(fault.data)
        attempt(_again, fault)
    assert value.keys() >= record.BLANK.keys() and value["cgroup"].__class__ in (dict, type(None))


def _again(fault):
    raise fault


def argv(data):
    words = data.decode("utf-8", "surrogateescape").split("\0")
    quick = scan.parse(words)
    try:
        slow = declaration.parse(words)
    except SystemExit as end:  # after help
        assert end.code in (0, None)
        slow = None
    assert quick is None or (slow is not None and (vars(quick[0]), quick[1:]) == (vars(slow[0]), slow[1:]))


def mountinfo(data):
    mounts, _, own = data.decode("utf-8", "surrogateescape").partition("\0")
    try:
        found = layout.parse(mounts, own, lambda point, device: True)
    except ValueError as fault:  # discover() makes an Error of it
        assert str(fault)
        return
    for mount in found:
        assert mount.names


def netlink(data):
    """The kernel's answers to the two questions, and the end of them."""
    for function in (netdevices._links, lambda sock: netdevices._addresses(sock, 1)):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with here, there:
            there.send(data or b"\0")
            there.send(struct.pack("=IHHII", 16, netdevices.NLMSG_DONE, 0, 0, 0))
            try:
                function(here.fileno())
            except OSError as fault:
                assert fault.strerror and fault.errno


def gvariant(data):
    marshalled(unit.annotated({f"{SYSTEMD_PROPERTY}Foo": data.decode("utf-8", "surrogateescape")}))


def bus(data):
    try:
        assert dbus.message_size(data) >= dbus.FIXED
        dbus.decode_message(data)
    except ValueError as fault:
        assert str(fault)


def criu(data):
    try:
        message = protobuf.decode(service.RESPONSE, data)
    except ValueError as fault:
        assert str(fault)
        return
    assert protobuf.decode(service.RESPONSE, protobuf.encode(service.RESPONSE, message)) == message


TARGETS = {
    "config": config, "process": process, "update": update, "state": state, "argv": argv, "mountinfo": mountinfo, "netlink": netlink,
    "gvariant": gvariant, "bus": bus, "criu": criu,
}  # fmt: skip
AS_JSON = ("config", "process", "update", "state")


# --- what is begun with


def seeds(name):
    """The inputs (bytes) from which a target's others are made: those of corpus/NAME, and some that are made of what the tests have."""
    directory = programs.HERE / "corpus" / name
    made = [path.read_bytes() for path in sorted(directory.iterdir())] if directory.is_dir() else []
    return made + [one for one in SEEDS.get(name, list)() if one]


def whole_configs():
    """Configs that are right, and together have every member of the specification."""
    found = [spec.example(cgroup_namespace=False)]
    for value in configs.configs():
        linux = value.get("linux", {})
        given = {entry["type"]: entry for entry in linux.get("namespaces", ())}
        kinds = ["mount", "uts", "network", "time"] + ["user"] * ("uidMappings" in linux)
        spaces = {kind: {"type": kind} for kind in kinds} | given
        found.append(value | {"linux": linux | {"namespaces": [*spaces.values()]}})
    return found


def as_json(values):
    return [json.dumps(value).encode() for value in values]


def plan_parts():
    found = []
    for value in whole_configs():
        context = context_of(normal.config_of(value), MACHINES[0])
        found.append(create.first_part(context).pack())
        plan = Plan()
        create.emit_rest(plan, context, seccomp.Filter(bytes(16), 0), True)
        found.append(plan.pack())
    return found


def rest_messages():
    found = []
    for value in configs.configs():
        context = context_of(normal.config_of(value), MACHINES[0])
        plan = Plan()
        plan.rest()
        create.emit_rest(plan, context, None, True)
        found.append(bytes([0, 1 + len(plan.files), 0, 0]) + plan.pack(since=1))
        found.append(bytes([1, 1, 0, 1, len(plan.files), 0, 0]) + plan.pack(since=1))
    return found


def states():
    value = record.BLANK | {"id": "box", "bundle": "/b", "rootfs": "/b/rootfs", "pid": 7, "notes": {"3": ["exec", "process.args[0]", "sh"]}}
    group = {"claimed": True, "paths": {"pids": "/sys/fs/cgroup/pids/box"}, "systemd": ["box.scope", False]}
    return as_json([value, value | {"cgroup": group, "stdio": ["pipe:[1]"]}, {name: one for name, one in value.items() if name != "version"}])


def written_states():
    """As pyrun writes them."""
    usual = {"paths": {"cpu": "/sys/fs/cgroup/cpu/box", "freezer": "/sys/fs/cgroup/freezer/box"}, "claimed": True}
    value = record.BLANK | {"id": "box", "pid": 7, "startTime": 1, "cgroup": usual, "annotations": {"a": "b"}, "notes": {"3": ["exec", "", ""]}}
    systemd = {"paths": {"": "/sys/fs/cgroup/box"}, "claimed": True, "systemd": ["box.scope", False]}
    return [jsonio.encode(value), jsonio.encode(value | {"cgroup": systemd, "stdio": ["/dev/null", "pipe:[1]"]})]


def links():
    attribute = netdevices._attribute(netdevices.IFLA_IFNAME, b"eth0\0")
    link = netdevices._LINK.pack(0, 1, 1, 0, 0) + attribute
    address = netdevices._ADDRESS.pack(2, 24, netdevices.IFA_F_PERMANENT, 0, 1) + netdevices._attribute(1, b"\x0a\0\0\1")
    return [netdevices._HEADER.pack(16 + len(body), kind, 2, 0, 0) + body for kind, body in ((16, link), (20, address))] + [
        netdevices._HEADER.pack(36, netdevices.NLMSG_ERROR, 0, 0, 0) + struct.pack("=i", -errno.EPERM) + bytes(16)
    ]


def bus_messages():
    fields = {dbus.PATH: "/o", dbus.INTERFACE: "a.b", dbus.MEMBER: "C", dbus.DESTINATION: "d.e"}
    return [
        dbus.encode_call(1, fields, "", []),
        dbus.encode_call(2, fields, "sa(sv)a(sa(sv))", ["x", [("A", ("as", ["b"])), ("B", ("t", 5))], []]),
        dbus.encode_call(3, fields, "b(ii)ayg", [True, (1, 2), [1, 2], "as"]),
    ]


def criu_messages():
    message = {"type": 2, "success": 1, "restore": {"pid": 5}, "notify": {"script": "post-dump", "pid": 7}, "version": {"major_number": 3}}
    return [protobuf.encode(service.RESPONSE, message), protobuf.encode(service.RESPONSE, {"cr_errno": -1})]


SEEDS = {
    "config": lambda: as_json(whole_configs()),
    "process": lambda: as_json(value["process"] for value in configs.configs()),
    "update": lambda: as_json(value["linux"]["resources"] for value in configs.configs() if value.get("linux", {}).get("resources")),
    "state": states,
    "form": written_states,
    "json": lambda: as_json(configs.configs()),
    "plan": plan_parts,
    "rest": rest_messages,
    "netlink": links,
    "bus": bus_messages,
    "criu": criu_messages,
}


def quiet(put=setattr):
    """Nothing is said, warnings nor help, and no log is opened: its name is whatever an input says. put: as setattr."""
    put(log, "_say", lambda *words: None)
    put(log, "start", lambda *words: None)
    put(output, "write", lambda text: None)
