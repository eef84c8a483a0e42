"""Will it run here? The files of the host that a config names: the root file system, the sources of mounts, hooks, devices."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error, words
from pyrun.base.facts import facts
from pyrun.config import mount_option, rules
from pyrun.container.sources import Sources
from pyrun.plan import mounts
from pyrun.plan.context import rootfs_path
from pyrun.plan.namespaces import Namespaces
from pyrun.plan.records import Needs
from pyrun.validate.subject import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject

    Founds = Iterator[Found]

ST_NOEXEC = 8  # statvfs(3)
CAP_MKNOD = 27


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it is there, and out of our reach
        return True
    return True


def forbids_programs(path: str) -> bool:
    """Whether the file system that a path lies on is mounted noexec; False where there is none."""
    try:
        return bool(posix.statvfs(path).f_flag & ST_NOEXEC)
    except OSError:
        return False


def root_file_system(subject: Subject) -> Founds:
    path = rootfs_path(subject.config, subject.bundle)
    if subject.config["process"] and forbids_programs(path) and not any(mount["destination"] == "/" for mount in subject.config["mounts"]):
        message = f"{path} lies on a file system that is mounted noexec: no program in it can be executed"
        yield Found("root.path", message, "put it elsewhere, or remount that with exec")


def sources(subject: Subject) -> Founds:
    """What is bound. A source in the root file system may come to be only when something else is mounted."""
    rootfs = rootfs_path(subject.config, subject.bundle)
    for mount in mounts.parse(subject.config, subject.bundle):
        if not mount.bind or mounts.is_below(mount.source, rootfs) or not mount.source.startswith("/"):
            continue
        try:
            posix.stat(mount.source, follow_symlinks=not mount.source_nofollow)
        except OSError as error:
            yield Found(f"{mount.where}.source", f"{mount.source}: {words(error.errno)}", "create it on the host, or correct the path")


def id_mapped(subject: Subject) -> Founds:
    """The kernel is asked, with a copy of the mount that nobody sees: which file systems can is in no list."""
    linux = subject.config["linux"]
    if facts.unprivileged:
        return
    for mount in mounts.parse(subject.config, subject.bundle):
        if mount.idmap and mount.bind:
            try:
                posix.close(Sources(linux, Needs()).open(mount))
            except Error as fault:
                text = str(fault).partition(f"{mount.where}: ")[2] or str(fault)
                if ": no such file or directory" not in text:  # sources() tells that
                    yield Found(mount.where, f"its ids cannot be mapped here: {text}", "leave the mappings out, or put it on another file system")


def hooks(subject: Subject) -> Founds:
    """Those that the host has. startContainer hooks are in the container."""
    for kind in rules.HOOKS:
        for index, hook in enumerate(subject.config["hooks"][kind] if kind != "startContainer" else ()):
            where, path = f"hooks.{kind}[{index}].path", hook["path"]
            try:
                posix.stat(path)
            except OSError as error:
                yield Found(where, f"{path}: {words(error.errno)}", "install it, or correct the path")
            else:
                if not posix.access(path, posix.X_OK):
                    yield Found(where, f"{path} is not executable", f"chmod +x {path}")


def device_nodes(subject: Subject) -> Founds:
    """In a user namespace a device cannot be made: the host's is bound."""
    binds = Namespaces(subject.config["linux"]["namespaces"]).has("user") or facts.in_user_namespace
    for index, device in enumerate(subject.config["linux"]["devices"]):
        path = device["path"]
        if not binds and not facts.capabilities[0] >> CAP_MKNOD & 1:
            yield Found(f"linux.devices[{index}]", "devices cannot be made without CAP_MKNOD", "run it with that capability, or leave them out")
        elif binds and device["type"] != "p" and not exists(path):
            yield Found(f"linux.devices[{index}].path", f"{path} is not on this host, whose device is bound in a user namespace", "leave it out")


def terminal(subject: Subject) -> Founds:
    process, rootfs = subject.config["process"], rootfs_path(subject.config, subject.bundle)
    if not process or not process["terminal"]:
        return
    for mount in mounts.parse(subject.config, subject.bundle):
        if mount.destination == "/dev/pts" or (mount.destination in ("/", "/dev") and "rbind" in mount_option.words(mount.entry)):
            return
    if not exists(f"{rootfs}/dev/pts/ptmx"):
        cure = '{"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]}'
        yield Found("process.terminal", "a terminal needs a devpts on /dev/pts, and nothing mounts one", f"add {cure} to mounts")
