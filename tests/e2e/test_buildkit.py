"""Dockerfiles built by BuildKit's daemon: each RUN step is a container of the runtime."""

import os
import subprocess
import sys
import uuid

import pytest
from e2e.sandbox import says, soon

# {unique}: the steps of no two builds are the same, as BuildKit keeps what it has made.
DOCKERFILE = """
FROM busybox AS built
ENV UNIQUE={unique}
WORKDIR /out
RUN chmod 777 .
{lines}
FROM scratch
COPY --from=built /out /
"""


@pytest.fixture
def step(buildkit):
    """`step("RUN id >/out/id")`: builds these lines on busybox; the files that they left in /out, {name: text}, or what was said of a failure.

    files: of the build context, {name: text}.
    """

    def build(lines, *options, files=(), code=0):
        unique = uuid.uuid4().hex
        context = buildkit.directory / unique
        context.mkdir()
        for name, text in {**dict(files), "Dockerfile": DOCKERFILE.format(unique=unique, lines=lines)}.items():
            (context / name).write_text(text)
        done = buildkit.build(context, f"--output=type=local,dest={context}/made", *options, code=code)
        return done.err if code else {path.name: path.read_text().rstrip("\n") for path in (context / "made").iterdir()}

    return build


# --- what a step finds

STEP = """
ARG A=b
ENV W="x y"
WORKDIR /srv/made
RUN echo "$A $W $(pwd) $(id -u) $$" >/out/a
SHELL ["/bin/sh", "-uec"]
RUN echo $0 ${-#*u} >/out/shell
RUN <<EOF
echo one >/out/here
echo two >>/out/here
EOF
RUN ["touch", "/out/without a shell"]
"""


def test_a_step(step):
    assert step(STEP) == {"a": "b x y /srv/made 0 1", "shell": "/bin/sh ce", "here": "one\ntwo", "without a shell": ""}


USERS = """
RUN echo web:x:33:34::/srv:/bin/sh >>/etc/passwd; echo log:x:40:web >>/etc/group
USER web
RUN id >/out/name; echo $HOME >>/out/name
USER 5:6
RUN id >/out/number
"""


def test_users(step):
    assert step(USERS) == {"name": "uid=33(web) gid=34 groups=34,40(log)\n/srv", "number": "uid=5 gid=6 groups=6"}


def test_networks(step, sandbox):
    """A bridge by CNI, none, the host's."""
    show = "readlink /proc/self/ns/net; ls /sys/class/net"
    lines = "".join(f"RUN --network={kind} ({show}) >/out/{kind}\n" for kind in ("default", "none", "host"))
    found = {name: text.split() for name, text in step(lines, "--allow=network.host").items()}
    ours = sandbox.links("self")["net"]
    assert found["default"][0] != ours and found["default"][1:] == ["eth0", "lo"]
    assert found["none"][0] != ours and found["none"][1:] == ["lo"]
    assert found["host"][0] == ours and "buildkit0" in found["host"]


def test_rights(step):
    found = step("RUN cat /proc/self/status >/out/status; ! mount -t tmpfs t /mnt; ! echo 1 >/proc/sys/kernel/panic; cat /proc/keys >/out/keys")
    says(found["status"], r"CapEff:\s00000000a80425fb", r"Seccomp:\s2")
    assert found["keys"] == ""


INSECURE = """
RUN --security=insecure cat /proc/self/status >/out/status; test -e /dev/fuse; mkdir /t; mount -t tmpfs t /t; grep ' /t ' /proc/mounts >/out/mounts
"""


def test_security_insecure(step):
    found = step(INSECURE, "--allow=security.insecure")
    says(found["status"], r"CapEff:\s000001[0-9a-f]{10}", r"Seccomp:\s0")
    says(found["mounts"], "^t /t tmpfs rw")


LIMITS = """
RUN ulimit -n >/out/limits; ulimit -Hn >>/out/limits; hostname >>/out/limits
RUN grep /dev/shm /proc/mounts >/out/shm; cat /etc/hosts >/out/hosts
"""


def test_limits_and_names(step):
    options = {"ulimit": "nofile=100:200", "shm-size": 1 << 25, "add-hosts": "other=10.9.8.7", "hostname": "box"}
    found = step(LIMITS, *(f"--opt={name}={value}" for name, value in options.items()))
    assert found["limits"].split() == ["100", "200", "box"]
    says(found["shm"], "size=32768k")
    says(found["hosts"], r"^10\.9\.8\.7\sother$")


# --- mounts

SECRET = """
RUN --mount=type=secret,id=s,mode=0440,uid=33,gid=34 stat -c '%a %u %g' /run/secrets/s >/out/file; cat /run/secrets/s >>/out/file
RUN --mount=type=secret,id=s,env=WORD echo $WORD >/out/env
RUN --mount=type=secret,id=s,target=/etc/s,required cat /etc/s >/out/target
RUN ! test -s /run/secrets/s && ! test -s /etc/s
"""


