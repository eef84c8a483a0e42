"""What is executed, where, with which environment and which files (config.md#process)."""

import os
import stat

import pytest
from looks import one_line

# --- the working directory


def test_cwd(bundle):
    b = bundle(["pwd"]).set("process.cwd", "/usr/bin")
    assert b.run().out == "/usr/bin\n"


@pytest.mark.parametrize(
    "owner, mode, uid",
    [(1000, 0o700, 1000), (0, 0o700, 0), (0, 0o700, 1000), (1000, 0o700, 0)],
)
def test_a_cwd_that_only_one_of_both_can_enter(bundle, owner, mode, uid):
    """Root without CAP_DAC_OVERRIDE, or the user: one of them is enough."""
    b = bundle(["echo", "fine"]).set("process.cwd", "/private").set("process.user", {"uid": uid, "gid": uid})
    (b.rootfs / "private").mkdir()
    os.chown(b.rootfs / "private", owner, owner)
    (b.rootfs / "private").chmod(mode)
    assert b.run().out == "fine\n"


def test_a_cwd_on_a_mount(bundle, tmp_path):
    b = bundle(["pwd"]).set("process.cwd", "/m/sub").mount("/m", source=str(tmp_path), options=["bind"])
    (tmp_path / "sub").mkdir()
    assert b.run().out == "/m/sub\n"


# --- the program


def script(bundle, path, text="#!/bin/sh\necho ran $0 $*\n", mode=0o755):
    file = bundle.rootfs / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return bundle


@pytest.mark.parametrize(
    "args, cwd, out",
    [
        (["/opt/x/prog", "a"], "/", "ran /opt/x/prog a"),
        (["./prog", "a"], "/opt/x", "ran ./prog a"),
        (["x/prog"], "/opt", "ran x/prog"),
        (["prog", "a", "b"], "/", "ran /opt/x/prog a b"),
    ],
)
def test_where_the_program_is_found(bundle, args, cwd, out):
    b = script(bundle(args), "opt/x/prog").set("process.cwd", cwd)
    b.set("process.env", ["PATH=/no/such:/bin/sh/below:/opt/x:/bin"])
    assert b.run().out.strip() == out


def test_the_first_that_may_be_executed(bundle):
    b = script(script(bundle(["prog"]), "opt/one/prog", mode=0o644), "opt/two/prog", "#!/bin/sh\necho two\n")
    (b.rootfs / "opt/zero/prog").mkdir(parents=True)
    assert b.set("process.env", ["PATH=/opt/zero:/opt/one:/opt/two"]).run().out == "two\n"


def test_without_path_the_usual_directories(bundle):
    assert bundle(["echo", "fine"]).set("process.env", []).run().out == "fine\n"


