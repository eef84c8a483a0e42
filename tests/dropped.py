"""A runtime that ignores one member of the config: pyrun of this checkout, in which the member goes away once it was checked.

    python tests/dropped.py FIELD WORD ROOTFS COMMAND…     as `pyrun COMMAND…`
    pytest -p dropped                                      the same for tests that call pyrun's functions themselves

FIELD is a row of specs/coverage.md without its list of values. WORD is one of these values, or a kind of hook for `hooks.*`,
and nothing but that is ignored; else it is "". A member that no config can be without becomes another: NEUTRAL.
ROOTFS is a root file system that can stand in for a container's own. pytest finds the three in $DROPPED, a line each.
"""

import copy
import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from pyrun.cgroup import devices, resources
from pyrun.config import load
from pyrun.host import rdt
from pyrun.plan import seccomp

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# No more is done with these than to check them, so what goes is what there is to check.
CHECKED_ONLY = ("ociVersion", "linux.personality.flags")
ROOTFS = object()
# What a member that must be there becomes.
NEUTRAL = {
    "ociVersion": "1.3.0",
    "linux.personality.flags": [],
    "root.path": ROOTFS,
    "hooks.*[].path": "/bin/true",
    "mounts[].destination": "/mnt",
    "mounts[].uidMappings[].containerID": 1,
    "mounts[].uidMappings[].hostID": 0,
    "mounts[].uidMappings[].size": 1,
    "mounts[].gidMappings[].containerID": 1,
    "mounts[].gidMappings[].hostID": 0,
    "mounts[].gidMappings[].size": 1,
    "process.args": ["true"],
    "process.cwd": "/",
    "process.consoleSize.height": 0,
    "process.consoleSize.width": 0,
    "process.ioPriority.class": "IOPRIO_CLASS_BE",
    "process.scheduler.policy": "SCHED_OTHER",
    "process.rlimits[].soft": 0,
    "process.rlimits[].hard": 2**64 - 1,
    "linux.devices[].path": "/dev/another",
    "linux.resources.devices[].allow": False,
    "linux.uidMappings": [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}],
    "linux.gidMappings": [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}],
    "linux.uidMappings[].containerID": 1,
    "linux.uidMappings[].hostID": 0,
    "linux.uidMappings[].size": 1,
    "linux.gidMappings[].containerID": 1,
    "linux.gidMappings[].hostID": 0,
    "linux.gidMappings[].size": 1,
    "linux.resources.hugepageLimits[].pageSize": "1GB",
    "linux.resources.hugepageLimits[].limit": 0,
    "linux.resources.network.priorities[].name": "lo",
    "linux.resources.network.priorities[].priority": 0,
    "linux.resources.memory.useHierarchy": True,
    "linux.seccomp.defaultAction": "SCMP_ACT_ALLOW",
    "linux.seccomp.syscalls[].names": [],
    "linux.seccomp.syscalls[].action": "SCMP_ACT_ALLOW",
    "linux.seccomp.syscalls[].args[].index": 0,
    "linux.seccomp.syscalls[].args[].value": 0,
    "linux.seccomp.syscalls[].args[].op": "SCMP_CMP_EQ",
    "linux.memoryPolicy.mode": "MPOL_DEFAULT",
    "linux.personality.domain": "LINUX",
}
THROTTLED = [f"linux.resources.blockIO.throttle{name}Device[]" for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")]
for entry in [*THROTTLED, "linux.resources.blockIO.weightDevice[]"]:
    # The first disk of its kind may be the test's own.
    NEUTRAL |= {f"{entry}.major": 0, f"{entry}.minor": 200, f"{entry}.rate": 0}
# In the place of one word of a list of values, where the word is NEUTRAL's.
OTHER = {
    "linux.seccomp.defaultAction": "SCMP_ACT_ERRNO",
    "linux.seccomp.syscalls[].action": "SCMP_ACT_ERRNO",
    "linux.seccomp.syscalls[].args[].op": "SCMP_CMP_NE",
    "process.ioPriority.class": "IOPRIO_CLASS_IDLE",
    "process.scheduler.policy": "SCHED_BATCH",
    "linux.memoryPolicy.mode": "MPOL_LOCAL",
    "linux.personality.domain": "LINUX32",
}


class Drop:
    """What to do to a config. field, word, rootfs: as above."""

    def __init__(self, field, word, rootfs):
        self.field, self.word, self.rootfs = field, word, rootfs

    def __call__(self, value, prefix=""):
        """Does it to what stands at a place of a config (`linux.resources`). Returns the value."""
        if self.field.startswith(prefix):
            path = self.field.removeprefix(prefix).removeprefix(".").replace("[]", ".[]")
            self._walk(value, path.removeprefix(".").split("."))
        return value

    def _walk(self, here, steps):
        step, *rest = steps
        if step == "[]":
            keys = range(len(here))
        elif step == "*":
            keys = [key for key in here if self.word in ("", key)]
        else:
            keys = [step] if here.get(step) is not None else []
        for key in reversed(keys):
            if not rest:
                self._drop(here, key)
            elif rest == ["type"] and step == "[]":
                # An entry of another type would be an entry too many.
                if self.word in ("", here[key].get("type")):
                    del here[key]
            else:
                self._walk(here[key], rest)

    def _drop(self, here, key):
        new = NEUTRAL.get(self.field)
        if self.word and self.word not in KINDS:
            if here[key] != self.word:
                return
            new = OTHER[self.field] if new == self.word else new
        if new is ROOTFS:
            new = self.rootfs
        if new is None:
            del here[key]
        else:
            here[key] = new

    def install(self):
        """Puts it between the check of a config and all the rest, and before what the tests of one module call."""
        checked = self.field not in CHECKED_ONLY
        self._around(load, "check", "", after=checked)
        self._around(load, "check_process", "process", after=checked)
        given = load.load_resources
        load.load_resources = lambda path: self(given(path), "linux.resources")
        self._around(resources, "writes", "linux.resources")
        self._around(devices, "compile", "linux.resources.devices")
        self._around(seccomp, "compile_profile", "linux.seccomp")
        self._around(rdt, "Group", "linux.intelRdt")

    def _around(self, module, name, prefix, after=False):
        inner = getattr(module, name)

        def outer(value, *args, **named):
            if not after:
                value = self(copy.deepcopy(value), prefix)
            result = inner(value, *args, **named)
            if after:
                self(value, prefix)
            return result

        setattr(module, name, outer)


if __name__ == "__main__":
    from pyrun.__main__ import main

    Drop(*sys.argv[1:4]).install()
    sys.exit(main(sys.argv[4:]))
elif "DROPPED" in os.environ:
    Drop(*os.environ["DROPPED"].split("\n")).install()
