"""Layers onto one another: what an archive's entry means for a root file system, whiteouts included."""

from __future__ import annotations

from pyrun.base.errors import Error, words
from pyrun.image import tar
from pyrun.image.stream import AT_ONCE
from pyrun.image.tree import Unfit, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.image.stream import Layer
    from pyrun.image.tar import Entry
    from pyrun.image.tree import Tree

WHITEOUT, OPAQUE, NOTES = ".wh.", ".wh..wh..opq", ".wh..wh."
SHOWN = 200  # letters of a name, in a message
MOST = 10_000_000  # files of an image: each is remembered for a while


class Allowance:
    """How much an image may unpack to: the plain bound against one that is made to fill the disk."""

    def __init__(self, most: int) -> None:
        self.most, self.left, self.entries = most, most, MOST

    def bytes(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Error(f"the layers unpack to more than {self.most >> 20} MiB, which is nine tenths of what the file system has free")

    def entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise Error(f"the layers have more than {MOST} files")


def apply(tree: Tree, layer: Layer, allowance: Allowance) -> None:
    """Puts a layer onto what is there, and checks its digests. Raises Error."""
    tree.begin_layer()
    for entry in tar.entries(layer):
        allowance.entry()
        try:
            _put(tree, entry, layer)
        except Unfit as fault:
            raise Error(f'{layer.name}: "{entry.name[:SHOWN]}": {fault}') from None
        except OSError as fault:
            raise Error(f'{layer.name}: "{entry.name[:SHOWN]}": {words(fault.errno)}') from None
    layer.finish()


def _put(tree: Tree, entry: Entry, layer: Layer) -> None:
    path = inside(entry.name)
    above, _, name = path.rpartition("/")
    if name == OPAQUE:
        tree.opaque(above)
    elif f"/{path}".find(f"/{NOTES}") >= 0:  # aufs' own
        pass
    elif name.startswith(WHITEOUT):
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise Unfit("a whiteout of no file")
        tree.whiteout(f"{above}/{hidden}".lstrip("/"))
    else:
        tree.add(entry, path, _data(entry, layer))


def _data(entry: Entry, layer: Layer) -> Iterator[tuple[int, bytes]]:
    """The bytes of a file, each piece with its place."""
    for offset, size in [(0, entry.stored)] if entry.parts is None else entry.parts:
        end = offset + size
        while offset < end:
            piece = layer.some(min(end - offset, AT_ONCE))
            if not piece:
                raise Error(f"{layer.name}: the layer ends too early")
            yield offset, piece
            offset += len(piece)
