"""The cgroup of a container as a unit of systemd (--systemd-cgroup): systemd makes the cgroup and delegates it to us.

    group.reserve()     asks systemd for the unit, a scope, and waits until it is there
    group.create()      what systemd leaves out: its directories in hierarchies that systemd does not use
    group.release()     the container's init is in the scope

A scope begins with a process in it, and ends with its last one. The limits must be set before the container's init lives, so
a process of ours holds the place: an init whose plan is to wait. It ends with the command, however that ends.
"""

from __future__ import annotations

import posix

from pyrun.base import log
from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.cgroup import base, devices, resources, tree
from pyrun.cgroup.systemd import dbus, unit
from pyrun.cgroup.v1 import V1
from pyrun.cgroup.v2 import V2
from pyrun.init import session
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from pyrun.cgroup.layout import Mount

    T = TypeVar("T")

PATIENCE = 30
"""Seconds that systemd has for all that a command asks of it, as with runc."""
SERVICE = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = f"{SERVICE}.Manager"
BUS = "org.freedesktop.DBus"
NO_WAY = ("ServiceUnknown", "Spawn", "NameHasNoOwner", "NoReply", "Disconnected", "AccessDenied", "InteractiveAuthorizationRequired")
"""Errors (org.freedesktop.DBus.Error.…) that say that systemd cannot be reached, whatever it was asked."""
OPTION = "--systemd-cgroup"
BOOTED = "/run/systemd/system"
SYSTEM_BUS, SYSTEM_PRIVATE = "/run/dbus/system_bus_socket", "/run/systemd/private"
USER_HINT = (
    "the user's systemd is needed (package dbus-user-session, XDG_RUNTIME_DIR set as by a login, `loginctl enable-linger`), "
    "or start without the option"
)


