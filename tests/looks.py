"""What a container looks like from inside: its mount table, its status, its files."""

import contextlib
import os
import platform
import subprocess

LINUX32 = {"x86_64": "i686", "aarch64": "armv8l"}[platform.machine()]
"""What uname(2) calls this machine to a program of the personality LINUX32."""


class Entry:
    """A line of mountinfo (proc_pid_mountinfo(5)): `point`, `options` (set), `type`, `source`, `data` (set: the file
    system's own options), `tags` (list, as "shared:4")."""

    def __init__(self, line):
        left, right = line.split(" - ")
        _, _, self.device, self.root, self.point, options, *self.tags = left.split()
        self.type, self.source, data = right.split(" ")
        self.options, self.data = set(options.split(",")), set(data.split(","))

    def __repr__(self):
        return f"{self.point} {sorted(self.options)} {self.tags} {self.type} {self.source} {sorted(self.data)}"

    @property
    def propagation(self):
        """The words of the tags, without their numbers: {"shared"}, {"master"}, set() for private."""
        return {tag.partition(":")[0] for tag in self.tags}


def mount_table(text):
    """mountinfo -> {mount point: Entry}; of several on one point the last, which is on top."""
    return {entry.point: entry for entry in map(Entry, text.strip().split("\n"))}


def seen(bundle, script=""):
    """Runs the bundle with a shell script before `cat /proc/self/mountinfo`; returns its mount table."""
    bundle.config["process"]["args"] = ["sh", "-c", script + "\ncat /proc/self/mountinfo"]
    return mount_table(bundle.run().out)


def mount(*args):
    """mount(8), as the host's administrator does it."""
    subprocess.run(["mount", *map(str, args)], check=True)


def fields(text):
    """`Name:\\tvalue` lines (/proc/self/status) -> dict."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def one_line(result):
    """The only line that a failed call may print on stderr."""
    lines = result.err.splitlines()
    assert len(lines) == 1, result
    return lines[0]


def tree(directory):
    """Every name below a directory with its type, mode, owner, size and link text: what an attack would change."""
    found = {}
    for path, directories, files in os.walk(directory):
        for name in (*directories, *files):
            full = os.path.join(path, name)
            st = os.lstat(full)
            found[full] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, os.readlink(full) if os.path.islink(full) else "")
    return found


@contextlib.contextmanager
def mounted(directory, *args):
    """A mount on the host (default: a tmpfs) that is gone, with all below it, when the block ends. Gives its path."""
    directory.mkdir(parents=True, exist_ok=True)
    mount(*(args or ("-t", "tmpfs", "tmpfs")), directory)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--recursive", directory], check=True)


def user_namespace(bundle, first=100000, size=65536):
    """Gives the bundle a user namespace in which id 0 is `first` of the host, who can reach and owns its root."""
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        bundle.set(f"linux.{name}", [{"containerID": 0, "hostID": first, "size": size}])
    subprocess.run(["chown", "-hR", f"{first}:{first}", bundle.rootfs], check=True)
    return open_to_all(bundle)


def open_to_all(bundle):
    """Lets every user pass through the directories that lead to the bundle."""
    for directory in (bundle.directory, *bundle.directory.parents):
        if directory.stat().st_uid == os.getuid() and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o111)
    return bundle
