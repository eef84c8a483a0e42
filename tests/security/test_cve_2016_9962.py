"""A process of the container looks into a runtime process that has entered the container, before it is the program."""

import os
import threading

from looks import user_namespace

WATCH = """
while :; do
    for p in /proc/[0-9]*; do
        read name <$p/comm || continue
        [ "$name" = pyrun:init ] || continue
        echo seen
        found=$(readlink $p/fd/* && echo fds; readlink $p/exe && echo exe; grep -q . $p/maps && echo maps; ls $p/cwd/ >/dev/null && echo cwd)
        # Only if it has not become the program meanwhile.
        read name <$p/comm && [ "$name" = pyrun:init ] && echo $found
    done
done 2>/dev/null
"""


def test_exec_into_a_hostile_container(bundle):
    container = bundle(WATCH).detached()

    def execs():
        for _ in range(10):
            container.exec("true")

    threads = [threading.Thread(target=execs) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(container.out.split()) <= {"seen"}


def test_init_that_waits_for_start(bundle):
    """An exec in a container that was created only: it may look at pid 1 as long as it likes."""
    container = bundle("true").create()
    for path in ("fd/", "exe", "cwd/", "root/", "maps", "environ", "mem"):
        result = container.exec("sh", "-c", f"ls -L /proc/1/{path} && cat /proc/1/{path}", code=None)
        assert result.code != 0, path
        assert "denied" in result.err, path
    # Nor has it anything open but what the program gets, and the socket on which it waits.
    files = [os.readlink(f"/proc/{container.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{container.pid}/fd")]
    assert all(name.startswith(("socket:", "/dev/null", str(container.runner.directory))) for name in files), files


def test_a_user_namespace_does_not_help(bundle):
    """Its root has every capability over its own processes; init is not one of them until the program runs."""
    b = user_namespace(bundle("true"))
    words = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]
    b.set("process.capabilities", {name: words for name in ("bounding", "effective", "permitted")})
    container = b.create()
    result = container.exec("sh", "-c", "ls /proc/1/fd/; readlink /proc/1/exe; cat /proc/1/environ", code=None)
    assert result.out == "" and result.code != 0
