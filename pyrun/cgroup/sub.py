"""The cgroups below a container's that `exec --cgroup` names."""

from __future__ import annotations

import errno

from pyrun.base.errors import Error, words
from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def directories(arguments: Sequence[str], paths: Mapping[str, str]) -> list[str]:
    """The directories to join: those named, and the container's own for controllers that are not. Raises Error.

    arguments: `path`, or on v1 `controller[,controller…]:path`. paths: those of the container's cgroup.
    """
    wanted = {path: path for path in paths.values()}
    for controller, path in _parse(arguments, paths):
        base = paths[controller]
        joined = _join(base, path)
        if joined is None:
            raise Error(f"bad sub cgroup path: {path}")
        wanted[base] = joined
        if not tree.exists(joined):
            raise Error(f"error adding pid to cgroups: open {joined}/cgroup.procs: {words(errno.ENOENT)}")
    return list(wanted.values())


def _parse(arguments: Sequence[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """[(controller, path)] of the values of `exec --cgroup`. known: the controllers there are. Raises Error."""
    found = {}
    for argument in arguments:
        names, colon, path = argument.partition(":")
        if not colon:
            if len(arguments) > 1:
                raise Error(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            return [(name, argument) for name in known]
        for name in names.split(","):
            if not name:
                raise Error(f"invalid --cgroup argument: {argument} (empty <controller> prefix)")
            if name in found:
                raise Error(f"invalid --cgroup argument(s): controller {name} specified multiple times")
            if name not in known:
                raise Error(f"unknown controller {name} in --cgroup {argument}")
            found[name] = path
    return list(found.items())


def _join(base: str, path: str) -> str | None:
    """base/path, None if that is not below base."""
    names = []
    for name in path.split("/"):
        if name == "..":
            if not names:
                return None
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    return "/".join([base, *names])
