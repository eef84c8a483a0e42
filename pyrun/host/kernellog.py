"""The kernel's log: what it has said of a process that it has killed."""

from __future__ import annotations

import posix
import re
import time

from pyrun.base import processes

KMSG = "/dev/kmsg"
FIRST_PIDS = 0xEFFFFFFC
"""The inode of the first pid namespace (PROC_PID_INIT_INO), whose pids the log has."""
PATIENCE = 0.3  # s for what the kernel writes by a thread of its own, as it does for audit records


def last(pattern: str, patience: float = 0) -> re.Match[str] | None:
    """The newest record in which a regular expression is found; None where there is none, or the log cannot be read.

    patience: s to wait for one.
    """
    try:
        if posix.stat("/proc/self/ns/pid").st_ino != FIRST_PIDS:
            return None
        log = posix.open(KMSG, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:  # there is no /proc, or the log is for others (sysctl kernel.dmesg_restrict)
        return None
    search, found, end = re.compile(pattern).search, None, time.monotonic() + patience
    try:
        while True:
            try:
                text = posix.read(log, 8192).decode("utf-8", "replace")
                found = search(text.partition(";")[2]) or found
            except BlockingIOError:
                left = int((end - time.monotonic()) * 1000)
                if found or left <= 0 or not processes.readable(log, left):
                    return found
            except BrokenPipeError:  # the next record was overwritten; the read goes on behind it
                continue
    except OSError:
        return found
    finally:
        posix.close(log)


def refused_call(pid: int) -> tuple[int, int] | None:
    """(AUDIT_ARCH_*, number) of the system call that seccomp has killed a process for: the log has it where no auditd takes it."""
    found = last(rf"type=1326 .*\bpid={pid} .*\bsig=31 arch=([0-9a-f]+) syscall=(\d+)\b", PATIENCE)
    return (int(found[1], 16), int(found[2])) if found else None


def out_of_memory(pid: int) -> str:
    """`cgroup` or `machine`: whose memory had run out when the kernel killed a process for it; '' if the log has nothing of it."""
    found = last(rf"(?i)\b(memory cgroup )?out of memory\b.*: Killed process {pid} ")
    return "" if not found else "cgroup" if found[1] else "machine"