class Manager:
    """A connection to systemd. user: whether to that of a user.

    What every start needs to know (its version) is asked when the connection is made, and answered while we do something else.
    """

    def __init__(self, bus: dbus.Connection, user: bool, direct: bool) -> None:
        self.bus, self.user = bus, user
        if not direct:
            rule = f"type='signal',sender='{SERVICE}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved'"
            bus.send(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", rule)
        names = ("Version", "ControlGroup") if user else ("Version",)
        self.asked = {name: self._ask_property(name) for name in names}
        self.answers = {}

    def _ask_property(self, name: str) -> int:
        return self.bus.send(SERVICE, OBJECT, f"{BUS}.Properties", "Get", "ss", MANAGER, name)

    def _property(self, name: str) -> str:
        if name not in self.answers:
            (self.answers[name],) = self._guard(self.bus.answer, self.asked[name])
        return self.answers[name]

    def version(self) -> int:
        """252 of `252.22-1~deb12u1`, `v252` …."""
        text = self._property("Version").lstrip("v")
        digits = text[: len(text) - len(text.lstrip("0123456789"))]
        return int(digits or 0)

    def place(self) -> str:
        """The cgroup of all that it manages: '' for the system's."""
        return self._property("ControlGroup").rstrip("/") if self.user else ""

    def start(self, name: str, properties: list[unit.Property]) -> None:
        """Makes a unit, also where an earlier one of that name has failed and is still listed. Raises Error."""
        for last in (False, True):
            try:
                (job,) = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace", properties, [])
            except dbus.Refused as refusal:
                if refusal.name != f"{SERVICE}.UnitExists":
                    raise Error(f"{OPTION}: systemd refuses unit {name}: {refusal}") from None
                if last:
                    raise Error(f"container's cgroup is not empty: unit {name} exists: it is another container's or service's") from None
                self.reset(name)
            else:
                break
        if (result := self._result(job)) != "done":
            self.reset(name)
            raise Error(f"{OPTION}: systemd could not start unit {name}: {result} (see journalctl -u {name})")

    def set(self, name: str, properties: list[unit.Property]) -> None:
        """Changes properties of a running unit, and waits until the files of its cgroup are written. Raises Error."""
        try:
            self._call("SetUnitProperties", "sba(sv)", name, True, properties)
        except dbus.Refused as refusal:
            raise Error(f"{OPTION}: systemd refuses to change unit {name}: {refusal}") from None
        # systemd answers, then writes the files, then takes the next question. With that one answered it has written: otherwise it
        # would write over what we write next.
        self._guard(self.bus.answer, self._ask_property("Version"))

    def stop(self, name: str) -> None:
        """Ends a unit; one that is gone is fine. Raises Error."""
        try:
            (job,) = self._call("StopUnit", "ss", name, "replace")
        except dbus.Refused as refusal:
            if refusal.name != f"{SERVICE}.NoSuchUnit":
                raise Error(f"systemd refuses to stop unit {name}: {refusal}") from None
            return
        if (result := self._result(job)) != "done":
            log.warning(f"systemd could not stop unit {name}: {result}")
        self.reset(name)

    def reset(self, name: str) -> None:
        """A unit that has failed is kept until this."""
        try:
            self._call("ResetFailedUnit", "s", name)
        except dbus.Refused:
            pass

    def _call(self, member: str, signature: str, *values: object) -> list:
        return self._guard(self.bus.call, SERVICE, OBJECT, MANAGER, member, signature, *values)

    def _result(self, job: str) -> str:
        """How a job ends: `done`, `failed` …."""
        while True:
            signal = self._guard(self.bus.signal)
            if signal.fields.get(dbus.MEMBER) == "JobRemoved" and signal.body[1] == job:
                return signal.body[3]

    def _guard(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except dbus.Silent as silence:
            raise Unreachable(f"{OPTION}: systemd does not answer: {silence}") from None
        except dbus.Refused as refusal:
            if refusal.name.removeprefix(f"{BUS}.Error.").partition(".")[0] not in NO_WAY:
                raise
            hint = f": {USER_HINT}" if self.user else ""
            raise Unreachable(f"{OPTION}: systemd cannot be reached by {self.bus.address}: {refusal}{hint}") from None


class Unreachable(Error):
    """systemd, or the bus, does not answer: no use to ask for more."""


# --- the connection ---------------------------------------------------------------------------------------------------


def connect(user: bool) -> Manager:
    """The Manager, of the user's or of the system's units. Raises Error at once where there is none."""
    if not tree.exists(BOOTED):
        raise Error(f"{OPTION}: no systemd runs here ({BOOTED} is missing): start without the option")
    fault = None
    for address, of_user, direct in addresses(user):
        try:
            return Manager(dbus.Connection(address, PATIENCE, bus=not direct), of_user, direct)
        except OSError as error:
            fault = fault or error
        except dbus.Silent as silence:
            raise Error(f"{OPTION}: systemd cannot be reached: {silence}") from None
    reason = f": {fault.filename}: {words(fault.errno)}" if fault else ""
    raise Error(f"{OPTION}: systemd cannot be reached{reason}: {USER_HINT if user else 'start without the option'}")


def addresses(user: bool) -> list[tuple[str, bool, bool]]:
    """[(socket, whether it is a user's, whether systemd itself is at its other end)], the first to try first."""
    found = []
    if user:
        directory = variable(b"XDG_RUNTIME_DIR") or f"/run/user/{facts.uid}"
        found += [(path, True, False) for path in sockets(variable(b"DBUS_SESSION_BUS_ADDRESS")) or [f"{directory}/bus"]]
        found.append((f"{directory}/systemd/private", True, True))
    if not facts.rootless:
        found += [(path, False, False) for path in sockets(variable(b"DBUS_SYSTEM_BUS_ADDRESS")) or [SYSTEM_BUS]]
        found.append((SYSTEM_PRIVATE, False, True))
    return found


def variable(name: bytes) -> str:
    return posix.environ.get(name, b"").decode("utf-8", "surrogateescape")


def sockets(address: str) -> list[str]:
    """The sockets (`/path`, `@abstract`) of an address of D-Bus: `unix:path=/run/bus,guid=…;unix:abstract=…`."""
    found = []
    for entry in address.split(";"):
        transport, _, pairs = entry.partition(":")
        for pair in pairs.split(",") if transport == "unix" else ():
            key, _, value = pair.partition("=")
            if key in ("path", "abstract"):
                found.append("@" * (key == "abstract") + unescape(value))
    return found


def unescape(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join(chr(int(piece[:2], 16)) + piece[2:] for piece in rest)


# --- the cgroup -------------------------------------------------------------------------------------------------------


class Unit(base.Cgroup):
    """What is different from a cgroup of our own making. `systemd` in the state: [name of the unit, whether it is the user's]."""

    manager: Manager | None = None
    holder: session.Init | None = None
    properties: Sequence[unit.Property] = ()

    def _manager(self) -> Manager:
        if self.manager is None:
            self.manager = connect(self.state["systemd"][1])
        return self.manager

    # --- making

    def reserve(self) -> None:
        name, _ = self.state["systemd"]
        manager = self._manager()
        properties = [*self.properties, *unit.of_devices(devices.compile(self.resources.get("devices", ()), "linux.resources.devices"))]
        if isinstance(self, V2):  # what is in which hierarchy of v1 is known when they are there
            properties += self._properties(resources.writes(self.resources, self, "linux.resources"))
            properties += unit.oom_policy(self.resources, manager.version())
        try:
            if not name.endswith(unit.SLICE):
                self.holder = session.Init(waiting())
                self.holder.spawn()
                properties.append(("PIDs", ("au", [self.holder.first])))
            manager.start(name, properties)
            self._check_place()
        except BaseException as fault:
            self._abandon(stop=not isinstance(fault, Error) or isinstance(fault, Misplaced))
            raise

    def _check_place(self) -> None:
        """systemd gives some cgroups other names than their units have, and where it runs in a container it may be mistaken in more of the
        path. So we look where the process went that we gave it.
        """
        if not self.holder:
            return
        name = next((name for name in ("", "name=systemd") if name in self.paths), None)
        if name is None:
            return
        for line in tree.read(f"/proc/{self.holder.first}/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            if names == name and not self.paths[name].endswith(path):
                raise Misplaced(f"{OPTION}: systemd has made the cgroup {path}, not {self.paths[name]}")

    def create(self) -> None:
        try:
            super().create()
        except BaseException:
            self._abandon(stop=True)
            raise

    def _strangers(self, path: str) -> list[int]:
        return [pid for pid in tree.pids(path) if not self.holder or pid != self.holder.first]

    def _abandon(self, stop: bool) -> None:
        """Leaves nothing of a unit that could not be made."""
        self.release()
        name, _ = self.state["systemd"]
        self.state["paths"], self.state["systemd"][0] = {}, ""
        if stop:
            try:
                self._manager().stop(name)
            except Error as error:
                log.warning(str(error))

    def release(self) -> None:
        if self.holder:
            self.holder.kill()
            self.holder = None

    def give_up(self) -> None:
        """Nothing is left out: what the caller may not make, systemd does."""

    # --- limits

    def _tell(self, writes: list[resources.Write]) -> None:
        # A new unit of cgroup v2 has them from its beginning.
        told = self.new and isinstance(self, V2)
        if not told and (properties := self._properties(writes)):
            self._manager().set(self.state["systemd"][0], properties)

    def _properties(self, writes: list[resources.Write]) -> list[unit.Property]:
        return unit.of_limits(writes, resources.reader, self._manager().version()) if writes else []

    # --- removing

    def delete(self) -> None:
        super().delete()
        name, _ = self.state["systemd"]
        if name and self.state["claimed"]:
            self._manager().stop(name)


class Misplaced(Error):
    """The unit is there, but its cgroup is not where it should be."""


class UnitV1(Unit, V1):
    pass


class UnitV2(Unit, V2):
    pass


def kind(paths: dict[str, str]) -> type[UnitV1 | UnitV2]:
    """The class of the cgroup with these paths."""
    return UnitV2 if list(paths) == [""] else UnitV1


def waiting() -> Plan:
    """The plan of the process that holds a scope's place."""
    plan = Plan()
    plan.barrier("--systemd-cgroup", number=0)
    return plan


def open(config: dict, id: str, mounts: list[Mount], rootless: str, user: bool) -> Unit:
    """As cgroup.open(), for a unit. user: whether it is for the systemd of a user."""
    above, name = unit.parse(config["linux"]["cgroupsPath"], id, user)
    properties = unit.annotated(config["annotations"])
    manager = connect(user)
    if manager.user != user:
        above, name = unit.parse(config["linux"]["cgroupsPath"], id, manager.user)
    inner = manager.place() + unit.place(above, name)
    paths = {}
    for mount in mounts:
        paths.update(dict.fromkeys(mount.names, mount.point + inner))
    group = kind(paths)({"paths": paths, "claimed": False, "systemd": [name, manager.user]}, mounts, config, rootless)
    group.manager = manager
    group.properties = [*usual(above, name, id), *properties]
    return group


def usual(above: str, name: str, id: str) -> list[unit.Property]:
    """The properties of every unit of ours."""
    scope = not name.endswith(unit.SLICE)
    found = [
        ("Description", ("s", f"container {id}")),
        ("Slice", ("s", above)) if scope else ("Wants", ("as", [above])),
        ("DefaultDependencies", ("b", False)),
        # One that has failed (its process was killed for want of memory) makes room for the next of its name by itself.
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    found += [(f"{kind}Accounting", ("b", True)) for kind in ("CPU", "Memory", "IO", "Tasks")]
    return [*found, ("Delegate", ("b", True))] if scope else found
