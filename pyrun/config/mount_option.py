"""The words in a mount's options; and crun's option `idmap=uids=0-1000-10#10-2000-5;gids=@0-0-10`, which `podman run
--volume …:idmap=…` passes on.

A triple of idmap is what a line of mappings is: the first id in the file system (containerID), the first that is seen (hostID),
their number. After `@` the second is an id of the container's user namespace.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = {"uids": "uidMappings", "gids": "gidMappings"}


def words(mount: dict) -> list[str]:
    """The options (list of str) of an entry of config.mounts, one word each."""
    found = []
    for option in mount.get("options") or ():
        found += split(option)
    return found


def split(option: str) -> Sequence[str]:
    """The words of one string: there may be several, `ro,size=64k`, as for mount(8).

    For the kernel a comma in quotes (SELinux's context=) or after a backslash (overlay's directories) separates nothing.
    """
    if "," not in option:
        return (option,)
    found, start, quoted, escaped = [], 0, False, False
    for index, character in enumerate(option):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            found.append(option[start:index])
            start = index + 1
    return [*found, option[start:]]


def value_of(option: str) -> str | None:
    """What stands after `idmap=` or `ridmap=` in a mount option (str); None if it is another option, or has no value."""
    word, _, value = option.partition("=")
    return value if word in ("idmap", "ridmap") and value else None


def parse(text: str, linux: dict) -> dict[str, list[dict]]:
    """{"uidMappings": […], "gidMappings": […]} for the value (str) of the option. linux: the config's. Raises ValueError with a message."""
    found = {}
    for part in text.split(";"):
        name, _, triples = part.partition("=")
        key = NAMES.get(name)
        if key is None or key in found:
            raise ValueError(f"{part!r} is neither uids=… nor gids=…")
        found[key] = [_mapping(triple, linux.get(key) or ()) for triple in triples.split("#")]
    if len(found) != len(NAMES):
        raise ValueError("id-mapped mounts must have both uid and gid mappings specified")
    return found


def _mapping(triple: str, container: Sequence[dict]) -> dict[str, int]:
    numbers = triple.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"{triple!r} is no FIRST-FIRST-SIZE")
    inside, outside, size = map(int, numbers)
    if triple[:1] == "@":
        outside = _on_host(outside, container)
    return {"containerID": inside, "hostID": outside, "size": size}


def _on_host(id: int, mappings: Sequence[dict]) -> int:
    for entry in mappings:
        if entry["containerID"] <= id < entry["containerID"] + entry["size"]:
            return entry["hostID"] + id - entry["containerID"]
    raise ValueError(f"the container has no id {id}, to which @ refers")
