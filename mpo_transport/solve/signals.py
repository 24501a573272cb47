"""Being asked to stop: the first signal is remembered until a consistent point, the second interrupt acts at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["SignalGuard"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class SignalGuard:
    """Remember SIGINT, SIGTERM and SIGUSR1 within a ``with`` block.

    ``received`` is the name of the first signal, or None.  A second SIGINT raises :class:`KeyboardInterrupt` where it
    arrives.  Handlers are installed in the main thread only (elsewhere Python does not allow it) and the former ones
    are restored on leaving.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            # None: the former handler was not installed from Python and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name
