"""Being asked to stop: the first signal is remembered until a consistent point, the second interrupt acts at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, ClassVar

__all__ = ["SignalGuard", "Stopped", "request_stop"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Raised by a signal within :meth:`SignalGuard.at_once`; no error, hence not an :class:`Exception`."""


class SignalGuard:
    """Remember SIGINT, SIGTERM and SIGUSR1, and requests by :func:`request_stop`, within a ``with`` block.

    ``received`` is the name of the first signal, or None.  A second SIGINT raises :class:`KeyboardInterrupt` where it
    arrives.  Handlers are installed in the main thread only (elsewhere Python does not allow it) and the former ones
    are restored on leaving.
    """

    _active: ClassVar[set[SignalGuard]] = set()

    def __init__(self) -> None:
        self.received: str | None = None
        self._immediate = False
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._handle)
        self._active.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active.discard(self)
        for number, handler in self._former.items():
            # None: the former handler was not installed from Python and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former.clear()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block a signal raises :class:`Stopped` where it arrives; one received before, on entering."""
        self._immediate = True
        try:
            if self.received is not None:
                raise Stopped
            yield
        finally:
            self._immediate = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name
        if self._immediate:
            self._immediate = False
            raise Stopped


def request_stop(reason: str) -> None:
    """Stop what goes on in this process as a signal would; also for other threads, which no signal reaches.

    >>> with SignalGuard() as guard:
    ...     request_stop("the scheduler")
    ...     guard.received
    'the scheduler'
    """
    for guard in tuple(SignalGuard._active):
        guard.received = guard.received or reason
