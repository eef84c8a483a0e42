"""What a failed op means to a person: init's ERROR message, in words that name the place in the config."""

from __future__ import annotations

import errno

from pyrun._native import ffi, lib
from pyrun.base.errors import Error, ExecError, ProgramError, words
from pyrun.base.facts import facts
from pyrun.base.files import read_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun._native import CData

STEP_NAMES = {getattr(lib, name): name[5:].lower() for name in dir(lib) if name.startswith("STEP_")}
_EXEC_OPS = {"exec", "exec_check"}
_HINTS = {
    ("root", "open"): "in a user namespace its root must be able to search every directory on the way",
    ("console", "open"): "mount a devpts on /dev/pts",
    ("propagation", "mount"): "in a chroot / must be a mount point: bind the directory onto itself before the chroot",
    ("pivot", "pivot_root"): "the root file system of the host may be an initramfs: try --no-pivot",
    ("mount", "ordinary_dir"): "must be mounted on ordinary directory",
    ("mount", "inside_proc"): "a symlink leads into /proc: choose another destination",
    ("bind", "inside_proc"): "only a procfs can be mounted on /proc, and nothing through a symlink into it",
    ("mount", "fsopen"): "/proc/filesystems has what this kernel knows",
    ("scheduler", "sched_setattr"): "a SCHED_DEADLINE process scheduler can't be used together with AllowedCPUs, "
    "linux.resources.cpu.cpus; a real-time one needs CAP_SYS_NICE, and time in the cgroup where the kernel groups real-time tasks",
    ("chdir", "chdir"): "make the directory in the root file system or change cwd",
    ("mkdir", "mkdir"): "it is not in the root file system, and cannot be made: change cwd",
    ("mask", "mount"): "the root itself cannot be masked",
    ("proc_write", "write"): "the kernel must know it: apparmor_parser loads an AppArmor profile, the policy has SELinux's labels",
    ("device", "open_source"): "in a user namespace the host's device is bound: it must be there",
    ("setid", "setgid"): "linux.gidMappings must map the group",
    ("setid", "setuid"): "linux.uidMappings must map the user",
    ("ids", "setgroups"): "all of additionalGids must be mapped in the user namespace, and setgroups not denied there",
    ("ids", "setgid"): "cannot setgid to unmapped gid in user namespace",
    ("ids", "setuid"): "cannot setuid to unmapped uid in user namespace",
}
# Those of one errno alone.
_DENIED = (errno.EPERM, errno.EACCES)
_DENIED_HINTS = {
    "mount": "a user namespace may mount a proc or sysfs of its own pid or network namespace alone, and only where the one "
    "that it sees already is not covered in places",
    "oom_score_adj": "without CAP_SYS_RESOURCE it cannot be lower than the caller's own",
    "rlimit": "without CAP_SYS_RESOURCE no hard limit can be higher than the caller's own, and RLIMIT_NOFILE never than sysctl fs.nr_open",
    "sysctl": "the kernel lets no user namespace write it: set it on the host",
}
# Calls without which there is no other way, and the first kernel that has them.
_NEW_CALLS = {"move_mount": "5.2", "fsconfig": "5.2", "fsmount": "5.2", "seccomp": "3.17"}
# The member of a mount that a step is about.
_MOUNT_MEMBERS = {
    "open_tree": ".source", "fsopen": ".type", "open_target": ".destination", "ordinary_dir": ".destination", "inside_proc": ".destination",
}  # fmt: skip
_NEWER = "idmapped mounts, and options for all mounts below one, take Linux 5.12"
_MOUNT_CURES = {
    ("open_tree", errno.ENOENT): "create it on the host, or correct the path",
    ("fsmount", errno.EINVAL): "nosymfollow takes Linux 5.14",
    ("mount_setattr", errno.ENOSYS): _NEWER, ("idmap", errno.ENOSYS): _NEWER,
}  # fmt: skip
# statfs(2): file systems without idmapped mounts that are met, and those with versions that have none.
_FILE_SYSTEMS = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x1CD1: "devpts", 0x6969: "nfs", 0x65735546: "fuse", 0xFE534D42: "smb2", 0x01021997: "9p",
    0x27E0EB: "cgroup", 0x63677270: "cgroup2", 0x01021994: "tmpfs", 0x794C7630: "overlay", 0xEF53: "ext4", 0x58465342: "xfs",
    0x9123683E: "btrfs", 0x19800202: "mqueue",
}  # fmt: skip


