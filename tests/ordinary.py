"""An ordinary user who calls the runtime: the tests' own, or, where root runs them, one that is made for the session.

    @pytest.fixture
    def run(user, pyrun, tmp_path, token):
        return user.runner(pyrun, tmp_path, token)

    @pytest.fixture
    def bundle(user, run, rootfs):
        return user.bundles(run, rootfs)

With these two in a module, its tests are those of conftest.py, but everything they call is called by the user.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess

import pytest
from harness import Bundle, Runner, default_config, reap, state_files, until
from looks import open_to_all

CGROUP = pathlib.Path("/sys/fs/cgroup")


class User:
    """name, uid, gid, groups (supplementary gids), range (first, size) of subordinate ids; own: the tests run as this user."""

    def __init__(self, name, uid, gid, groups, own):
        self.name, self.uid, self.gid, self.groups, self.own = name, uid, gid, groups, own

    @property
    def range(self):
        """Of /etc/subuid; the tests need the same in /etc/subgid."""
        for line in pathlib.Path("/etc/subuid").read_text().splitlines():
            name, first, size = line.split(":")
            if name in (self.name, str(self.uid)):
                return int(first), int(size)
        pytest.skip(f"no subordinate ids for {self.name} in /etc/subuid")

    def command(self, argv):
        """argv of a program that the user runs."""
        if self.own:
            return list(argv)
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, "--inh-caps=-all", *argv]

    def owns(self, path):
        """Gives the user a file or directory, with all in it. Returns the path."""
        if not self.own:
            subprocess.run(["chown", "-hR", f"{self.uid}:{self.gid}", path], check=True)
        return path

    def runner(self, program, directory, token):
        """A UserRunner with a directory of the user's in `directory` (Path)."""
        home = directory / "user"
        home.mkdir()
        runner = UserRunner(self, program, self.owns(home), token)
        open_to_all(runner)
        return runner

    def bundles(self, run, rootfs):
        """As the fixture `bundle`: what `spec --rootless` writes, for this user."""

        def make(args=("true",), *, terminal=False):
            directory = run.directory / f"bundle-{run.new_id()}"
            directory.mkdir()
            subprocess.run(["cp", "-a", rootfs, directory / "rootfs"], check=True)
            self.owns(directory)
            bundle = open_to_all(Bundle(run, directory, rootless_config(self.uid, self.gid)))
            bundle.config["process"]["terminal"] = terminal
            bundle.config["process"]["args"] = ["sh", "-c", args] if isinstance(args, str) else list(args)
            return bundle

        return make


class UserRunner(Runner):
    """A Runner whose runtime is the user's. around: argv that the runtime's is appended to, run by the user as well."""

    def __init__(self, user, program, directory, token):
        Runner.__init__(self, program, directory, token)
        self.user, self.around, self.before = user, [], []

    def command(self, *args, root=True):
        words = [*self.before, *self.user.command([*self.around, *Runner.command(self, *args, root=root)])]
        return [shutil.which(words[0]), *words[1:]]


def rootless_config(uid, gid):
    """default_config() as `spec --rootless` would have it."""
    from pyrun.commands.spec import without_privileges

    config = default_config()
    without_privileges(config, uid, gid)
    return config


def map_range(bundle, user, size=1000):
    """Gives the bundle the user as root, and beside it so many of the user's subordinate ids, from 1 on. Returns the bundle."""
    first, _ = user.range
    for name, own in (("uidMappings", user.uid), ("gidMappings", user.gid)):
        bundle.set(f"linux.{name}", [{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": size}])
    return bundle


def without_user_namespace(bundle):
    linux = bundle.config["linux"]
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != "user"]
    for name in ("uidMappings", "gidMappings"):
        linux.pop(name, None)
    return bundle


def without(bundle, *kinds):
    """The bundle without namespaces of its own of some kinds."""
    linux = bundle.config["linux"]
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] not in kinds]
    return bundle


@contextlib.contextmanager
def made(name):
    """A user of that name, with subordinate ids, who is gone when the block ends. Root alone may make one."""
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    try:
        entry = pwd.getpwnam(name)
        yield User(name, entry.pw_uid, entry.pw_gid, [], own=False)
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


def myself():
    entry = pwd.getpwuid(os.geteuid())
    return User(entry.pw_name, entry.pw_uid, os.getegid(), [gid for gid in os.getgroups() if gid != os.getegid()], own=True)


@contextlib.contextmanager
def around_namespaces(run, *flags, script=""):
    """Inside, the runtime is called in namespaces that the user makes with unshare(1) and its flags, after a shell script there."""
    argv = run.user.command(["unshare", *flags, "sh", "-c", f"{script} echo ready; exec sleep 1000"])
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"ready\n"
    kinds = [flag for flag in flags if flag in ("--user", "--mount", "--net")]
    run.around = ["nsenter", f"--target={holder.pid}", "--preserve-credentials", *kinds]
    try:
        yield
        delete_all(run)
    finally:
        run.around = []
        holder.kill()
        holder.wait()
        holder.stdout.close()


def delete_all(run):
    for path in state_files(run.root):
        run("delete", "--force", path.name)


@contextlib.contextmanager
def delegated(run, token):
    """Inside, the runtime is called in a cgroup of the user's own: made by root, or the one of the tests' own service."""
    if run.user.own:
        yield
        return
    places = [_delegate(mount / f"{token}-user", run.user) for mount in hierarchies()]
    script = "".join(f"echo 0 >{place}/cgroup.procs; " for place in places)
    run.before = ["sh", "-c", f'{script}exec "$@"', "sh"]
    try:
        yield
    finally:
        delete_all(run)
        run.before = []
        for path in (path for place in places for path in (place, place.parent)):
            until(lambda path=path: removed(path), what=f"rmdir {path}")


def removed(path):
    """Removes a cgroup; False while a process is still on its way out."""
    with contextlib.suppress(OSError):
        path.rmdir()
    reap()
    return not path.exists()


def hierarchies():
    """The mount points of this machine's cgroups."""
    return [CGROUP] if (CGROUP / "cgroup.controllers").exists() else sorted(path for path in CGROUP.iterdir() if path.is_mount())


def _delegate(top, user):
    """Makes a cgroup and gives it to the user, with one below it, since on v2 the top one can hold no process. Returns that."""
    for path in (top, top / "caller"):
        path.mkdir()
        unified = path / "cgroup.controllers"
        if unified.exists():
            (path.parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in unified.read_text().split()))
        elif (path / "cpuset.cpus").exists():
            for name in ("cpuset.cpus", "cpuset.mems"):
                (path / name).write_text((path.parent / name).read_text())
        for one in (path, *path.iterdir()):
            os.chown(one, user.uid, user.gid)
    return top / "caller"
