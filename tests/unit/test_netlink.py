"""What the kernel says of network devices, where it is not what it should be: an error, and no loop without an end."""

import socket
import struct

import pytest

from pyrun.host import netdevices

DONE = struct.pack("=IHHII", 16, netdevices.NLMSG_DONE, 0, 0, 0)
NAME = struct.pack("=HH5s3x", 9, netdevices.IFLA_IFNAME, b"eth0")


def asked(answer):
    """{name: index} of the devices, where this is the answer."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        there.send(answer)
        there.send(DONE)
        return netdevices._links(here.fileno())


def link(attributes):
    body = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), netdevices.RTM_NEWLINK, 2, 0, 0) + body


def test_a_device():
    assert asked(link(NAME)) == {"eth0": 7}


@pytest.mark.parametrize("answer", [
    pytest.param(b"\0", id="a byte"),
    pytest.param(struct.pack("=IHHII", 0, netdevices.RTM_NEWLINK, 0, 0, 0), id="an answer without a length"),
    pytest.param(struct.pack("=IHHII", 16, netdevices.RTM_NEWLINK, 0, 0, 0), id="an answer without a body"),
    pytest.param(link(bytes(4)), id="an attribute without a length"),
])
def test_an_answer_that_is_cut_off(answer):
    with pytest.raises(OSError, match="cut off"):
        asked(answer)
