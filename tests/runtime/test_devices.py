"""Device nodes and links in /dev, and what may be done with devices (config-linux.md#devices, #default-devices)."""

import os
import stat

import pytest
from looks import mount_table, one_line, seen, user_namespace

DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}


def grant(bundle, *capabilities):
    for names in bundle.config["process"]["capabilities"].values():
        names.extend(capabilities)
    return bundle


@pytest.mark.kernels
@pytest.mark.worlds
@pytest.mark.parametrize("own_dev", [True, False])
def test_every_container_has_the_default_devices(bundle, own_dev):
    """With a tmpfs on /dev, and in the image's own /dev."""
    names = " ".join(f"/dev/{name}" for name in DEFAULT)
    links = "; ".join(f"readlink /dev/{name}" for name in LINKS)
    b = bundle(f"stat -c '%t:%T %a %u:%g %F' {names}; {links}; test -c /dev/ptmx && echo ptmx; echo x >/dev/null; head -c 2 /dev/zero | wc -c")
    if not own_dev:
        b.config["mounts"] = [entry for entry in b.config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]
        os.mknod(b.rootfs / "dev/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))  # the host's, in an image
    out = b.run().out.splitlines()
    assert out == [*(f"{numbers} 666 0:0 character special file" for numbers in DEFAULT.values()), *LINKS.values(), "ptmx", "2"]


def test_stdio_links_work(bundle):
    b = bundle("(echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin; cat /dev/fd/0) 2>&1 | cat")
    assert b.run(stdin="in\n").out == "out\nerr\nin\n"


def test_devices_of_every_type(bundle):
    b = bundle("stat -c '%F %t:%T %a %u:%g' /dev/char /dev/unbuffered /dev/sub/block /dev/fifo /else/where /dev/modeless")
    b.set(
        "linux.devices",
        [
            {"path": "/dev/char", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 1000, "gid": 2000},
            {"path": "/dev/unbuffered", "type": "u", "major": 10, "minor": 300, "fileMode": 0o600},
            {"path": "/dev/sub/block", "type": "b", "major": 259, "minor": 70000, "fileMode": 0o660, "gid": 6},
            {"path": "/dev/fifo", "type": "p", "fileMode": 0o622, "uid": 1000},
            {"path": "/else/where", "type": "c", "major": 1, "minor": 3, "fileMode": 0o4777},
            {"path": "/dev/modeless", "type": "c", "major": 1, "minor": 3},
        ],
    )
    assert b.run(umask=0o077).out.splitlines() == [
        "character special file a:e5 640 1000:2000",
        "character special file a:12c 600 0:0",
        "block special file 103:11170 660 0:6",
        "fifo 0:0 622 1000:0",
        "character special file 1:3 4777 0:0",
        "character special file 1:3 666 0:0",
    ]


def test_a_fifo_with_numbers_is_a_fifo(bundle):
    b = bundle("(echo through >/dev/fifo &); cat /dev/fifo")
    b.set("linux.devices", [{"path": "/dev/fifo", "type": "p", "major": 3, "minor": 4}])
    assert b.run().out == "through\n"


def test_repeated_defaults(bundle):
    """Engines list them again; their mode and owner are then the config's."""
    b = bundle("stat -c '%t:%T %a %u' /dev/tty /dev/null; readlink /dev/ptmx; test -c /dev/ptmx && echo ptmx")
    b.set(
        "linux.devices",
        [
            {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o620},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 1000},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 1000},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        ],
    )
    out = b.run().out.splitlines()
    assert out[:2] == ["5:0 620 0", "1:3 666 1000"]
    assert out[-1] == "ptmx"


def test_a_second_run_in_the_images_own_dev(bundle):
    """Without a mount on /dev the nodes stay in the image; they are accepted as they are."""
    b = bundle("stat -c '%t:%T' /dev/mine").set("linux.devices", [{"path": "/dev/mine", "type": "c", "major": 10, "minor": 229}])
    b.config["mounts"] = b.config["mounts"][:1]
    assert b.run().out == b.run().out == "a:e5\n"


@pytest.mark.parametrize("kind", ["regular", "other device", "directory"])
def test_something_else_in_its_place_is_an_error(bundle, kind):
    b = bundle().set("linux.devices", [{"path": "/dev/mine", "type": "c", "major": 10, "minor": 229}])
    b.config["mounts"] = b.config["mounts"][:1]
    place = b.rootfs / "dev/mine"
    if kind == "directory":
        place.mkdir()
    else:
        os.mknod(place, stat.S_IFREG | 0o600 if kind == "regular" else stat.S_IFCHR | 0o600, os.makedev(10, 1))
    line = one_line(b.call("run", code=1))
    assert "linux.devices[0]" in line and "/dev/mine" in line and "file exists" in line


def test_a_bound_dev_is_left_alone(bundle):
    b = bundle("ls -A /dev; cat /dev/null")
    (b.directory / "dev").mkdir()
    os.mknod(b.directory / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    b.config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "source": "dev", "options": ["rbind"]},
    ]
    assert b.run().out == "null\n"
    assert os.listdir(b.directory / "dev") == ["null"]


