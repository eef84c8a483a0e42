"""The options that commands share, the global ones, and the texts of help: what pyrun/cli/declaration.py makes commands of."""

from __future__ import annotations

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from click.shell_completion import CompletionItem


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell completes a value with: pyrun/commands/complete.py knows it, and hands itself on in the context."""
    return ctx.obj(ctx, param, incomplete)


def flag(*names: str, help: str, default: bool | None = False) -> click.Option:
    """A bool: `--x`, `--x=false`."""
    return click.Option(names, is_flag=True, help=help, default=default)


def text(*names: str, metavar: str, help: str, default: str | None = None) -> click.Option:
    return click.Option(names, metavar=metavar, help=help, default=default, shell_complete=complete)


def texts(*names: str, metavar: str, help: str) -> click.Option:
    """A tuple of str, one for each time that the option is given."""
    return click.Option(names, metavar=metavar, help=f"{help}; may be repeated", multiple=True, default=(), shell_complete=complete)


def number(*names: str, metavar: str, help: str, default: int | None = 0) -> click.Option:
    """An int from 0 on."""
    return click.Option(names, metavar=metavar, help=help, type=click.IntRange(min=0), default=default)


def numbers(*names: str, metavar: str, help: str) -> click.Option:
    return click.Option(
        names, metavar=metavar, help=f"{help}; may be repeated", type=click.IntRange(min=0), multiple=True, default=()
    )


def argument(name: str, **settings: Any) -> click.Argument:
    """A word that is no option; settings: click's."""
    return click.Argument([name], shell_complete=complete, **settings)


HELP = click.Option(["--help", "-h"], is_flag=True, default=False, expose_value=False, help="show this help")

# --- the options -----------------------------------------------------------------------------------------------------

BUNDLE = text("--bundle", "-b", metavar="DIR", help="the bundle's directory (default: the working directory)")
PID_FILE = text("--pid-file", metavar="FILE", help="write the process's pid to FILE")
CONSOLE_SOCKET = text("--console-socket", metavar="PATH", help="Unix socket that gets the terminal's master end")
PIDFD_SOCKET = text("--pidfd-socket", metavar="PATH", help="Unix socket that gets a pidfd of the process")
NO_PIVOT = flag("--no-pivot", help="move the root mount instead of pivot_root (for a rootfs on a ramdisk)")
NO_NEW_KEYRING = flag("--no-new-keyring", help="keep the caller's session keyring")
PRESERVE_FDS = number("--preserve-fds", metavar="N", help="pass N open files to the program, from fd 3 on (after those of $LISTEN_FDS)")
NO_SUBREAPER = flag("--no-subreaper", help="do not adopt orphaned processes of the container")
DETACH = flag("--detach", "-d", help="return as soon as the process runs")
ID = argument("id")
# Two ways to say one thing.
THIS_BUNDLE = text("--bundle", "-b", metavar="DIR", default=".", help="the bundle's directory (default: the working directory)")
BUNDLE_ARGUMENT = argument("bundle", default=".")

# What checkpoint and restore have in common.
IMAGE_PATH = text("--image-path", metavar="DIR", help="the directory of the saved state (default: checkpoint)")
WORK_PATH = text("--work-path", metavar="DIR", help="where criu works and writes its log (default: that of the saved state)")
CRIU_OPTIONS = [
    flag("--tcp-established", help="save and restore open TCP connections"),
    flag("--ext-unix-sk", help="save and restore Unix sockets whose other end is outside of the container"),
    flag("--shell-job", help="save and restore a program whose terminal is the caller's"),
    flag("--file-locks", help="save and restore file locks; nobody outside of the container may hold them"),
    flag("--lazy-pages", help="send memory pages later, when they are needed (userfaultfd)"),
    flag("--auto-dedup", help="remove pages from parent images that newer pages replace"),
    text("--manage-cgroups-mode", metavar="MODE", help="how criu treats cgroups: soft, full, strict or ignore (default: soft)"),
    texts("--empty-ns", metavar="NAMESPACE", help="restore this namespace empty; only network is known, which always is"),
]

ABOUT = """\
Runs a container from a bundle: a directory with a root file system and a config.json that describes the container.

   pyrun spec                  writes a config.json to begin with
   pyrun run mybundle          runs the bundle in the directory mybundle, as the container mybundle
   pyrun run -b DIR ID         runs the bundle in DIR as the container ID

Help on a command: pyrun COMMAND --help"""

