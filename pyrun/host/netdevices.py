"""linux.netDevices: network devices of the host that move into the container (config-linux.md#network-devices, rtnetlink(7)).

The kernel keeps what belongs to a device (MTU, MAC address) when it moves and drops what belongs to a namespace: its
addresses and that it is up. These are set again on the other side.
"""

from __future__ import annotations

import _struct
import errno
import posix

from pyrun._native import lib
from pyrun.base.errors import ConfigError, words
from pyrun.init.session import must

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 19, 20, 22
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_LABEL, IFA_CACHEINFO = 3, 6
IFA_F_PERMANENT, RT_SCOPE_UNIVERSE, IFF_UP = 0x80, 0, 0x1

_HEADER = _struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = _struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = _struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = _struct.Struct("=HH")  # struct rtattr: length, type
ROOM = 65536


def move(devices: dict, pid: int) -> None:
    """Moves the devices ({name on the host: {"name": in the container}}) into the network namespace of a process.

    Raises ConfigError: there is no such device, the name is taken, the kernel does not let it go.
    """
    netns = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    here = there = -1
    try:
        here = must(lib.native_netlink(-1), "linux.netDevices: netlink socket")
        there = must(lib.native_netlink(netns), "linux.netDevices: netlink socket in the container's network namespace")
        for name, device in devices.items():
            try:
                _move(here, there, netns, name, device.get("name") or name)
            except OSError as error:
                raise ConfigError(f"linux.netDevices.{name}", f"{error.strerror}: {words(error.errno)}") from None
    finally:
        for fd in (netns, here, there):
            if fd >= 0:
                posix.close(fd)


def _move(here: int, there: int, netns: int, name: str, new: str) -> None:
    link = _links(here).get(name)
    if link is None:
        raise OSError(errno.ENODEV, f"no network device {name} on the host")
    before = _links(there)
    # Asked first: once a device has moved, it may end with the namespace. A name with %d is the kernel's to complete.
    if "%d" not in new and new in before:
        raise OSError(errno.EEXIST, f"the container has a network device {new}")
    addresses = _addresses(here, link)
    attributes = _attribute(IFLA_NET_NS_FD, _struct.pack("=I", netns)) + _attribute(IFLA_IFNAME, new.encode() + b"\0")
    _request(here, RTM_SETLINK, _LINK.pack(0, 0, link, 0, 0) + attributes, f"moving {name} into the container as {new}")
    (link,) = set(_links(there).values()) - set(before.values())
    for family, length, flags, attributes in addresses:
        body = _ADDRESS.pack(family, length, flags, RT_SCOPE_UNIVERSE, link) + attributes
        _request(there, RTM_NEWADDR, body, f"an address of {name}", NLM_F_CREATE | NLM_F_EXCL)
    _request(there, RTM_NEWLINK, _LINK.pack(0, 0, link, IFF_UP, IFF_UP), f"setting {new} up")


def _links(sock: int) -> dict[str, int]:
    """The devices there: their indexes by their names."""
    links = {}
    for body in _request(sock, RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), "reading the devices", NLM_F_DUMP):
        (_, _, index, _, _), attributes = _parts(_LINK, body)
        name = dict(attributes).get(IFLA_IFNAME, b"")
        links[name.rstrip(b"\0").decode("utf-8", "surrogateescape")] = index
    return links


def _addresses(sock: int, link: int) -> list[tuple[int, int, int, bytes]]:
    """[(family, prefix length, flags, attributes to give it again)]: permanent and of global scope."""
    found = []
    for body in _request(sock, RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), "reading the addresses", NLM_F_DUMP):
        (family, length, flags, scope, index), attributes = _parts(_ADDRESS, body)
        if index == link and flags & IFA_F_PERMANENT and scope == RT_SCOPE_UNIVERSE:
            # A label is made of the device's name, which may be another one now; cache info is about times.
            kept = [one for one in attributes if one[0] not in (IFA_LABEL, IFA_CACHEINFO)]
            found.append((family, length, flags, b"".join(_attribute(kind, data) for kind, data in kept)))
    return found


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _parts(form: _struct.Struct, body: bytes) -> tuple[tuple, Iterator[tuple[int, bytes]]]:
    """The numbers that an answer begins with, and its attributes. Raises OSError."""
    if len(body) < form.size:
        raise _odd()
    return form.unpack_from(body), _attributes(body[form.size :])


def _odd() -> OSError:
    return OSError(errno.EBADMSG, "what the kernel answers is cut off")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (type, bytes) of a run of attributes."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            raise _odd()
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _request(sock: int, kind: int, body: bytes, what: str, flags: int = 0) -> list[bytes]:
    """Sends one request; returns the bodies of the answers. Raises OSError with `what` for its text."""
    if flags != NLM_F_DUMP:
        flags |= NLM_F_ACK
    posix.write(sock, _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body)
    answers = []
    while True:
        data = posix.read(sock, ROOM)
        while data:
            if len(data) < _HEADER.size:
                raise _odd()
            length, kind, *_ = _HEADER.unpack_from(data)
            if length < _HEADER.size:
                raise _odd()
            answer, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == NLMSG_DONE:
                return answers
            if kind == NLMSG_ERROR:
                code = -int.from_bytes(answer[:4], "little", signed=True)
                if code:
                    raise OSError(code, what)
                return answers
            answers.append(answer)
