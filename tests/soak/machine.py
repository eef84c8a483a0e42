"""What a machine has: counts that a leak of one for each container would raise by as many."""

import os
import pathlib


def counts():
    """{what: count} of all of the machine: others' come and go meanwhile."""
    found = {"mounts": _lines("/proc/self/mountinfo"), "files": int(_text("/proc/sys/fs/file-nr").split()[0])}
    found["processes"] = sum(path.name.isdigit() for path in pathlib.Path("/proc").iterdir())
    found["keys"] = _lines("/proc/keys")
    # Not /proc/cgroups: there it is a memory cgroup until all that it has in the page cache is reclaimed.
    found["cgroups"] = sum(len(directories) for _, directories, _ in os.walk("/sys/fs/cgroup"))
    memory = dict(line.split(":") for line in _text("/proc/meminfo").splitlines())
    found["MiB of the kernel"] = (int(memory["SUnreclaim"].split()[0]) + int(memory["KernelStack"].split()[0])) // 1024
    return found


class Counts:
    """Those at some moment. grown: {what: (then, now)} of what back() has found last."""

    def __init__(self):
        self.then, self.grown = counts(), {}

    def back(self, containers):
        """Whether nothing has grown by as much as the containers were: what others do meanwhile is less."""
        now = counts()
        self.grown.clear()
        self.grown.update({name: (count, now[name]) for name, count in self.then.items() if now[name] - count >= max(containers, 200)})
        return not self.grown


def _text(path):
    return pathlib.Path(path).read_text()


def _lines(path):
    return len(_text(path).splitlines())
