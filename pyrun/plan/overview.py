"""A plan at a glance: what container/outline.py tells, by subject, in the words of describe.py. For `plan`."""

from __future__ import annotations

import errno

from pyrun.plan import describe
from pyrun.plan.process import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WIDTH = 100
# Group -> the steps that belong to it. What is in none orders the others alone: --format steps shows it.
GROUPS = {
    "state": ("state",),
    "namespaces": ("clone", "unshare", "setns", "uid_map", "gid_map", "setid", "timens", "net_device", "lo_up", "hostname", "domainname", "keyring"),
    "cgroup": ("systemd_unit", "cgroup", "cgroup_write", "device_rules", "rdt"),
    "mounts": ("propagation", "root", "mount", "bind", "symlink", "setattr", "readonly", "mask", "pivot", "chroot", "mkdir"),
    "devices": ("device", "console"),
    "sysctls": ("sysctl",),
    "hooks": ("hook",),
    "identity": ("ids", "caps", "bounding", "no_new_privs", "rlimit", "oom_score_adj", "umask", "proc_write", "fix_stdio"),
    "seccomp": ("seccomp", "seccomp_listener"),
    "program": ("affinity", "scheduler", "ioprio", "mempolicy", "personality", "chdir", "home", "exec"),
}


def overview(steps: Sequence[dict]) -> dict[str, list[str]]:
    """Group -> its lines; groups without one are left out."""
    found = {}
    for name, ops in GROUPS.items():
        lines = list(WRITERS.get(name, _plain)([step for step in steps if step["op"] in ops]))
        if lines:
            found[name] = lines
    return found


def _plain(steps: Iterable[dict]) -> Iterator[str]:
    for step in steps:
        yield f"{step['op'].replace('_', ' ')} {describe.said(step)}".rstrip()


def _wrapped(lead: str, words: Sequence[str]) -> Iterator[str]:
    """`lead word, word, …` in lines that are not too long; the later ones are indented."""
    line = lead
    for index, word in enumerate(words):
        piece = f" {word}" + ("," if index + 1 < len(words) else "")
        if len(line) + len(piece) > WIDTH and line.strip() and line != lead:
            yield line
            line = " " * len(lead)
        line += piece
    if words:
        yield line


def _state(steps: Iterable[dict]) -> Iterator[str]:
    for step in steps:
        yield f"{step['subject']}: {', '.join(step['operands']['files'])}"


def _namespaces(steps: Sequence[dict]) -> Iterator[str]:
    made = [kind for step in steps if step["op"] in ("clone", "unshare") for kind in step["operands"]["namespaces"]]
    yield from _wrapped("new:", made)
    for step in steps:
        operands = step["operands"]
        if step["op"] == "setns" and "retry" not in step["flags"]:
            yield f"joined: {', '.join(operands['namespaces'])} of {operands['file']}"
        elif step["op"] in ("uid_map", "gid_map"):
            lines = [line.split() for line in operands["lines"]]
            said = [f"{inside}-{int(inside) + int(size) - 1} = host's {outside}-{int(outside) + int(size) - 1}" for inside, outside, size in lines]
            yield from _wrapped(f"{step['op'][:3]}s:", [*said, *([f"by {operands['writer']}"] if operands["writer"] != "pyrun" else [])])
        elif step["op"] == "timens":
            yield f"time offsets: {', '.join(operands['offsets'].splitlines())}"
        elif step["op"] == "net_device":
            yield f"network device {describe.said(step)} moves in"
        elif step["op"] in ("hostname", "domainname"):
            yield f"{step['op']} {operands['name']}"
        elif step["op"] == "lo_up":
            yield "the loopback interface is set up"
        elif step["op"] == "keyring":
            yield f"session keyring {operands['name']}"


