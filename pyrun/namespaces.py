"""linux.namespaces -> clone flags and setns ops (config-linux.md#namespaces, namespaces(7))."""

import posix

from pyrun._native import lib

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000

FLAGS = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}


class Namespaces:
    """new, joined: kinds of the namespaces the container makes and those it joins by path (joined: kind -> (path, where))."""

    def __init__(self, config):
        self.new = 0
        self.joined = {}
        for index, entry in enumerate((config.get("linux") or {}).get("namespaces") or ()):
            kind = entry["type"]
            path = entry.get("path")
            if path:
                self.joined[kind] = (path, f"linux.namespaces[{index}].path")
            else:
                self.new |= FLAGS[kind]

    def has(self, kind):
        """Whether the container has a namespace of its own of this kind, made or joined."""
        return kind in self.joined or bool(self.new & FLAGS[kind])

    @property
    def mask(self):
        mask = self.new
        for kind in self.joined:
            mask |= FLAGS[kind]
        return mask


def emit_joins(plan, namespaces):
    """setns into the namespaces given by path.

    A namespace may belong to the first user namespace (its files can only be joined before the user namespace is) or
    to the joined one (only after): what fails before is tried again after.
    """
    user = "user" in namespaces.joined
    kinds = [kind for kind in FLAGS if kind in namespaces.joined and kind != "user"]
    # The mount namespace last: its /proc need not have the other paths.
    kinds.sort(key=lambda kind: kind == "mount")
    for kind in kinds:
        _emit_setns(plan, namespaces, kind, lib.SETNS_TRY if user else 0)
    if user:
        _emit_setns(plan, namespaces, "user", 0)
        plan.add(lib.OP_SETID, "linux.namespaces", "", n=(0, 0))
        for kind in kinds:
            _emit_setns(plan, namespaces, kind, lib.SETNS_RETRY)


def _emit_setns(plan, namespaces, kind, flags):
    path, where = namespaces.joined[kind]
    plan.add(lib.OP_SETNS, where, path, flags=flags, fd=plan.file(path, posix.O_RDONLY, where), n=(FLAGS[kind],))