def not_idmapped(magic: int, error: int) -> str:
    """Why a mount of a file system (its number in statfs(2)) could not be idmapped (errno)."""
    if error == errno.ENOSYS:
        return ""  # mount_fault() has said it
    if error == errno.EPERM:
        return "id-mapped mounts are not supported for rootless containers: it takes CAP_SYS_ADMIN where the file system was mounted first"
    name = _FILE_SYSTEMS.get(magic, f"file system {magic:#x}")
    return f"idmap: {name} must support idmapped mounts: ext4, xfs and btrfs do since Linux 5.15, tmpfs since 6.3; of an overlay map the layers"


def mount_fault(subject: str, where: str, step: str, error: int) -> str:
    """The text for a mount that failed with an errno; callers match `error mounting`."""
    text = f"error during container init: error mounting {subject}: {where}{_MOUNT_MEMBERS.get(step, '')}: {step}: {words(error)}"
    cure = _MOUNT_CURES.get((step, error))
    return f"{text} ({cure})" if cure else text


# Switches of the kernel, of Debian's and of Ubuntu's: path below /proc/sys, the value that forbids user namespaces.
_SWITCHES = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
)


def forbidden() -> str:
    """What forbids an ordinary user its user namespaces here: a text, '' if nothing is known to."""
    for path, value in _SWITCHES:
        try:
            found = read_line(f"/proc/sys/{path}").decode().strip()
        except OSError:  # only a hint is missed
            continue
        if found == value:
            return f"user namespaces are restricted: sysctl {path.replace('/', '.')} is {value}"
    return ""


def _hint(name: str, step: str, number: int) -> str:
    if name == "clone" and number == errno.ENOSPC:
        return forbidden() or "the limit of namespaces is reached (sysctl user.max_*_namespaces), or 32 are nested"
    if name == "clone" and number == errno.EAGAIN:
        return "a limit of processes is reached: it takes room for two, until the program runs"
    if number == errno.ENOSYS and step in _NEW_CALLS:
        return f"it takes Linux {_NEW_CALLS[step]}, and a seccomp filter around the runtime that allows it"
    if number in _DENIED:
        reason = forbidden() if facts.rootless else ""
        hint = reason or _HINTS.get((name, step)) or _DENIED_HINTS.get(name, "")
        if number == errno.EPERM and step in _NEW_CALLS:  # as the filter of an outer container says it
            return f"{hint}{hint and '; '}a seccomp filter around the runtime must allow {step}"
        return hint
    return _HINTS.get((name, step), "")


def explain(note: tuple[str, str, str], message: CData) -> Error:
    """The Error that an ERROR message of init stands for.

    note: (name, where, subject) of the op. Callers match the words of a missing or forbidden executable (docker: 127
    and 126) and `error mounting`.
    """
    name, where, subject = note
    reason = words(message.value)
    step = STEP_NAMES.get(message.step, "?")
    detail = ffi.string(message.detail).decode("utf-8", "replace")
    if not detail.isprintable():  # it may come from the container
        detail = ascii(detail)
    hint = _hint(name, step, message.value)
    if name == "bind" and detail[:6] == "idmap:":
        detail = not_idmapped(int(detail[6:]), message.value)
    if name in _EXEC_OPS:
        missing = message.value == errno.ENOENT
        if missing and "/" not in subject:
            said = "executable file not found in $PATH"
        elif name == "exec":
            return ExecError(f"exec {subject}: {reason}", message.value)
        else:
            said = f"stat {subject}: {reason}" if missing else reason
        return ProgramError(f'{where}: exec: "{subject}": {said}', message.value)
    if name in ("chdir", "chdir_check"):
        text = f'{where}: chdir to cwd ("{subject}") set in config.json failed: {reason}'
    elif name in ("mount", "bind"):
        text = mount_fault(subject, where, step, message.value)
    else:
        about = f" {subject}" if subject else ""
        text = f"error during container init: {where or name}: {step}{about}: {reason}"
    extra = [one for one in (detail, hint) if one]
    return Error(f"{text} ({'; '.join(extra)})" if extra else text)


def failed_start(error: Error) -> Error:
    """The Error of a program that was not started, with the words that callers know it by."""
    if not error.bare:
        error.args = (f"unable to start container process: {error}",)
    return error
