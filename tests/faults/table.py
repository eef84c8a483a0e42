"""The commands that are struck, each on a container in the state that it needs."""

import shutil
import time

from faults.world import PATIENCE, Made


class Case:
    """One call of a command. words: its arguments. made: the container, before or after. done(): whether its work is.

    failed(): lines of what is wrong where the command has; killed(): where it was. struck_later(): whether init has ended after the
    command did, rightly.
    """

    def __init__(self, words, made, done, failed=list, killed=list, struck_later=lambda: False):
        self.words, self.made, self.done, self.failed, self.killed, self.struck_later = words, made, done, failed, killed, struck_later


def new(world, *command, bundle=None, done, struck_later=lambda made: False):
    """It makes a container, or leaves nothing."""
    made = Made(world, world.new_id(), 0)
    words = (*command, "--bundle", bundle or world.bundle, made.id)
    return Case(words, made, lambda: done(made), world.left, struck_later=lambda: struck_later(made))


def with_status(*wanted):
    return lambda made: made.status() in wanted


def said(word):
    return lambda made: word in made.world.out.read_text()


def gone(made):
    return made.status() == "" and not made.world.left()


def ran(made):
    """The exit code is the program's: what could not be removed after it is a warning."""
    return said("done\n")(made) and (gone(made) or "pyrun: warning: " in made.world.err.read_text())


def create(world):
    return new(world, "create", done=with_status("created"), struck_later=with_status("stopped"))  # while it waits for `start`


def run(world):
    return new(world, "run", bundle=world.short, done=ran)


def run_detached(world):
    return new(world, "run", "--detach", done=with_status("running"))


def on(status, words, done, of="--detach"):
    """A command on a container that has a status. words: its arguments, with None for the id."""

    def case(world):
        made = world.made("create") if status == "created" else world.made("run", "--detach")
        if status == "paused":
            made.call("pause")
        if status == "stopped":
            made.call("kill", "KILL").ends()
        return Case([made.id if word is None else word for word in words], made, lambda: done(made))

    return case


def checkpoint(world):
    made, images = world.counting(), world.directory / "images"
    shutil.rmtree(images, ignore_errors=True)

    def saved():
        return (images / "stats-dump").exists()  # criu's last file

    def untouched():
        """It runs on, when criu has ended: unless it was saved before."""
        end = time.monotonic() + PATIENCE
        while (living := world.living() - {made.pid}) and time.monotonic() < end:
            time.sleep(0.01)
        if living:
            return [f"criu goes on: {living}"]
        status = made.status()
        return [] if (status == "running" and world.counts()) or (saved() and status in ("stopped", "")) else [f"{status}, and does not run on"]

    return Case(("checkpoint", "--image-path", images, made.id), made, lambda: saved() and gone(made), untouched, untouched)


def restore(world):
    images, work = world.saved(), world.directory / "work"
    return new(world, "restore", "--detach", "--image-path", images, "--work-path", work, bundle=world.counter,
               done=lambda made: made.status() == "running" and world.counts())  # fmt: skip


COMMANDS = {
    "create": create,
    "run": run,
    "run --detach": run_detached,
    "start": on("created", ("start", None), with_status("running")),
    "exec": on("running", ("exec", None, "/bin/echo", "done"), said("done\n")),
    "exec --detach": on("running", ("exec", "--detach", None, "/bin/sleep", "1000"), lambda made: made.processes() == 2),
    "kill": on("running", ("kill", None, "KILL"), lambda made: made.ends()),
    "kill --all": on("running", ("kill", "--all", None, "KILL"), lambda made: made.ends()),
    "delete": on("stopped", ("delete", None), gone),
    "delete --force": on("running", ("delete", "--force", None), gone),
    "delete --force of a paused one": on("paused", ("delete", "--force", None), gone),
    "update": on("running", ("update", "--pids-limit", "77", None), lambda made: made.pids_limits() == {"77\n"}),
    "pause": on("running", ("pause", None), with_status("paused")),
    "resume": on("paused", ("resume", None), with_status("running")),
    "state": on("running", ("state", None), said('"running"')),
    "checkpoint": checkpoint,
    "restore": restore,
}
INIT = {"create", "run", "run --detach", "exec", "exec --detach", "start", "checkpoint", "restore"}
"""Those that have to do with an init."""
CRIU = {"checkpoint", "restore"}
"""Those that want criu (checkpoints.criu)."""
