"""config.mounts and root -> ops (config.md#mounts, mount(8), mount_setattr(2))."""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base.errors import ConfigError
from pyrun.base.files import clean
from pyrun.config import mount_option, normal
from pyrun.plan.context import Context, rootfs_path
from pyrun.plan.namespaces import CLONE_NEWCGROUP
from pyrun.plan.records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# open_tree(2)
AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = 0x8000, 0x100
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_SYNCHRONOUS, MS_MANDLOCK, MS_DIRSYNC = 0x10, 0x40, 0x80
MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME = 0x100, 0x400, 0x800
MS_REC, MS_SILENT = 0x4000, 0x8000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x20000, 0x40000, 0x80000, 0x100000
MS_RELATIME, MS_I_VERSION, MS_STRICTATIME, MS_LAZYTIME = 0x200000, 0x800000, 0x1000000, 0x2000000

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
ATTR_RELATIME, ATTR_NOATIME, ATTR_STRICTATIME, ATTR_ATIME_MASK = 0x0, 0x10, 0x20, 0x70
ATTR_NODIRATIME, ATTR_NOSYMFOLLOW = 0x80, 0x200000

# The flags of one mount point: word -> (set, MS_* flag, MOUNT_ATTR_* flag).
POINT_WORDS = {
    "ro": (True, MS_RDONLY, ATTR_RDONLY),
    "rw": (False, MS_RDONLY, ATTR_RDONLY),
    "nosuid": (True, MS_NOSUID, ATTR_NOSUID),
    "suid": (False, MS_NOSUID, ATTR_NOSUID),
    "nodev": (True, MS_NODEV, ATTR_NODEV),
    "dev": (False, MS_NODEV, ATTR_NODEV),
    "noexec": (True, MS_NOEXEC, ATTR_NOEXEC),
    "exec": (False, MS_NOEXEC, ATTR_NOEXEC),
    "nodiratime": (True, MS_NODIRATIME, ATTR_NODIRATIME),
    "diratime": (False, MS_NODIRATIME, ATTR_NODIRATIME),
    "nosymfollow": (True, MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    "symfollow": (False, MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
}
# Access time is one field of three values, not a flag: word -> (MS_* flag, value).
ATIME_WORDS = {
    "noatime": (MS_NOATIME, ATTR_NOATIME),
    "atime": (0, ATTR_RELATIME),
    "relatime": (MS_RELATIME, ATTR_RELATIME),
    "norelatime": (0, ATTR_RELATIME),
    "strictatime": (MS_STRICTATIME, ATTR_STRICTATIME),
    "nostrictatime": (0, ATTR_RELATIME),
}
# Flags of the file system as a whole: word -> (set, MS_* flag, fsconfig key or None where the kernel has none).
SUPER_WORDS = {
    "sync": (True, MS_SYNCHRONOUS, "sync"),
    "async": (False, MS_SYNCHRONOUS, "sync"),
    "dirsync": (True, MS_DIRSYNC, "dirsync"),
    "mand": (True, MS_MANDLOCK, "mand"),
    "nomand": (False, MS_MANDLOCK, "mand"),
    "lazytime": (True, MS_LAZYTIME, "lazytime"),
    "nolazytime": (False, MS_LAZYTIME, "lazytime"),
    "iversion": (True, MS_I_VERSION, None),
    "noiversion": (False, MS_I_VERSION, None),
    "silent": (True, MS_SILENT, None),
    "loud": (False, MS_SILENT, None),
}
# crun's words: of a file system as a whole there is nothing below that they could reach.
SUPER_WORDS |= {"r" + word: SUPER_WORDS[word] for word in ("sync", "async", "dirsync", "mand", "nomand")}
PROPAGATION_WORDS = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
# Words that shape the mount itself: word -> the Mount attribute it makes true.
SHAPE_WORDS = {
    "bind": ("bind",),
    "rbind": ("bind", "recursive"),
    "remount": ("remount",),
    "defaults": (),
    "tmpcopyup": ("copy_up",),
    "idmap": ("idmap",),
    "ridmap": ("idmap", "idmap_recursive"),
    # crun's words for bind mounts and symlinks: the link itself is mounted, mounted on, or made anew.
    "src-nofollow": ("source_nofollow",),
    "dest-nofollow": ("target_nofollow",),
    "copy-symlink": ("copy_symlink",),
}
# Every recursive word is `r` + a word of one mount point: "rro", "rnosuid", "rnoatime" …
RECURSIVE_WORDS = {"r" + word: word for word in (*POINT_WORDS, *ATIME_WORDS)}

WORDS = frozenset((*POINT_WORDS, *ATIME_WORDS, *SUPER_WORDS, *PROPAGATION_WORDS, *SHAPE_WORDS, *RECURSIVE_WORDS))


class Attributes:
    """Flags to set and clear on a mount point, as mount_setattr(2) takes them, and as mount(2) does."""

    __slots__ = ("set", "clear", "ms")

    def __init__(self) -> None:
        self.set = self.clear = self.ms = 0

    def word(self, word: str) -> None:
        if word in ATIME_WORDS:
            ms, value = ATIME_WORDS[word]
            self.ms = self.ms & ~(MS_NOATIME | MS_RELATIME | MS_STRICTATIME) | ms
            self.set = self.set & ~ATTR_ATIME_MASK | value
            self.clear |= ATTR_ATIME_MASK
            return
        on, ms, flag = POINT_WORDS[word]
        if on:
            self.ms |= ms
            self.set |= flag
            self.clear &= ~flag
        else:
            self.ms &= ~ms
            self.set &= ~flag
            self.clear |= flag


class Mount:
    """One entry of config.mounts, its options taken apart."""

    def __init__(self, entry: dict, where: str) -> None:
        self.where = where
        self.entry = entry
        # Relative destinations are deprecated but legal: they are below "/".
        self.destination = clean(entry["destination"])
        self.type = entry["type"]
        self.source = entry["source"]
        self.point = Attributes()
        self.recursive_point = Attributes()
        self.propagation = 0
        self.super_ms = 0
        self.super_keys: list[str] = []
        self.data: list[str] = []
        self.bind = self.recursive = self.remount = self.copy_up = self.idmap = self.idmap_recursive = False
        self.source_nofollow = self.target_nofollow = self.copy_symlink = False
        self.touches_flags = False
        self.idmap_option = ""
        for word in mount_option.words(entry):
            self._option(word)
        if self.type == "bind":
            self.bind = True
        if entry["uidMappings"] or entry["gidMappings"]:
            self.idmap = True

    def _option(self, word: str) -> None:
        if word in POINT_WORDS or word in ATIME_WORDS:
            self.point.word(word)
            self.touches_flags = True
        elif word in SHAPE_WORDS:
            for name in SHAPE_WORDS[word]:
                setattr(self, name, True)
        elif word in PROPAGATION_WORDS:
            self.propagation = PROPAGATION_WORDS[word]
        elif word in RECURSIVE_WORDS:
            self.recursive_point.word(RECURSIVE_WORDS[word])
        elif word in SUPER_WORDS:
            on, ms, key = SUPER_WORDS[word]
            self.super_ms = self.super_ms | ms if on else self.super_ms & ~ms
            if key in self.super_keys:
                self.super_keys.remove(key)
            if on and key:
                self.super_keys.append(key)
        elif value := mount_option.value_of(word):
            self.idmap, self.idmap_option = True, value
            self.idmap_recursive = word[0] == "r"
        elif word:
            self.data.append(word)

    @property
    def subject(self) -> str:
        return f'"{self.source or self.type}" to rootfs at "{self.destination}"'


# Of what the runtime opens for mounts, init gets so many files when it starts. It asks for the rest one by one, so that
# no number of mounts runs into a limit of open files.
OPEN_MAX = 32


def parse(config: dict, bundle: str, more: Sequence[tuple[str, dict]] = ()) -> list[Mount]:
    """The mounts. Relative sources of bind mounts are below the bundle. runc takes destinations that begin with the path of the
    rootfs as ones below it. more: (where, entry) of those that the runtime adds.
    """
    rootfs = rootfs_path(config, bundle)
    found = [Mount(entry, f"mounts[{index}]") for index, entry in enumerate(config["mounts"])]
    found += [Mount(normal.mount_of(entry), where) for where, entry in more]
    for mount in found:
        if is_below(mount.destination, rootfs):
            mount.destination = mount.destination[len(rootfs) :]
        if mount.bind and not mount.source.startswith("/"):
            mount.source = f"{bundle}/{mount.source}"
    return found


def is_below(path: str, directory: str) -> bool:
    return directory != "/" and path.startswith(f"{directory}/")


# /proc and /sys must be real directories (CVE-2019-19921), and these kinds of mounts only belong there.
ORDINARY_TYPES = frozenset(("proc", "sysfs"))
# The kernel labels these by rules of its own, and refuses a context for them.
UNLABELLED_TYPES = frozenset(("proc", "sysfs", "mqueue"))
# lxcfs and the like replace single files of /proc; anything else below it would shadow the kernel's.
PROC_FILES = frozenset(
    "/proc/" + name
    for name in "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo sys/kernel/ns_last_pid sys/crypto/fips_enabled".split()
)


def check(mount: Mount) -> None:
    """Refuses a destination in /proc that would hide the kernel's files (CVE-2019-16884), as runc does."""
    if not mount.destination.startswith("/proc/") or mount.destination in PROC_FILES:
        if mount.destination == "/proc" and mount.type != "proc" and not mount.bind:
            raise ConfigError(f"{mount.where}.destination", '"/proc" can only be a proc mount', cure='set type to "proc"')
        return
    raise ConfigError(
        f"{mount.where}.destination", f'"{mount.destination}" cannot be mounted because it is inside /proc', cure="choose another destination"
    )


# What shows a namespace can be mounted by its owner alone: type -> (kind of namespace, where the caller has the same).
SHOWN = {"sysfs": ("network", "/sys"), "proc": ("pid", "/proc"), "mqueue": ("ipc", "/dev/mqueue")}


def _bind_instead(mount: Mount, source: str) -> None:
    """Makes it a bind mount of the caller's. Below /sys are the caller's cgroups, which read-only must hold for, too."""
    mount.bind = mount.recursive = True
    mount.source, mount.data = source, []
    if mount.point.set & ATTR_RDONLY:
        mount.recursive_point.word("ro")


def emit(plan: Plan, mount: Mount, context: Context) -> None:
    """The ops of one mount."""
    check(mount)
    if mount.destination == "/" and mount.copy_up:
        raise ConfigError(f"{mount.where}.options", 'tmpcopyup cannot be used for "/": it would copy the whole root into memory', cure="leave it out")
    kind, source = SHOWN.get(mount.type, (None, ""))
    if kind in context.foreign and not mount.bind and not mount.remount:
        _bind_instead(mount, source)
    if mount.type == "cgroup" and not mount.bind:
        _emit_cgroup(plan, mount, context)
    elif mount.bind:
        _emit_bind(plan, mount, context)
    elif mount.remount:
        plan.setattr(
            mount.where, mount.destination, target=mount.destination, attr_set=mount.point.set, attr_clear=mount.point.clear,
            propagation=mount.propagation
        )
    else:
        _emit_file_system(plan, mount, context)


def _emit_file_system(plan: Plan, mount: Mount, context: Context) -> None:
    if not mount.type:
        raise ConfigError(f"{mount.where}.type", 'a mount needs a type, or "bind" among its options', cure="add one of them")
    flags = 0
    data = list(mount.data)
    point = mount.point
    if mount.type in ORDINARY_TYPES:
        flags |= lib.MOUNT_ORDINARY_DIR
    if mount.type == "mqueue":
        data = []
    if mount.type == "tmpfs":
        if not any(word.startswith("mode=") for word in data):
            flags |= lib.MOUNT_TARGET_MODE
        if mount.copy_up:
            flags |= lib.MOUNT_TMPCOPYUP
    if context.mount_label and mount.type not in UNLABELLED_TYPES:
        data.append(f"context={context.mount_label}")
    keys = [f"source={mount.source or mount.type}", *mount.super_keys, *data]
    plan.mount(
        mount.where, mount.subject, flags=flags, type=mount.type, target=mount.destination, options=keys, attr_set=point.set,
        propagation=mount.propagation, ms_flags=point.ms | mount.super_ms
    )
    if mount.recursive_point.set or mount.recursive_point.clear:
        recursive = mount.recursive_point
        plan.setattr(mount.where, mount.destination, target=mount.destination, attr_set=recursive.set, attr_clear=recursive.clear)


# What a bind mount clears when its options name any flag: all it does not name, but for access times, which the kernel
# keeps unless a flag of theirs is set (mount(2), MS_REMOUNT | MS_BIND): `atime`, `norelatime` and `diratime` set none.
_POINT_FLAGS = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW
_TIMES, _TIME_FLAGS = ATTR_ATIME_MASK | ATTR_NODIRATIME, MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME


def _emit_bind(plan: Plan, mount: Mount, context: Context) -> None:
    if mount.data:
        from pyrun.base import log

        log.doubt(f"{mount.where}.options", f"{mount.data[0]!r} means nothing to a bind mount and is ignored")
    point, recursive = mount.point, mount.recursive_point
    # In a user namespace the host's flags are locked. What the options do not name stays then; what they name is an error.
    named = point.clear & ~_TIMES
    if point.ms & _TIME_FLAGS:
        named |= ATTR_ATIME_MASK | ATTR_NODIRATIME & ~point.set
    clear = named | (_POINT_FLAGS & ~point.set if mount.touches_flags else 0)
    source = mount.source
    link = read_symlink(source) if mount.copy_symlink else None
    if link is not None:
        plan.symlink(mount.where, mount.destination, flags=lib.SYMLINK_SAME, text=link, path=mount.destination)
        return
    flags = lib.BIND_RECURSIVE if mount.recursive else 0
    if mount.source_nofollow:
        flags |= lib.BIND_SOURCE_NOFOLLOW
    if mount.target_nofollow:
        flags |= lib.BIND_TARGET_NOFOLLOW
    fd = fd2 = -1
    if context.opens_sources and not is_below(source, context.rootfs):
        # In a user namespace the mapped root may not be able to reach it, nor to map its ids: the runtime clones it.
        if len(plan.needs.sources) < OPEN_MAX:
            fd = plan.given(f"{mount.where}.source")
            plan.needs.sources.append((f"{mount.where}.source", mount))
        else:
            flags |= lib.BIND_SOURCE_ASKED
            plan.needs.asked[mount.where] = mount
        if context.facts.is_file(source, mount.source_nofollow):
            flags |= lib.BIND_TARGET_FILE
    elif mount.idmap and (context.opens_sources or len(plan.needs.idmaps) >= OPEN_MAX):
        # What lies in the root may be an earlier mount, which only init sees; but in a user namespace it may map no ids.
        flags |= lib.BIND_IDMAP_ASKED
        plan.needs.asked[mount.where] = mount
    elif mount.idmap:
        fd2 = plan.given(f"{mount.where}.idmap")
        plan.needs.idmaps.append((f"{mount.where}.idmap", mount))
        if mount.idmap_recursive:
            flags |= lib.BIND_IDMAP_RECURSIVE
    plan.bind(
        mount.where, mount.subject, flags=flags, source=source, target=mount.destination, tree=fd, userns=fd2, attr_set=point.set,
        attr_clear=clear, attr_set_below=recursive.set, attr_clear_below=recursive.clear, propagation=mount.propagation,
        attr_named=named
    )


def _emit_cgroup(plan: Plan, mount: Mount, context: Context) -> None:
    """A cgroup mount shows the container its own cgroups, in the layout of the host (config-linux.md#cgroups)."""
    point = mount.point
    hierarchies = context.hierarchies
    if [one.name for one in hierarchies] == [""]:
        _emit_hierarchy(plan, mount, mount.destination, hierarchies[0], context)
        return
    plan.mount(
        mount.where, mount.subject, type="tmpfs", target=mount.destination, options=["source=cgroup", "mode=755"],
        attr_set=point.set & ~ATTR_RDONLY, propagation=mount.propagation, ms_flags=point.ms & ~MS_RDONLY
    )
    for hierarchy in hierarchies:
        _emit_hierarchy(plan, mount, f"{mount.destination}/{hierarchy.directory}", hierarchy, context)
        for link in hierarchy.links:
            plan.symlink(mount.where, link, text=hierarchy.directory, path=f"{mount.destination}/{link}")
    if point.set & ATTR_RDONLY:
        plan.setattr(mount.where, mount.destination, target=mount.destination, attr_set=ATTR_RDONLY)


def _emit_hierarchy(plan: Plan, mount: Mount, target: str, hierarchy: Any, context: Context) -> None:
    point = mount.point
    if context.spaces.new & CLONE_NEWCGROUP:
        plan.mount(
            mount.where, mount.subject, type=hierarchy.type, target=target, options=["source=cgroup", *hierarchy.options],
            attr_set=point.set, propagation=mount.propagation, ms_flags=point.ms
        )
    else:
        plan.bind(
            mount.where, mount.subject, source=hierarchy.path, target=target, attr_set=point.set, attr_clear=_POINT_FLAGS & ~point.set,
            propagation=mount.propagation
        )


def read_symlink(path: str) -> str | None:
    """The text of a symlink of the host, None if it is none."""
    try:
        return posix.readlink(path)
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):  # it is none, or nothing is there
            raise
        return None
