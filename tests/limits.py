"""The control files of a container's cgroup, as the host sees them."""

import pathlib

from harness import until

ROOT = pathlib.Path("/sys/fs/cgroup")
PURE_V2 = (ROOT / "cgroup.controllers").exists()


def hierarchies(pid):
    """{controller: path}: the cgroups of v1 that a process is in, and with "" for controller the one of v2."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {name: path.lstrip("/") for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}


def cgroup_file(pid, name):
    """The path of a control file (`memory.max`) of the cgroup that a process is in; on v1 in its controller's hierarchy."""
    controller = name.partition(".")[0]
    cgroups = hierarchies(pid)
    if controller in cgroups and not PURE_V2:
        return ROOT / controller / cgroups[controller] / name
    return (ROOT if PURE_V2 else ROOT / "unified") / cgroups.get("", "none") / name


def limit(pid, v1, v2):
    """The text of a control file, of one name on cgroup v1 and another on v2; None where there is none."""
    path = cgroup_file(pid, v2 if PURE_V2 else v1)
    return path.read_text().strip() if path.exists() else None


def memory(pid):
    return limit(pid, "memory.limit_in_bytes", "memory.max")


def memory_and_swap(pid):
    """The limit of both together (int), None where the kernel does not count swap."""
    text = limit(pid, "memory.memsw.limit_in_bytes", "memory.swap.max")
    if text is None:
        return None
    return int(text) + (int(memory(pid)) if PURE_V2 else 0)


def quota(pid):
    """(quota, period) in microseconds; -1: no quota."""
    if not PURE_V2:
        return int(limit(pid, "cpu.cfs_quota_us", "")), int(limit(pid, "cpu.cfs_period_us", ""))
    first, period = limit(pid, "", "cpu.max").split()
    return -1 if first == "max" else int(first), int(period)


def freezer(pid):
    """The cgroup (Path) that a process is frozen by."""
    return cgroup_file(pid, "cgroup.freeze" if PURE_V2 else "freezer.state").parent


def freeze(path):
    """Freezes a cgroup as anyone may, without the runtime, and waits until it is."""
    if PURE_V2:
        (path / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (path / "cgroup.events").read_text())
    else:
        (path / "freezer.state").write_text("FROZEN")
        until(lambda: (path / "freezer.state").read_text() == "FROZEN\n")


def thaw(path):
    file, word = ("cgroup.freeze", "0") if PURE_V2 else ("freezer.state", "THAWED")
    (path / file).write_text(word)
