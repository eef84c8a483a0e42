"""linux.netDevices: devices of the host that move into the container (config-linux.md#network-devices)."""

import subprocess

import pytest
from looks import one_line, user_namespace

SHOW = "ip address show dev {0}; ip -6 address show dev {0}"


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout


@pytest.fixture
def device(token):
    """One end of a veth pair, down, with a MAC address, an MTU and addresses. Its name."""
    name = f"pd{token[-8:]}"
    ip("link", "add", name, "address", "02:00:00:00:12:34", "mtu", "1380", "type", "veth", "peer", "name", f"{name}p")
    ip("address", "add", "10.77.1.2/24", "dev", name)
    ip("address", "add", "10.77.1.3/24", "dev", name, "label", f"{name}:x", "broadcast", "10.77.1.255")
    ip("address", "add", "169.254.7.7/16", "dev", name, "scope", "link")
    ip("address", "add", "10.77.9.9/24", "dev", name, "valid_lft", "300", "preferred_lft", "300")
    ip("address", "add", "fd00:77::2/64", "dev", name, "nodad")
    yield name
    ip("link", "delete", name, check=False)


def test_it_moves_with_its_addresses_mtu_and_mac(bundle, device):
    seen = bundle(SHOW.format(device)).set("linux.netDevices", {device: {}}).run().out
    assert "02:00:00:00:12:34" in seen and "mtu 1380" in seen
    assert "inet 10.77.1.2/24" in seen and "inet 10.77.1.3/24 brd 10.77.1.255" in seen and "inet6 fd00:77::2/64 scope global" in seen
    assert "UP" in seen.split("<", 1)[1].split(">", 1)[0].split(",")
    # Addresses that are not permanent, or not of global scope, stay behind (IFA_F_PERMANENT, RT_SCOPE_UNIVERSE).
    assert "169.254.7.7" not in seen and "10.77.9.9" not in seen
    assert f" {device}@" not in ip("link")


def test_it_gets_the_name_it_is_given(bundle, device):
    b = bundle(SHOW.format("eth7") + "; ip link").set("linux.netDevices", {device: {"name": "eth7"}})
    seen = b.run().out
    assert "inet 10.77.1.2/24" in seen and device not in seen.replace(f"{device}:x", "")


def test_the_kernel_completes_a_template(bundle, device):
    assert " box0@" in bundle("ip link").set("linux.netDevices", {device: {"name": "box%d"}}).run().out


def test_it_moves_into_a_namespace_that_is_joined(bundle, device, token):
    ip("netns", "add", token)
    try:
        b = bundle("true").set("linux.netDevices", {device: {"name": "eth7"}})
        for namespace in b.config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/run/netns/{token}"
        b.run()
        assert "inet 10.77.1.2/24" in ip("-netns", token, "address", "show", "dev", "eth7")
    finally:
        ip("netns", "delete", token)


def test_it_moves_into_a_user_namespace(bundle, device):
    seen = user_namespace(bundle(SHOW.format(device))).set("linux.netDevices", {device: {}}).run().out
    assert "inet 10.77.1.2/24" in seen and "inet6 fd00:77::2/64" in seen


def test_hooks_find_it_in_the_container(bundle, device):
    b = bundle("true").set("linux.netDevices", {device: {}})
    b.set("hooks.createContainer", [{"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/net/dev > {b.directory}/seen"]}]).run()
    assert f"{device}:" in (b.directory / "seen").read_text()


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"pyrunnone0": {}}, "linux.netDevices.pyrunnone0: no network device pyrunnone0 on the host: no such device"),
        ({"lo": {"name": "lo7"}}, "linux.netDevices.lo: moving lo into the container as lo7: invalid argument"),
    ],
)
def test_a_device_that_cannot_move_is_an_error(bundle, entry, words):
    assert words in one_line(bundle("true").set("linux.netDevices", entry).call("create", code=1))


def test_a_name_that_is_taken_is_an_error_and_the_device_stays(bundle, device):
    error = one_line(bundle("true").set("linux.netDevices", {device: {"name": "lo"}}).call("create", code=1))
    assert "the container has a network device lo: file exists" in error
    assert "inet 10.77.1.2/24" in ip("address", "show", "dev", device)


def test_without_a_network_namespace_it_is_an_error(bundle, device):
    b = bundle("true").set("linux.netDevices", {device: {}})
    b.config["linux"]["namespaces"] = [one for one in b.config["linux"]["namespaces"] if one["type"] != "network"]
    assert "unable to move network devices without a NET namespace" in one_line(b.call("create", code=1))
    assert f" {device}@" in ip("link")
