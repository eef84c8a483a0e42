"""What has been begun and may have to be taken back."""

from __future__ import annotations

from pyrun.base import log
from pyrun.base.errors import Error, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Undo:
    """A stack of calls that undo steps. An exception that leaves its `with` block makes them, the last first.

    What a step leaves is pushed when the step is done. A step that waits may be interrupted when it is just done: there the call is
    pushed before, and does nothing where there is nothing.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., object], tuple]] = []
        self.last: tuple[Callable[..., object], tuple] | None = None

    def push(self, function: Callable[..., object], *args: object) -> None:
        self.calls.append((function, args))

    def then(self, function: Callable[..., object], *args: object) -> None:
        """What comes when everything has been undone; one call, that of the last time."""
        self.last = function, args

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind and self._undo() and self.last:
            function, args = self.last
            function(*args)

    def _undo(self) -> bool:
        """Makes the calls; an error of one is a warning, and the others follow. Whether all went well."""
        well = True
        while self.calls:
            function, args = self.calls.pop()
            try:
                function(*args)
            except OSError as error:
                well = False
                log.warning(f"{error.filename or 'not all is undone'}: {words(error.errno or 0)}")
            except Error as error:
                well = False
                log.warning(str(error))
        return well
