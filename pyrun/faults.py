"""What a failed op means to a person: init's ERROR message, in words that name the place in the config."""

import errno
import posix

from pyrun._native import ffi, lib
from pyrun.errors import Error, ExecError, words
from pyrun.files import read_line
from pyrun.plan import OP_NAMES

STEP_NAMES = {getattr(lib, name): name[5:].lower() for name in dir(lib) if name.startswith("STEP_")}
_EXEC_OPS = {lib.OP_EXEC, lib.OP_EXEC_CHECK}
_HINTS = {
    (lib.OP_ROOT, lib.STEP_OPEN): "in a user namespace its root must be able to search every directory on the way",
    (lib.OP_CONSOLE, lib.STEP_OPEN): "mount a devpts on /dev/pts",
    (lib.OP_PROPAGATION, lib.STEP_MOUNT): "in a chroot / must be a mount point: bind the directory onto itself before the chroot",
    (lib.OP_PIVOT, lib.STEP_PIVOT_ROOT): "the root file system of the host may be an initramfs: try --no-pivot",
    (lib.OP_MOUNT, lib.STEP_ORDINARY_DIR): "must be mounted on ordinary directory",
    (lib.OP_MOUNT, lib.STEP_INSIDE_PROC): "a symlink leads into /proc: choose another destination",
    (lib.OP_BIND, lib.STEP_INSIDE_PROC): "only a procfs can be mounted on /proc, and nothing through a symlink into it",
    (lib.OP_MOUNT, lib.STEP_FSOPEN): "/proc/filesystems has what this kernel knows",
    (lib.OP_SCHEDULER, lib.STEP_SCHED_SETATTR): "a SCHED_DEADLINE process scheduler can't be used together with AllowedCPUs, "
    "linux.resources.cpu.cpus; a real-time one needs CAP_SYS_NICE, and time in the cgroup where the kernel groups real-time tasks",
    (lib.OP_CHDIR, lib.STEP_CHDIR): "make the directory in the root file system or change cwd",
    (lib.OP_MKDIR, lib.STEP_MKDIR): "it is not in the root file system, and cannot be made: change cwd",
    (lib.OP_MASK, lib.STEP_MOUNT): "the root itself cannot be masked",
    (lib.OP_PROC_WRITE, lib.STEP_WRITE): "the kernel must know it: apparmor_parser loads an AppArmor profile, the policy has SELinux's labels",
    (lib.OP_DEVICE, lib.STEP_OPEN_SOURCE): "in a user namespace the host's device is bound: it must be there",
    (lib.OP_SETID, lib.STEP_SETGID): "linux.gidMappings must map the group",
    (lib.OP_SETID, lib.STEP_SETUID): "linux.uidMappings must map the user",
    (lib.OP_IDS, lib.STEP_SETGROUPS): "all of additionalGids must be mapped in the user namespace, and setgroups not denied there",
    (lib.OP_IDS, lib.STEP_SETGID): "cannot setgid to unmapped gid in user namespace",
    (lib.OP_IDS, lib.STEP_SETUID): "cannot setuid to unmapped uid in user namespace",
}
# Those of one errno alone.
_DENIED = (errno.EPERM, errno.EACCES)
_DENIED_HINTS = {
    lib.OP_MOUNT: "a user namespace may mount a proc or sysfs of its own pid or network namespace alone, and only where the one "
    "that it sees already is not covered in places",
    lib.OP_OOM_SCORE_ADJ: "without CAP_SYS_RESOURCE it cannot be lower than the caller's own",
    lib.OP_RLIMIT: "without CAP_SYS_RESOURCE no hard limit can be higher than the caller's own",
    lib.OP_SYSCTL: "the kernel lets no user namespace write it: set it on the host",
}
# The member of a mount that a step is about.
_MOUNT_MEMBERS = {
    "open_tree": ".source", "fsopen": ".type", "open_target": ".destination", "ordinary_dir": ".destination", "inside_proc": ".destination",
}  # fmt: skip
# statfs(2): file systems without idmapped mounts that are met, and those with versions that have none.
_FILE_SYSTEMS = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x1CD1: "devpts", 0x6969: "nfs", 0x65735546: "fuse", 0xFE534D42: "smb2", 0x01021997: "9p",
    0x27E0EB: "cgroup", 0x63677270: "cgroup2", 0x01021994: "tmpfs", 0x794C7630: "overlay", 0xEF53: "ext4", 0x58465342: "xfs",
    0x9123683E: "btrfs", 0x19800202: "mqueue",
}  # fmt: skip


