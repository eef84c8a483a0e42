"""Which image a file has: an OCI image layout, or what `docker save` writes; its tags, platforms, config and layers."""

from __future__ import annotations

from pyrun.base.errors import Error
from pyrun.image.archive import DOCUMENT
from pyrun.image.platform import shown
from pyrun.image.stream import digest as digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.image.archive import Blob, Files
    from pyrun.image.platform import Wanted

    Platform = tuple[str, str, str]

NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations that say what an image is called: the whole of it, and perhaps the tag alone."""
ATTESTATION = "vnd.docker.reference.type"  # BuildKit's, of what is no image
DEPTH = 5  # indexes in one another: a digest can't be part of what it is of, so they cannot go round, but a long way down
MOST = 1000  # images in a layout, and layers in an image


class Image:
    """An image that was chosen. layers: each file, its digest where one is given, and its diff_id."""

    def __init__(self, config: dict, layers: list[tuple[Blob, str | None, str]]) -> None:
        self.config, self.layers = config, layers


def choose(image: Files, tag: str | None, wanted: Wanted) -> Image:
    """The image with a tag, for a platform. Raises Error."""
    if image.find("index.json"):
        return _from_layout(image, tag, wanted)
    if image.find("manifest.json"):
        return _from_docker(image, tag, wanted)
    raise Error(f"{image.path}: no image: there is neither index.json, of an OCI image layout, nor manifest.json, of `docker save`")


# --- what is in a document ------------------------------------------------------------------------------------------------------


def member(value: dict, name: str, kind: type, where: str, default: Any = None) -> Any:
    """A member of a JSON object, which has to be of a type; null is as if it were not there. default: None if there must be one."""
    found = value.get(name)
    if found is None:
        found = default
    if not isinstance(found, kind) or isinstance(found, bool) > (kind is bool):
        raise Error(f"{where}: {name} is {'missing' if found is None else 'not what it should be'}")
    return found


def objects(value: dict, name: str, where: str, default: list | None = None) -> list[dict]:
    found = member(value, name, list, where, default)
    if len(found) > MOST or not all(isinstance(one, dict) for one in found):
        raise Error(f"{where}: {name} has {'more than ' + str(MOST) + ' members' if len(found) > MOST else 'a member that is no object'}")
    return found


def strings(value: dict, name: str, where: str, default: list | None = None) -> list[str]:
    found = member(value, name, list, where, default)
    if len(found) > MOST or not all(isinstance(one, str) for one in found):
        raise Error(f"{where}: {name} is no list of at most {MOST} strings")
    return found


def _object(value: Any, where: str) -> dict:
    if not isinstance(value, dict):
        raise Error(f"{where}: no JSON object")
    return value


def platform_of(value: dict, where: str) -> Platform:
    os, architecture, variant = (member(value, name, str, where, "") for name in ("os", "architecture", "variant"))
    return os, architecture, variant


# --- an OCI image layout --------------------------------------------------------------------------------------------------------


def blob_of(image: Files, descriptor: dict, where: str) -> tuple[Blob, str]:
    """The file that a descriptor names, and its digest."""
    digest = member(descriptor, "digest", str, where)
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise Error(f'{where}: the digest "{digest}" is none of SHA-256')
    blob = image.open(f"blobs/sha256/{value}")
    if blob.size != member(descriptor, "size", int, where):
        raise Error(f"{blob.name}: it has {blob.size} bytes, and not the {descriptor['size']} that {where} says")
    return blob, digest


def _document(image: Files, descriptor: dict, where: str) -> tuple[dict, str]:
    """The JSON object that a descriptor names, and where it is."""
    blob, digest = blob_of(image, descriptor, where)
    if blob.size > DOCUMENT:
        raise Error(f"{blob.name}: more than {DOCUMENT >> 20} MiB")
    data = blob.read(blob.size)
    if (found := digest_of(data)) != digest:
        raise Error(f"{blob.name}: its digest is {found}, not {digest}: the image is damaged or was changed")
    return _object(image.parse(blob.name, data), blob.name), blob.name


def _annotations(descriptor: dict, where: str) -> dict:
    return member(descriptor, "annotations", dict, where, {})


def _names(descriptor: dict, where: str) -> list[str]:
    notes = _annotations(descriptor, where)
    return [notes[name] for name in NAMES if isinstance(notes.get(name), str)]


def _from_layout(image: Files, tag: str | None, wanted: Wanted) -> Image:
    where = f"{image.path}: index.json"
    listed = [(_names(one, where), one) for one in objects(_object(image.document("index.json"), where), "manifests", where)]
    index = _tagged(image, listed, tag)
    manifests = [found for one in index for found in _manifests(image, one, where, DEPTH)]
    if len(manifests) > MOST:
        raise Error(f"{where}: more than {MOST} images")
    fitting: dict[str, tuple[int, dict]] = {}
    platforms = set()
    for platform, descriptor in manifests:
        rank = wanted.rank(platform)
        platforms.add(shown(platform) or "no platform")
        if rank is not None:
            fitting.setdefault(member(descriptor, "digest", str, where), (rank, descriptor))
    if not fitting:
        _no_platform(image.path, wanted, platforms)
    best = min(rank for rank, _ in fitting.values())
    found = [descriptor for rank, descriptor in fitting.values() if rank == best]
    if len(found) > 1:
        raise Error(f"{image.path}: {len(found)} images for {wanted.text}{_say_tags(listed)}")
    return _image(image, found[0], where)


def _no_platform(path: str, wanted: Wanted, found: set[str]) -> None:
    names = ", ".join(sorted(found))
    raise Error(f"{path}: there is no image for {wanted.text}, but for {names or 'none'}: --platform takes another one")


def _manifests(image: Files, descriptor: dict, where: str, depth: int) -> list[tuple[Platform, dict]]:
    """The manifests of images that a descriptor leads to, with their platforms."""
    if ATTESTATION in _annotations(descriptor, where):
        return []
    kind = member(descriptor, "mediaType", str, where, "")
    if "index" in kind or "manifest.list" in kind:
        if depth == 0:
            raise Error(f"{where}: more than {DEPTH} indexes in one another")
        inner, where = _document(image, descriptor, where)
        return [found for one in objects(inner, "manifests", where) for found in _manifests(image, one, where, depth - 1)]
    given = member(descriptor, "platform", dict, where, {})
    if given:
        return [(platform_of(given, where), descriptor)]
    manifest, inside = _document(image, descriptor, where)
    if "manifests" in manifest and "config" not in manifest:  # an index without its media type
        return _manifests(image, {**descriptor, "mediaType": "index"}, where, depth)
    config, at = _document(image, member(manifest, "config", dict, inside), inside)
    return [(platform_of(config, at), descriptor)] if "rootfs" in config else []


def _image(image: Files, descriptor: dict, where: str) -> Image:
    manifest, where = _document(image, descriptor, where)
    config, at = _document(image, member(manifest, "config", dict, where), where)
    layers = []
    for layer in objects(manifest, "layers", where):
        if "encrypted" in member(layer, "mediaType", str, where, ""):
            raise Error(f"{where}: a layer is encrypted")
        layers.append(blob_of(image, layer, where))
    return _with_diff_ids(config, at, layers)


def _with_diff_ids(config: dict, where: str, layers: list) -> Image:
    rootfs = member(config, "rootfs", dict, where)
    ids = strings(rootfs, "diff_ids", where, [])
    if len(ids) != len(layers):
        raise Error(f"{where}: there are {len(ids)} diff_ids for {len(layers)} layers")
    return Image(config, [(blob, digest, id) for (blob, digest), id in zip(layers, ids, strict=True)])


# --- `docker save` ----------------------------------------------------------------------------------------------------------------


def _from_docker(image: Files, tag: str | None, wanted: Wanted) -> Image:
    where = f"{image.path}: manifest.json"
    images = image.document("manifest.json")
    listed = [(strings(one, "RepoTags", where, []), one) for one in objects({"images": images}, "images", where)]
    found = _tagged(image, listed, tag)
    if len(found) != 1:
        raise Error(f"{image.path}: {len(found)} images{_say_tags(listed)}")
    name = member(found[0], "Config", str, where)
    blob = image.open(name)
    if blob.size > DOCUMENT:
        raise Error(f"{blob.name}: more than {DOCUMENT >> 20} MiB")
    data = blob.read(blob.size)
    given = name.rpartition("/")[2].removesuffix(".json")
    if len(given) == 64 and digest_of(data) != f"sha256:{given}":
        raise Error(f"{blob.name}: its digest is {digest_of(data)}: the image is damaged or was changed")
    config = _object(image.parse(blob.name, data), blob.name)
    platform = platform_of(config, blob.name)
    if wanted.rank(platform) is None:
        _no_platform(image.path, wanted, {shown(platform)})
    layers = [(image.open(layer), None) for layer in strings(found[0], "Layers", where)]
    return _with_diff_ids(config, blob.name, layers)


# --- tags -------------------------------------------------------------------------------------------------------------------------


def _tagged(image: Files, listed: list[tuple[list[str], dict]], tag: str | None) -> list[dict]:
    """The members of an index with that tag. Without one they must have one and the same."""
    if tag:
        found = [one for names, one in listed if any(_is_called(name, tag) for name in names)]
        if not found:
            raise Error(f'{image.path}: no image is called "{tag}"{_say_tags(listed)}')
        return found
    if len({tuple(names) for names, _ in listed if names}) > 1 and len({str(one.get("digest")) for _, one in listed}) > 1:
        raise Error(f"{image.path}: there are several images{_say_tags(listed)}")
    return [one for _, one in listed]


def _is_called(name: str, tag: str) -> bool:
    """Whether a name is the one wanted: the whole of it, all behind a slash, or the tag alone."""
    return name == tag or name.endswith(f"/{tag}") or name.rpartition(":")[2] == tag


def _say_tags(listed: list[tuple[list[str], dict]]) -> str:
    names = sorted({name for names, _ in listed for name in names[:1]})
    return f": use --tag with {', '.join(names)}" if names else ": none has a tag"