def test_a_secret(step, sandbox):
    (sandbox.directory / "secret").write_text("hidden")
    found = step(SECRET, f"--secret=id=s,src={sandbox.directory}/secret")
    assert found == {"file": "440 33 34\nhidden", "env": "hidden", "target": "hidden"}


def test_a_cache_stays(step, name):
    """From one build to the next; it is not in the image."""
    mount = f"type=cache,id={name},target=/cache,uid=33,mode=0750,sharing=locked"
    lines = f"RUN --mount={mount} stat -c '%a %u' /cache >/out/mode; echo line >>/cache/f; cat /cache/f >/out/f\nRUN ! test -e /cache"
    assert step(lines) == {"mode": "750 33", "f": "line"}
    assert step(lines) == {"mode": "750 33", "f": "line\nline"}


MOUNTS = """
RUN --mount=type=tmpfs,target=/t,size=1048576 grep ' /t ' /proc/mounts >/out/tmpfs
RUN --mount=type=bind,target=/context cat /context/file >/out/context; ! touch /context/new
RUN --mount=type=bind,source=file,target=/one,rw echo more >>/one; cat /one >/out/one
RUN --mount=type=bind,from=busybox,source=/www,target=/elsewhere cat /elsewhere/index.html >/out/image
RUN --mount=type=bind,target=/context cat /context/file >/out/unchanged
"""


def test_tmpfs_and_bind(step):
    found = step(MOUNTS, files={"file": "text\n"})
    says(found.pop("tmpfs"), "^tmpfs /t tmpfs rw,.*size=1024k")
    assert found == {"context": "text", "one": "text\nmore", "unchanged": "text", "image": "<h1>it works</h1>"}


def test_an_agent(step, sandbox):
    """The socket of ssh's agent."""
    listen = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); s.accept()"
    sandbox.background(sys.executable, "-c", listen, f"{sandbox.directory}/agent", log="agent.log")
    soon(lambda: sandbox.run("test", "-S", f"{sandbox.directory}/agent"))
    lines = "RUN --mount=type=ssh,mode=0666,uid=33 stat -c '%F %u' $SSH_AUTH_SOCK >/out/agent"
    assert step(lines, f"--ssh=default={sandbox.directory}/agent,raw=true") == {"agent": "socket 33"}


# --- ends


@pytest.mark.parametrize(
    "words, message",
    [
        ("exit 9", "exit code: 9"),
        ("nosuch", "exit code: 127"),
        ('["/bin/sh", "-c", "exit 3"]', "exit code: 3"),
        ('["nosuch"]', 'exec: "nosuch": executable file not found in $PATH'),
        ('["/etc/passwd"]', "permission denied"),
    ],
)
def test_a_step_that_fails(step, words, message):
    assert message in step(f"RUN {words}", code=1)


def test_what_a_step_prints(step):
    said = step("RUN echo to stdout; echo to stderr >&2; cat; exit 1", code=1)
    says(said, r" to stdout$", r" to stderr$")


def test_many_steps_at_once(step):
    stages = "".join(f"FROM busybox AS s{i}\nENV OF=$UNIQUE\nRUN sleep 0.2; echo {i} >/made\n" for i in range(10))
    lines = "".join(f"COPY --from=s{i} /made /out/{i}\n" for i in range(10))
    assert step(f"{stages}FROM busybox AS all\n{lines}FROM all AS built") == {str(i): str(i) for i in range(10)}


def test_a_build_that_is_cancelled(buildkit, sandbox, runtime, name):
    """It leaves nothing: no process, container, mount, nor a cgroup."""
    mark, here = f"10{os.getpid()}", buildkit.directory
    groups = f"find /sys/fs/cgroup/{{.,*}}/{sandbox.cgroup}/buildkit -mindepth 1 -type d"
    look = f"pgrep -fx 'sleep {mark}'; {runtime} list | grep {here}; grep '^overlay {here}' /proc/mounts; {groups}"
    context = here / name
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN echo begun; trap '' TERM INT; sleep {mark}\n")
    with subprocess.Popen(sandbox.command(*buildkit.build_command(context)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as build:
        begun = any(line.endswith(" begun\n") for line in build.stderr)
        during = sandbox.run("bash", "-c", look, code=None).out
        sandbox.run("pkill", "-INT", "-x", "buildctl", code=None)
        build.stderr.read()
    assert begun
    says(during, r"^[0-9]+$", " running ", "^overlay ", "^/sys/fs/cgroup/")
    soon(lambda: sandbox.run("bash", "-c", look, code=None).out == "")
