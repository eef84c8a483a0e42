"""pyrun unpack: an image to a bundle."""

from __future__ import annotations

from pyrun.base import interrupts, log
from pyrun.base.errors import Error
from pyrun.base.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.settings import Settings


def unpack(settings: Settings, *, image: str, bundle: str, tag: str | None, platform: str | None, cmd: str | None, entrypoint: str | None,
           env: tuple[str, ...], tty: bool) -> None:  # fmt: skip
    """Makes a bundle of an image. When that fails nothing of it stays."""
    from pyrun.image import archive, layout
    from pyrun.image.bundle import Bundle
    from pyrun.image.config import Wishes
    from pyrun.image.platform import Wanted

    wishes = Wishes(words_of("cmd", cmd), words_of("entrypoint", entrypoint), env, tty)
    chosen = layout.choose(archive.open_image(image), tag, Wanted(platform))
    interrupts.hold()
    with Undo() as undo:
        made = Bundle(bundle, undo)
        notes = interrupts.waiting(made.fill, chosen, wishes)
    for note in notes:
        log.warning(note)


def words_of(option: str, text: str | None) -> list[str] | None:
    """The words of a command line, as a shell takes it apart."""
    import shlex

    try:
        return None if text is None else shlex.split(text)
    except ValueError as fault:
        raise Error(f"--{option} {text}: {fault}") from None