def _cgroup(steps: Sequence[dict]) -> Iterator[str]:
    paths = [step["operands"]["path"] for step in steps if step["op"] == "cgroup"]
    same = {path.rpartition("/sys/fs/cgroup/")[2].partition("/")[2] for path in paths}
    if len(paths) > 1 and len(same) == 1:  # of many hierarchies of v1
        hierarchies = [path[: -len(next(iter(same)))].rstrip("/").rpartition("/")[2] for path in paths]
        yield f"/{next(iter(same))} in the hierarchies"
        yield from _wrapped("   ", hierarchies)
    else:
        yield from paths
    writes = [(step["subject"].rpartition("/")[2], step["operands"]["value"], step["where"]) for step in steps if step["op"] == "cgroup_write"]
    for file, value, where in writes:
        yield f"{_padded(f'{file} = {value}', 45)}# {where}"
    for step in steps:
        if step["op"] == "device_rules":
            operands = step["operands"]
            others = ["the usual ones"] * bool(operands["usual"]) + (operands.get("allowed") or operands.get("forbidden") or [])
            yield from _wrapped(f"devices: all {operands['default']}" + ", but" * bool(others), others or [""])
        elif step["op"] in ("systemd_unit", "rdt"):
            yield f"{step['op'].replace('_', ' ')} {describe.said(step)}"


def _padded(text: str, width: int) -> str:
    return f"{text:<{width}} " if len(text) < width else f"{text}  "


# --- mounts, as a tree ----------------------------------------------------------------------------------------------------


class Point:
    """A mount point: what is mounted there, one after the other, and the points below."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.said: list[str] = []
        self.below: list[Point] = []


def _mounts(steps: Sequence[dict]) -> Iterator[str]:
    root = Point("/")
    points = {"/": root}
    for step in steps:
        if step["op"] in ("root", "mount", "bind", "setattr", "symlink"):
            path = "/" if step["op"] == "root" else step["operands"].get("target") or step["operands"]["path"]
            if path not in points:
                points[path] = Point(path)
            points[path].said.append(_mounted(step))
    for path, point in points.items():
        if point is not root:
            above = path
            while above not in points or above == path:
                above = above.rpartition("/")[0] or "/"
                if above == "/":
                    break
            points[above].below.append(point)
    yield from _branch(root, "", "", _width(root, 0))
    for word, op in (("read-only:", "readonly"), ("masked:", "mask")):
        yield from _wrapped(word, [step["operands"]["path"] for step in steps if step["op"] == op])
    for step in steps:
        if step["op"] == "propagation":
            yield f"propagation{' of / at the end' if step['subject'] else ''}: {step['operands']['propagation']}"
        elif step["op"] == "chroot":
            yield "no mount namespace of its own: / is changed by chroot"
        elif step["op"] == "mkdir":
            yield f"{step['operands']['path']} is made, if it is not there"


def _width(point: Point, depth: int) -> int:
    return max([3 * depth + len(point.path) + 1, *(_width(below, depth + 1) for below in point.below)])


def _branch(point: Point, lead: str, follow: str, width: int) -> Iterator[str]:
    """The lines of a point, of which the first begins with lead and the others with follow."""
    yield f"{_padded(lead + point.path, width)} {'; then '.join(point.said)}".rstrip()
    for index, below in enumerate(point.below):
        last = index + 1 == len(point.below)
        yield from _branch(below, follow + ("└─ " if last else "├─ "), follow + ("   " if last else "│  "), width)


def _mounted(step: dict) -> str:
    # What a mount point must not have says nothing at a glance.
    operands = step["operands"]
    said = describe.said(step | {"operands": operands | {"attr_clear": [], "attr_clear_below": [], "tree": None}})
    if step["op"] == "root":
        return f"{operands['path']}, the root file system"
    target = operands.get("target")
    words = said.replace(f" on {target}", "", 1) if target and step["op"] != "setattr" else said.removeprefix(target or "").lstrip("; ")
    if step["op"] == "mount":
        words = words.removeprefix(operands["type"]).replace("; target mode", "").replace("; ordinary dir", "")
        words = f"{operands['type']}{words}".replace(f"source={operands['type']}, ", "").replace(f"; source={operands['type']}", "")
    return {"bind": f"the host's {words}", "symlink": f"link to {operands.get('text')}"}.get(step["op"], words)


# --- devices, identity, seccomp, program ------------------------------------------------------------------------------------


def _devices(steps: Sequence[dict]) -> Iterator[str]:
    usual = [step["operands"]["path"] for step in steps if step["where"] == "default devices" and step["op"] == "device"]
    yield from _wrapped("the usual ones:", usual)
    for step in steps:
        if step["where"] != "default devices":
            yield f"a terminal of {step['operands']['ptmx']}, also /dev/console" if step["op"] == "console" else describe.said(step)


def _sysctls(steps: Iterable[dict]) -> Iterator[str]:
    for step in steps:
        yield f"{step['operands']['path']} = {step['operands']['value']}"


def _hooks(steps: Iterable[dict]) -> Iterator[str]:
    for step in steps:
        yield f"{step['operands']['kind']}: {describe.said(step).partition(' ')[2]}"


def _identity(steps: Sequence[dict]) -> Iterator[str]:
    sets: dict[str, list[str]] = {}
    for step in steps:
        operands = step["operands"]
        if step["op"] == "ids":
            groups = f", groups {', '.join(map(str, operands['gids']))}" if operands["gids"] else ""
            yield f"uid {operands['uid']}, gid {operands['gid']}{groups}"
        elif step["op"] == "bounding":
            sets["bounding"] = operands["kept_caps"]
        elif step["op"] == "caps":
            sets |= {name: operands[name] for name in ("permitted", "effective", "inheritable", "ambient")}
    yield from _capabilities(sets)
    for step in steps:
        said = describe.said(step)
        if step["op"] == "no_new_privs":
            yield "no new privileges, as by set-user-id programs"
        elif step["op"] == "rlimit" and "raise" not in step["flags"]:
            yield f"limit {said}"
        elif step["op"] in ("oom_score_adj", "umask"):
            yield f"{step['op'].replace('_', ' ')} {said}"
        elif step["op"] == "proc_write":
            yield f"{step['where'].rpartition('.')[2]} {step['subject']}"


def _capabilities(sets: dict[str, list[str]]) -> Iterator[str]:
    """Sets that are the same stand together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, words in sets.items():
        groups.setdefault(tuple(words), []).append(name)
    for granted, names in groups.items():
        few = ["all"] if len(granted) == len(CAPABILITIES) else [word.removeprefix("CAP_").lower() for word in granted] or ["none"]
        yield from _wrapped(f"capabilities ({', '.join(names)}):", few)


