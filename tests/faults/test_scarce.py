"""Commands that are called with too few files, too little memory, too few processes, or too little room for the state."""

import os
import pathlib

import pytest
from faults.sweep import judged
from faults.table import COMMANDS
from harness import until
from limits import PURE_V2
from looks import mounted

MAKING = ["create", "run", "run --detach"]
SCARCE = ["create", "run", "start", "exec", "kill", "delete --force", "update", "state"]


def tried(world, name, shell, killed=False):
    """Lines of what is wrong when a shell has set the stage for the command, which it gets as "$@". killed: it may be, by the kernel."""
    case = COMMANDS[name](world)
    whole = world.command
    world.command = lambda *words: ["/bin/sh", "-c", shell + '; exec "$@"', "sh", *whole(*words)]
    try:
        code, _, said = world.call(*case.words, code=None, out=world.out.name, err=world.err.name)
    finally:
        world.command = whole
    dead = killed and (code in (-9, 137) or "signal 9" in said)
    found = ([] if dead else judged(case, "pyrun", code, said)) + world.forgotten(case.made.id) + world.removed(case.made.id) + world.touched()
    return [f"{shell}: {code}: {said}: {found}"] if found else []


def none(wrong):
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", SCARCE)
def test_files(name, world):
    none([line for limit in range(3, 30, 1 if name == "create" else 3) for line in tried(world, name, f"ulimit -n {limit}")])


@pytest.fixture(scope="module")
def least(world):
    """KiB of address space with which the program begins at all."""
    begins = 'ulimit -v {}; exec "$0" state none 2>&1 | grep -q "does not exist\\|out of memory"'
    return next(size for size in range(8000, 100_000, 500) if not os.waitpid(spawn_shell(begins.format(size), world.program), 0)[1])


def spawn_shell(script, *args):
    return os.posix_spawn("/bin/sh", ["sh", "-c", script, *args], os.environ)


@pytest.mark.parametrize("name", SCARCE)
def test_address_space(name, world, least):
    none([line for limit in range(least, least + 6000, 1000) for line in tried(world, name, f"ulimit -v {limit}")])


@pytest.fixture
def cgroup(world):
    """A function: a cgroup of one controller, with a limit; gives the file that one joins it by."""
    made = []

    def make(controller, file, value):
        path = pathlib.Path("/sys/fs/cgroup" if PURE_V2 else f"/sys/fs/cgroup/{controller}") / f"{world.name}-small"
        if not path.exists():
            path.mkdir()
            made.append(path)
        if not (path / file).exists():
            pytest.skip(f"no controller {controller} for cgroups below the root")
        (path / file).write_text(str(value))
        return path / "cgroup.procs"

    yield make
    for path in made:
        until(lambda path=path: world.living() is not None and not (path / "cgroup.procs").read_text())
        path.rmdir()


@pytest.mark.parametrize("name", ["create", "run", "start", "exec", "delete --force"])
def test_processes(name, world, cgroup):
    none([line for limit in range(1, 5) for line in tried(world, name, f"echo $$ >{cgroup('pids', 'pids.max', limit)}")])


@pytest.mark.parametrize("name", ["create", "run", "exec", "delete --force"])
def test_memory(name, world, cgroup):
    """The kernel kills the runtime, or what it has started, at any moment."""
    file = "memory.max" if PURE_V2 else "memory.limit_in_bytes"
    none([line for limit in range(1, 8, 2) for line in tried(world, name, f"echo $$ >{cgroup('memory', file, limit << 19)}", killed=True)])


@pytest.mark.parametrize("name", MAKING)
@pytest.mark.parametrize("options", [*(f"size={size}k" for size in (4, 8, 12, 16, 24, 40)), *(f"nr_inodes={count}" for count in range(2, 8)), "ro"])
def test_state_root(name, options, tmp_path, world):
    """It is small, or cannot be written."""
    whole = world.root
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", options, "tmpfs") as mount:
        world.root = mount / "state"
        try:
            none(tried(world, name, ":"))
        finally:
            world.root = whole


def test_full_state_root(world, tmp_path):
    """It has become full: what lives there can still be ended and removed."""
    whole = world.root
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=256k", "tmpfs") as mount:
        world.root = mount / "state"
        try:
            made = [world.made("run", "--detach"), world.made("create")]
            with (mount / "rest").open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            made[1].call("start")
            for one in made:
                one.call("exec", "true")
                one.call("kill", "KILL")
                one.call("delete", "--force")
            none(world.left())
        finally:
            world.root = whole
