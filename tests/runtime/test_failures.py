"""Whatever op of a plan fails: the message names the place in the config it comes from, and nothing is left behind."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from harness import PROJECT, until
from looks import open_to_all

INJECT = pathlib.Path(__file__).with_name("inject.py")
HOOK = [{"path": "/bin/true"}]


class Injector:
    """Runs commands with one failing op of the plan: `inject(op, "create", …)` -> the answer of inject.py, with `.err`."""

    def __init__(self, process, run):
        self.process, self.run = process, run

    def __call__(self, op, *args):
        out, err = (self.run.directory / f"injected.{name}" for name in ("out", "err"))
        request = {"args": self.run.command(*args)[1:], "op": op, "out": str(out), "err": str(err), "cwd": str(self.run.directory)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline()) | {"err": err.read_text()}


@pytest.fixture
def inject(run):
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(INJECT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield Injector(process, run)
        process.stdin.close()


@pytest.fixture
def rich(bundle, tmp_path):
    """A bundle whose plan has nearly every op."""
    (tmp_path / "volume").mkdir()
    rich = bundle("sleep 100")
    for path, value in {
        "domainname": "domain",
        "root.readonly": True,
        "process.noNewPrivileges": False,
        "process.user": {"uid": 0, "gid": 0, "additionalGids": [5], "umask": 0o77},
        "process.oomScoreAdj": 100,
        "process.scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "hooks": {"createRuntime": HOOK, "createContainer": HOOK, "poststart": HOOK, "poststop": HOOK},
        "linux.personality": {"domain": "LINUX"},
        "linux.rootfsPropagation": "private",
        "linux.sysctl": {"net.ipv4.ip_forward": "1"},
        "linux.timeOffsets": {"monotonic": {"secs": 5}},
        "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        "linux.resources.pids": {"limit": 10},
        "linux.devices": [{"path": "/dev/pipe", "type": "p"}],
    }.items():
        rich.set(path, value)
    rich.config["linux"]["namespaces"] += [{"type": "cgroup"}, {"type": "time"}]
    rich.mount("/volume", source=str(tmp_path / "volume"), options=["rbind", "ro", "private"])
    rich.mount("/volume", options=["remount", "nosuid"])
    return rich.write()


@pytest.fixture
def users(bundle, tmp_path):
    """A bundle with a user namespace."""
    (tmp_path / "file").touch()
    users = bundle("sleep 100").set("linux.uidMappings", IDS).set("linux.gidMappings", IDS)
    users.config["linux"]["namespaces"].append({"type": "user"})
    users.mount("/file", source=str(tmp_path / "file"), options=["bind"])
    # The container's root is nobody to the host, and pytest's directories are private.
    open_to_all(users)
    subprocess.run(["chown", "-R", "100000:100000", users.rootfs], check=True)
    return users.write()


IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def faults(answer, code, begin):
    """What is wrong with the answer to a failing op: lines."""
    found = []
    wanted = answer["where"] or answer["op"]
    if answer["op"] == "exec":  # all else is done: the line is that of a shell
        wanted = begin = "exec "
    if answer["code"] != code:
        found.append(f"exit code {answer['code']}, not {code}")
    if answer["err"].count("\n") != 1 or not answer["err"].startswith(begin):
        found.append(f"not one line that begins with {begin!r}")
    if wanted not in answer["err"]:
        found.append(f"{wanted} is not named")
    return found


def fail_each(inject, leftovers, args, code, begin, pid_file, after=lambda answer: []):
    """Calls the command once for each op of its plan, each time another one fails."""
    report, op, answer = [], 0, {"ops": 1}
    while op < answer["ops"]:
        answer = inject(op, *args)
        found = after(answer) if answer["code"] == 0 else faults(answer, code, begin)
        found += leftovers()
        found += ["pid file"] if pid_file.exists() else []
        if found:
            report.append(f"op {op} {answer['op']} # {answer['where']}: {'; '.join(found)}\n    {answer['err']}")
        op += 1
    assert not report, "\n".join(report)


@pytest.mark.parametrize("kind", ["rich", "users"])
def test_every_op_of_create(kind, request, inject, run, leftovers, tmp_path):
    """Those after the wait fail at `start`, which says why; the container is then a stopped one."""
    bundle, name, pid_file = request.getfixturevalue(kind), run.new_id(), tmp_path / "pid"

    def status(name):
        return json.loads(run("state", name).out)["status"]

    def start(answer):
        if answer["op"] == "wait_start":  # `start` comes too late: nobody waits for it
            until(lambda: status(name) == "stopped")
            found = []
        else:
            started = run("start", name, code=1)
            answer |= {"code": started.code, "err": started.err}
            found = faults(answer, 1, "pyrun: unable to start container process: ")
        assert status(name) == "stopped"
        run("delete", name)
        pid_file.unlink()
        return found

    args = ("create", "--bundle", bundle.directory, "--pid-file", pid_file, name)
    fail_each(inject, leftovers, args, 1, "pyrun create failed: ", pid_file, start)


def test_every_op_of_run(inject, rich, run, leftovers, tmp_path):
    args = ("run", "--bundle", rich.directory, "--pid-file", tmp_path / "pid", run.new_id())
    fail_each(inject, leftovers, args, 1, "pyrun run failed: ", tmp_path / "pid")


def test_every_op_of_exec(inject, rich, run, tmp_path):
    container = rich.detached()
    pid_file = tmp_path / "exec.pid"
    args = ("exec", "--pid-file", pid_file, container.id, "true")
    fail_each(inject, lambda: processes_beside(container.pid), args, 255, "pyrun: exec failed: ", pid_file)
    assert container.status() == "running"


def processes_beside(pid):
    """Processes in the cgroup of a process, but for that one."""
    path = next(line.split(":")[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if ":pids:" in line or line[:3] == "0::")
    for point in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        file = pathlib.Path(f"{point}{path}/cgroup.procs")
        if file.exists():
            return [f"process {other}" for other in file.read_text().split() if int(other) != pid]
    return []