def _seccomp(steps: Iterable[dict]) -> Iterator[str]:
    for step in steps:
        if step["op"] == "seccomp_listener":
            yield f"the listener goes to the agent at {step['operands']['path']}"
            continue
        rules, flags = step["operands"]["filter"], step["operands"]["filter_flags"]
        for entry in rules.get("calls", ()):
            yield f"{entry['count']} system call{'s' * (entry['count'] > 1)}: {_done(entry)}"
        if "default" in rules:
            yield f"all others: {_done(rules['default'])}"
        yield f"{rules['instructions']} instructions" + (f", {', '.join(flags)}" if flags else "")


def _done(entry: dict) -> str:
    return describe.ACTIONS.get(entry["action"]) or f"fail with {errno.errorcode.get(entry['data'], entry['data'])}"


def _program(steps: Sequence[dict]) -> Iterator[str]:
    for step in sorted(steps, key=lambda step: step["op"] != "exec"):
        operands = step["operands"]
        if step["op"] == "exec":
            yield " ".join(map(describe.quoted, operands["argv"]))
            if len(operands["candidates"]) > 1:
                yield from _wrapped("looked for as", operands["candidates"])
            yield from _wrapped("environment:", operands["env"])
        elif step["op"] == "chdir":
            yield f"working directory {operands['path']}"
        elif step["op"] == "home":
            yield "HOME is that of its user in /etc/passwd"
        elif step["op"] != "affinity" or step["where"]:
            yield f"{step['op']} {describe.said(step)}"


WRITERS = {
    "state": _state, "namespaces": _namespaces, "cgroup": _cgroup, "mounts": _mounts, "devices": _devices, "sysctls": _sysctls,
    "hooks": _hooks,
    "identity": _identity, "seccomp": _seccomp, "program": _program,
}  # fmt: skip