def test_unknown_type(bundle):
    b = bundle().set("linux.devices", [{"path": "/dev/x", "type": "q"}])
    assert "linux.devices[0].type" in one_line(b.call("run", code=1))


# --- the device cgroup


def rules(*allowed):
    return [{"allow": False, "access": "rwm"}, *({"allow": True} | rule for rule in allowed)]


@pytest.fixture
def fuse(bundle):
    """A bundle with /dev/fuse (10:229), which is no default device."""
    b = grant(bundle("(exec 3</dev/fuse) && echo read; (exec 3>/dev/fuse) && echo written; true"), "CAP_MKNOD")
    return b.set("linux.devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}])


@pytest.mark.worlds
@pytest.mark.parametrize(
    "allowed, wanted",
    [
        ([], []),
        ([{"type": "c", "major": 10, "minor": 229, "access": "r"}], ["read"]),
        ([{"type": "c", "major": 10, "minor": 229, "access": "w"}], ["written"]),
        ([{"type": "c", "major": 10, "minor": 229, "access": "m"}], []),
        ([{"type": "c", "major": 10, "minor": 229, "access": "rwm"}], ["read", "written"]),
        ([{"type": "c", "major": 10, "access": "rw"}], ["read", "written"]),
        ([{"type": "b", "major": 10, "minor": 229, "access": "rwm"}], []),
        ([{"type": "c", "major": 10, "minor": 228, "access": "rwm"}], []),
        ([{"type": "a", "access": "rwm"}], ["read", "written"]),
        ([{"access": "rwm"}, {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "w"}], ["read"]),
    ],
)
def test_device_rules(fuse, allowed, wanted):
    fuse.set("linux.resources.devices", rules(*allowed))
    result = fuse.run()
    assert result.out.split() == wanted
    assert result.err.count("Operation not permitted") == 2 - len(wanted)


# Rules, and the devices and accesses that they leave. No driver has these numbers: what is allowed ends at "no such device".
EACH_PART = [
    ([{"allow": True, "type": "c", "major": 4000, "minor": 5, "access": "r"}], ["c:4000:5 r"]),
    ([{"allow": True, "type": "b", "major": 4000, "minor": 5, "access": "w"}], ["b:4000:5 w"]),
    (
        [{"allow": True, "type": "a", "access": "rwm"}, {"allow": False, "type": "c", "major": 4000, "access": "rw"}],
        [f"{node} {access}" for node in ("b:4000:5", "b:4000:6", "b:4001:5", "c:4001:5") for access in "rw"],
    ),
]


@pytest.mark.worlds
@pytest.mark.parametrize("allowed, wanted", EACH_PART, ids=range(len(EACH_PART)))
def test_each_part_of_a_rule_counts(bundle, allowed, wanted):
    script = """for node in *:*; do for access in r w; do
        case $({ if [ $access = r ]; then : <$node; else : >>$node; fi; } 2>&1) in
            *"not permitted"*) ;;
            *"No such device"*) echo $node $access ;;
            *) echo $node $access: odd ;;
        esac
    done; done"""
    b = bundle(f"cd /nodes && {script}").set("linux.resources.devices", [{"allow": False, "access": "rwm"}, *allowed])
    (b.rootfs / "nodes").mkdir()
    for kind, bits in (("b", stat.S_IFBLK), ("c", stat.S_IFCHR)):
        for major, minor in ((4000, 5), (4000, 6), (4001, 5)):
            os.mknod(b.rootfs / f"nodes/{kind}:{major}:{minor}", bits | 0o600, os.makedev(major, minor))
    assert b.run().out.splitlines() == wanted


@pytest.mark.arm64
@pytest.mark.worlds
def test_the_default_devices_are_allowed_and_any_may_be_made(bundle):
    script = "head -c 1 /dev/zero | wc -c; mknod /tmp/null c 1 3; echo x >/tmp/null && echo null; mknod /tmp/mem c 1 1; head -c 1 /tmp/mem"
    b = grant(bundle(script), "CAP_MKNOD")
    b.set("linux.resources.devices", rules())
    result = b.run(code=1)
    assert result.out == "1\nnull\n"
    assert "/tmp/mem: Operation not permitted" in result.err


@pytest.mark.kernels
@pytest.mark.worlds
def test_devices_in_a_user_namespace_are_the_hosts_own(bundle):
    """mknod is refused there, so that the host's nodes are bound."""
    b = bundle("stat -c '%n %t:%T' /dev/null /dev/fuse; echo x >/dev/null")
    user_namespace(b)
    if os.path.exists("/dev/fuse"):
        b.set("linux.devices", [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}])
        assert b.run().out.splitlines() == ["/dev/null 1:3", "/dev/fuse a:e5"]
    with open("/proc/self/mountinfo") as mounts:
        table = mount_table(mounts.read())
    of = next(path for path in ("/dev/null", "/dev", "/") if path in table)
    assert seen(b)["/dev/null"].type == table[of].type
    b.set("linux.devices", [{"path": "/dev/no-such-device", "type": "c", "major": 10, "minor": 229}])
    line = one_line(b.call("run", code=1))
    assert "linux.devices[0]" in line and "/dev/no-such-device" in line