BUNDLE_TEXT = """\
CONTAINER-ID is a name of your choice, one that no other container under the same --root has.
Where --bundle is not given and the argument is a path, or the name of a directory with a config.json, that directory is
the bundle, and its base name the container's id."""

TRACE_TEXT = """\
Of a bundle, a container is made and run to its end; its exit code is this command's. It dies with this command. A container
that runs already is followed until it ends or until ^C, and runs on; a path, like ./web, is a bundle always. The report has
system calls, the files that they name, refusals (EPERM and EACCES) and signals. It goes to stderr for a bundle, to stdout for
a container that ran already.

A capability counts as asked for where a call was made that ordinarily needs it (mount: CAP_SYS_ADMIN), or where one that may
need it was refused; as refused where that call got EPERM or EACCES. The kernel does not tell which capability it looked for, so
what a file's owner, a security module or the state of things refused counts too.

A profile allows the calls that were seen, those of pyrun itself before the program too, and what any signal may bring about
(restart_syscall, rt_sigreturn). What another run calls is refused: trace several with --merge. The bundle's own profile holds
meanwhile: of a call that it refuses with an errno the report says so, and such a call counts as seen. A call for which it kills
ends the program. FILE of --check and --merge is a profile as linux.seccomp has it, or a config.json.

A bundle's calls stop once each, and twice where the result matters; those of a container that ran already stop twice. What itself
traces (gdb, strace) does not work meanwhile."""

VALIDATE_TEXT = """\
Three things are looked at: the form of the file (schema), what it means (semantics), and whether this host and this caller can do
it (host): the kernel, cgroups, ids, security modules, files and the program. Nothing is made. Each finding has its path and line,
what stands there and what is allowed, and a cure.

The exit code is 0 if all is right, warnings aside; 1 if the file is not valid, or cannot be read; 2 if it is valid, but will not run
on this host. --format json is an array of objects with level, severity, path, line, found, allowed, message and cure; what there is
none of is null. Values of environment variables are not shown."""

UNPACK_TEXT = """\
IMAGE is an OCI image layout, a directory or a tar file, or what `docker save` or `podman save` wrote. Its layers may be packed with
gzip or Zstandard; their digests are checked. BUNDLE is a directory that is new or empty; `pyrun run BUNDLE` then runs it. When
something fails nothing of it stays.

config.json has the image's program, environment, user, working directory and labels, and docker's capabilities, seccomp profile
and hidden paths. WORDS are taken apart as a shell does. The network is that of no other container, with a loopback device alone; for an
ordinary user it is the host's. A volume of the image is a directory in BUNDLE/volumes, with what the image has there. Labels are
annotations, but for those that this runtime goes by.

For an ordinary user root in the container is that user. Other owners are ids of /etc/subuid and /etc/subgid where newuidmap and
newgidmap are installed; without them all files belong to the user. Devices are left out. A warning says what was.

The layers may unpack to nine tenths of what the file system has free."""

COMPLETION = """\
bash, zsh and fish complete commands, options, the ids of containers, and signals. Where `make install` or a package has installed
pyrun they do so already; bash then needs the package bash-completion. Else a line in a file of the shell turns it on:

   eval "$(_PYRUN_COMPLETE=bash_source pyrun)"      in ~/.bashrc
   eval "$(_PYRUN_COMPLETE=zsh_source pyrun)"       in ~/.zshrc, after compinit
   _PYRUN_COMPLETE=fish_source pyrun | source       in ~/.config/fish/config.fish"""

GLOBALS = [
    flag("--debug", help="log debug messages too"),
    text("--log", metavar="FILE", help="append messages to FILE (default: stderr)"),
    text("--log-format", metavar="FORMAT", help="how the log is written: text or json (default: text)"),
    text("--root", metavar="DIR", help="the directory of the containers' state, best on a tmpfs (default: /run/pyrun or $XDG_RUNTIME_DIR/pyrun)"),
    text("--timeline", metavar="FILE", help="write when each step of create and run began and ended, as Chrome trace events"),
    flag("--systemd-cgroup", help="let systemd make the cgroups; linux.cgroupsPath is then SLICE:PREFIX:NAME"),
    text("--rootless", metavar="WHEN", help="continue where the cgroups may not be written: true, false or auto (default: auto)"),
    # Callers that know older runtimes still give it.
    click.Option(["--criu"], metavar="PATH", help="the criu to use", hidden=True),
]
VERSION = flag("--version", "-v", help="show the version")