@pytest.mark.parametrize(
    "args, words",
    [
        (["no-such-program"], 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such"], "no such file or directory"),
        (["bin/none"], "no such file or directory"),
        (["/etc/passwd"], "permission denied"),
        (["/etc"], "permission denied"),
        (["/etc/passwd/x"], "no such file or directory"),
        (["denied"], "permission denied"),
        (["/run.sh"], "exec /run.sh: no such file or directory"),
        (["/run.txt"], "exec format error"),
        ([""], "executable file not found in $PATH"),
    ],
)
@pytest.mark.parametrize("command", ["run", "create"])
def test_what_cannot_be_executed(bundle, args, words, command):
    """One line with the words by which engines tell 126 from 127."""
    b = script(script(bundle(args), "run.sh", "#!/mmnnttbb\n"), "run.txt", "text\n")
    script(b, "bin/denied", mode=0o644)
    if args == [""]:
        b.set("process.args", [" "])
    if command == "create" and args[0].startswith("/run."):
        container = b.create()
        line = one_line(container.start(code=1))
    else:
        line = one_line(b.call(command, code=1))
    if "exec format" in words or words.startswith("exec /"):
        # The kernel's word comes when all is done: there is nothing to add, but why.
        assert line.partition(" (")[0] == f"exec {args[0]}: {words.removeprefix(f'exec {args[0]}: ')}"
    else:
        assert "process.args[0]" in line and words in line


def test_a_program_that_only_its_user_or_a_capability_can_execute(bundle):
    b = script(bundle(["/bin/mine"]), "bin/mine", mode=0o700).set("process.user", {"uid": 1000, "gid": 1000})
    assert "exec /bin/mine: permission denied" in one_line(b.call("run", code=1))
    b.config["process"]["capabilities"] = {
        name: ["CAP_DAC_OVERRIDE"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    assert b.run().out.startswith("ran")


def test_args_arrive_as_they_are(bundle):
    args = ["one two", "", "new\nline", "*", "'", '"', "$HOME", "ünïcödé", "-n", "\\n"]
    b = bundle(["sh", "-c", 'for a in "$@"; do printf "%s|" "$a"; done', "name", *args])
    assert b.run().out == "".join(f"{one}|" for one in args)


def test_a_thousand_long_args(bundle):
    args = [f"{number}-" + "x" * 500 for number in range(1000)]
    b = bundle(["sh", "-c", 'echo $#; for last; do :; done; echo "$last"', "name", *args])
    assert b.run().out == f"1000\n{args[-1]}\n"


def test_argv0_is_kept(bundle):
    b = bundle(["arg-zero"])
    (b.rootfs / "bin/arg-zero").symlink_to("cat")  # busybox looks at argv[0]
    assert "applet not found" in b.run(code=127).err


def test_more_arguments_than_the_kernel_takes(bundle):
    line = one_line(bundle(["true", "x" * 200_000]).call("run", code=1))
    assert "argument list too long" in line and line.count("x") < 500


# --- the environment


def test_environment(bundle):
    b = bundle(["env"]).set("process.env", ["A=1", "B=x=y", "PATH=/bin", "A=2", "EMPTY=", "C=ü", "A=3", "HOME=/h"])
    assert b.run().out.splitlines() == ["B=x=y", "PATH=/bin", "EMPTY=", "C=ü", "A=3", "HOME=/h"]


def test_a_newline_in_the_environment(bundle):
    b = bundle('printf %s "$NL"').set("process.env", ["NL=one\ntwo\n\nthree\n", "PATH=/bin"])
    assert b.run().out == "one\ntwo\n\nthree\n"


PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nlast:x:77:77::/last:/bin/sh"


@pytest.mark.parametrize(
    "uid, env, passwd, home",
    [
        (0, [], PASSWD, "/root"),
        (1000, [], PASSWD, "/home/user"),
        (77, [], PASSWD, "/last"),
        (4242, [], PASSWD, "/"),
        (1000, ["HOME="], PASSWD, "/home/user"),
        (1000, ["HOME=/given"], PASSWD, "/given"),
        (1000, ["HOME=/given", "HOME="], PASSWD, "/home/user"),
        (1000, [], None, "/"),
        (1000, [], "", "/"),
        (1000, [], "user:x:1000\n\n:::\nuser:x:abc:1:x:/bad:\nuser:x:1000:1:x::\n", "/"),
        (1000, [], "#c\nx:x:01000:0::/odd:\n" + "y:x:1:1:" + "z" * 200_000 + ":/y:/b\nuser:x:1000:1::/found:/b\n", "/odd"),
        (5, [], "".join(f"u{n}:x:{n}:{n}::/h{n}:/b\n" for n in range(200_000, 99_999, -1)) + "u:x:5:5::/far:/b\n", "/far"),
    ],
    ids=lambda value: "long" if isinstance(value, str) and len(value) > 100 else None,
)
def test_home(bundle, uid, env, passwd, home):
    b = bundle("echo $HOME").set("process.env", ["PATH=/bin", *env]).set("process.user", {"uid": uid, "gid": 0})
    (b.rootfs / "etc/passwd").unlink()
    if passwd is not None:
        (b.rootfs / "etc/passwd").write_text(passwd)
    assert b.run().out.strip() == home


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "link to the host", "loop"])
def test_an_odd_passwd_is_none(bundle, kind, tmp_path):
    b = bundle("echo $HOME").set("process.env", ["PATH=/bin"])
    passwd = b.rootfs / "etc/passwd"
    passwd.unlink()
    (tmp_path / "passwd").write_text("root:x:0:0::/of-the-host:/b\n")
    make = {
        "fifo": lambda: os.mkfifo(passwd),
        "directory": passwd.mkdir,
        "device": lambda: os.mknod(passwd, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "link to the host": lambda: passwd.symlink_to(f"../../../../../../../../{tmp_path}/passwd"),
        "loop": lambda: passwd.symlink_to("passwd"),
    }
    make[kind]()
    assert b.run().out == "/\n"


def test_a_huge_group_file_does_not_matter(bundle):
    b = bundle(["id", "-G"]).set("process.user", {"uid": 1000, "gid": 1000, "additionalGids": [7]})
    (b.rootfs / "etc/group").write_text("big:x:9:" + ",".join(f"user{number}" for number in range(100_000)) + "\n")
    assert set(b.run().out.split()) == {"1000", "7"}


# --- its files


def test_pipes_become_the_users_and_nothing_else(bundle, tmp_path):
    (tmp_path / "file").touch()
    before = os.stat("/dev/null")
    b = bundle("echo out; echo err >&2").set("process.user", {"uid": 1000, "gid": 1000})
    reader, writer = os.pipe()
    assert b.run(stdin="").code == 0  # stdin is a pipe, stdout and stderr are files, read in other tests from /dev/null
    container = b.set("process.args", ["sh", "-c", "exec sleep 100"]).create(pass_fds=[writer])
    assert os.fstat(writer).st_uid == 0
    assert os.stat(container.created.out_path).st_uid == 0
    os.close(reader)
    os.close(writer)
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)
    owners = bundle("stat -L -c %u /proc/self/fd/0 /proc/self/fd/1").set("process.user", {"uid": 1000, "gid": 1000}).run(stdin="").out
    assert owners.split() == ["1000", "0"]


def test_the_callers_files_do_not_leak(bundle, tmp_path):
    """What a caller leaves open reaches neither the program nor the init that waits for `start`."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        b = bundle("ls /proc/self/fd")
        assert b.run(pass_fds=[descriptor]).out.split() == ["0", "1", "2", "3"]  # 3 is what ls reads
        container = b.create(pass_fds=[descriptor])
        files = {os.readlink(f"/proc/{container.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{container.pid}/fd")}
        assert str(tmp_path) not in files
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_stdio(bundle, closed):
    """The program finds /dev/null there, not some other file."""

    def close():
        for descriptor in closed:
            os.close(descriptor)

    b = bundle("for n in 0 1 2; do readlink /proc/self/fd/$n; done >/links; ls /proc/self/fd >/list")
    b.run(preexec_fn=close)
    links = (b.rootfs / "links").read_text().split()
    for descriptor in closed:
        if descriptor != 1:  # 1 is the redirection
            assert links[descriptor] == "/dev/null"
    assert (b.rootfs / "list").read_text().split() == ["0", "1", "2", "3"]