def not_idmapped(magic, error):
    """Why a mount of a file system (its number in statfs(2)) could not be idmapped (errno)."""
    if error == errno.EPERM:
        return "id-mapped mounts are not supported for rootless containers: it takes CAP_SYS_ADMIN where the file system was mounted first"
    name = _FILE_SYSTEMS.get(magic, f"file system {magic:#x}")
    return f"idmap: {name} must support idmapped mounts: ext4, xfs and btrfs do since Linux 5.15, tmpfs since 6.3; of an overlay map the layers"


def mount_fault(subject, where, step, error):
    """The text for a mount that failed with an errno; callers match `error mounting`."""
    text = f"error during container init: error mounting {subject}: {where}{_MOUNT_MEMBERS.get(step, '')}: {step}: {words(error)}"
    return f"{text} (create it on the host, or correct the path)" if (step, error) == ("open_tree", errno.ENOENT) else text


# Switches of the kernel, of Debian's and of Ubuntu's: path below /proc/sys, the value that forbids user namespaces.
_SWITCHES = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
)


def _forbidden():
    """What forbids an ordinary user its user namespaces here: a text, '' if nothing is known to."""
    for path, value in _SWITCHES:
        try:
            found = read_line(f"/proc/sys/{path}").decode().strip()
        except OSError:  # only a hint is missed
            continue
        if found == value:
            return f"user namespaces are restricted: sysctl {path.replace('/', '.')} is {value}"
    return ""


def _hint(opcode, message):
    if opcode == lib.OP_CLONE and message.value == errno.ENOSPC:
        return _forbidden() or "the limit of namespaces is reached (sysctl user.max_*_namespaces), or 32 are nested"
    if message.value in _DENIED:
        forbidden = _forbidden() if posix.geteuid() else ""
        return forbidden or _HINTS.get((opcode, message.step)) or _DENIED_HINTS.get(opcode, "")
    return _HINTS.get((opcode, message.step), "")


def explain(note, message):
    """The Error that an ERROR message of init stands for.

    note: (opcode, where, subject) of the op. Callers match the words of a missing or forbidden executable (docker: 127
    and 126) and `error mounting`.
    """
    opcode, where, subject = note
    reason = words(message.value)
    step = STEP_NAMES.get(message.step, "?")
    detail = ffi.string(message.detail).decode("utf-8", "replace")
    hint = _hint(opcode, message)
    if detail[:6] == "idmap:":
        detail = not_idmapped(int(detail[6:]), message.value)
    if opcode in _EXEC_OPS:
        if message.value == errno.ENOENT and "/" not in subject:
            return Error(f'{where}: exec: "{subject}": executable file not found in $PATH')
        if opcode == lib.OP_EXEC:
            return ExecError(f"exec {subject}: {reason}")
        return Error(f'{where}: exec: "{subject}": stat {subject}: {reason}' if message.value == errno.ENOENT
                     else f'{where}: exec: "{subject}": {reason}')
    if opcode in (lib.OP_CHDIR, lib.OP_CHDIR_CHECK):
        text = f'{where}: chdir to cwd ("{subject}") set in config.json failed: {reason}'
    elif opcode in (lib.OP_MOUNT, lib.OP_BIND):
        text = mount_fault(subject, where, step, message.value)
    else:
        about = f" {subject}" if subject else ""
        text = f"error during container init: {where or OP_NAMES[opcode].lower()}: {step}{about}: {reason}"
    extra = [one for one in (detail, hint) if one]
    return Error(f"{text} ({'; '.join(extra)})" if extra else text)


def failed_start(error):
    """The Error of a program that was not started, with the words that callers know it by."""
    return error if error.bare else Error(f"unable to start container process: {error}", error.code)
