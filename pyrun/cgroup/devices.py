"""Device rules (config-linux.md, Allowed Device list), as the devices controller of v1 understands them.

The rules are read in order and what comes later wins, within what that controller can hold: either nothing is allowed
but for exceptions, or everything is. So compile() turns a list into such a Filter, v1_writes() puts it into the files
of v1, and bpf.py makes a program of it that gives the same verdicts on v2.
"""

from __future__ import annotations

from pyrun.base.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Device = tuple[str, int | None, int | None]

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
ACCESS = {"r": READ, "w": WRITE, "m": MKNOD}
ANY = None
"""A major or minor number that stands for all."""

# The devices controller of v1 looks through all its exceptions for each new one: twice as many take four times as long.
V1_EXCEPTIONS_MAX = 8192

# What a container may always do: make any node (using it is another matter), and use the devices of the specification
# (null, zero, full, random, urandom, tty), its terminals (ptmx, pts/*) and, since engines rely on it, net/tun.
DEFAULTS = {
    ("c", ANY, ANY): MKNOD,
    ("b", ANY, ANY): MKNOD,
    ("c", 1, 3): MKNOD | READ | WRITE,
    ("c", 1, 5): MKNOD | READ | WRITE,
    ("c", 1, 7): MKNOD | READ | WRITE,
    ("c", 1, 8): MKNOD | READ | WRITE,
    ("c", 1, 9): MKNOD | READ | WRITE,
    ("c", 5, 0): MKNOD | READ | WRITE,
    ("c", 5, 2): MKNOD | READ | WRITE,
    ("c", 136, ANY): MKNOD | READ | WRITE,
    ("c", 10, 200): MKNOD | READ | WRITE,
}


class Filter:
    """allow: the verdict for what no exception matches; exceptions: {(type, major, minor): access bits}.

    A device access is an exception if, where nothing else is allowed, one exception covers all that it asks for; where
    all else is allowed, if one covers any of it.
    """

    def __init__(self, allow: bool = False, exceptions: Mapping[Device, int] | None = None) -> None:
        self.allow, self.exceptions = allow, dict(exceptions or {})

    def add(self, allow: bool, device: Device | None, access: int) -> None:
        """One more rule. device: (type, major, minor), None for all there are. Raises ValueError."""
        if device is None:
            self.allow, self.exceptions = allow, {}
        elif allow == self.allow:
            self._remove(device, access)
        else:
            self.exceptions[device] = self.exceptions.get(device, 0) | access

    def _remove(self, device: Device, access: int) -> None:
        kind, major, minor = device
        for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            # The controller would ignore it and leave the wider one standing: a rule that only seems to hold.
            if wider != device and self.exceptions.get(wider, 0) & access:
                raise ValueError(f"cannot punch a hole in the wider rule {text(wider, self.exceptions[wider])}")
        left = self.exceptions.pop(device, 0) & ~access
        if left:
            self.exceptions[device] = left


def compile(rules: Iterable[dict], where: str) -> Filter:
    """The Filter of linux.resources.devices, the default devices included. Raises ConfigError."""
    found = Filter()
    for index, rule in enumerate(rules):
        try:
            found.add(rule["allow"], _device(rule), _access(rule.get("access")))
        except ValueError as fault:
            raise ConfigError(f"{where}[{index}]", str(fault)) from None
    for device, access in DEFAULTS.items():
        try:
            found.add(True, device, access)
        except ValueError as fault:
            raise ConfigError(where, f"the default device {text(device, access)} must be allowed, but: {fault}") from None
    return found


def _device(rule: dict) -> Device | None:
    kind = rule.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise ValueError(f"invalid device type {kind!r}: neither a, b nor c")
    # As in the kernel, `a` means every device, whatever numbers stand beside it.
    return None if kind == "a" else (kind, _number(rule.get("major")), _number(rule.get("minor")))


def _number(value: int | None) -> int | None:
    if value is None or value == -1:
        return ANY
    if not 0 <= value < 1 << 32:
        raise ValueError(f"invalid device number {value}")
    return value


def _access(text: str | None) -> int:
    if not text:
        raise ValueError("device access cannot be empty")
    bits = 0
    for letter in text:
        if letter not in ACCESS:
            raise ValueError(f"invalid device access {text!r}: only r, w and m are known")
        bits |= ACCESS[letter]
    return bits


def text(device: Device, access: int) -> str:
    """A rule as the files of v1 have it: `c 1:3 rwm`."""
    kind, *numbers = device
    major, minor = ("*" if number is ANY else number for number in numbers)
    return f"{kind} {major}:{minor} {''.join(letter for letter in ACCESS if ACCESS[letter] & access)}"


def v1_writes(target: Filter, current: Filter | None = None) -> list[tuple[str, list[str]]]:
    """[(file, texts)] that bring a v1 cgroup to a Filter. current: the Filter it has, None for a new cgroup. Raises ValueError.

    Only what differs is written, so that a running container never loses a device it keeps. Where all but some is
    allowed the kernel does not tell which (devices.list), so there it starts anew.
    """
    if len(target.exceptions) > V1_EXCEPTIONS_MAX:
        raise ValueError(f"{len(target.exceptions)} exceptions: at most {V1_EXCEPTIONS_MAX} are taken on cgroup v1")
    exceptions = ("devices.deny", "devices.allow")[not target.allow]
    plain = ("devices.allow", "devices.deny")[not target.allow]
    found, old = [], {}
    if current is None or current.allow or target.allow:
        found.append((plain, ["a"]))
    else:
        old = current.exceptions
        if gone := _beyond(old, target.exceptions):
            found.append((plain, gone))
    if new := _beyond(target.exceptions, old):
        found.append((exceptions, new))
    return found


def _beyond(some: dict[Device, int], others: dict[Device, int]) -> list[str]:
    """The texts for what some exceptions cover and others don't."""
    return [text(device, left) for device, access in some.items() if (left := access & ~others.get(device, 0))]


def parse(text: str) -> Filter:
    """The Filter of a v1 cgroup, from devices.list."""
    found = Filter()
    for line in text.splitlines():
        kind, numbers, access = line.split()
        major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
        found.add(True, None if kind == "a" else (kind, major, minor), _access(access))
    return found
