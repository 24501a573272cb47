"""What is shown while a run goes on: a live line on a terminal, plain lines elsewhere, nothing for short runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..methods import Diagnostics

if TYPE_CHECKING:
    from rich.progress import Progress as LiveProgress

__all__ = ["Progress", "ProgressCallback"]

ProgressCallback = Callable[[int, Diagnostics], Any]
_QUIET_SECONDS = 5.0
_LINE_SECONDS = 5.0


class Progress:
    """Display of a run, for the time of a ``with`` block.

    Parameters
    ----------
    setting
        None: a live bar if standard error is a terminal, else a plain line every five seconds there, in both cases only
        once the run has lasted five seconds.  False: silent.  A callable is called with (step, diagnostics).
    title
        What is being done.

    Raises
    ------
    InputError
        For another kind of setting (field ``progress``).
    """

    def __init__(self, setting: ProgressCallback | bool | None, title: str) -> None:
        if setting is not None and not isinstance(setting, bool) and not callable(setting):
            raise InputError(
                f"Argument `progress` must be None, True, False or a callable, but is {setting!r}.", field="progress"
            )
        self._callback = setting if callable(setting) else None
        self._shown = setting is None or setting is True
        self._title = title
        self._live: LiveProgress | None = None
        self._task: Any = None
        self._begin = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, step: int, diagnostics: Diagnostics) -> None:
        """Take notice of a finished step."""
        if self._callback is not None:
            self._callback(step, diagnostics)
        now = time.monotonic()
        if not self._shown or now - self._begin < _QUIET_SECONDS:
            return
        if sys.stderr.isatty():
            self._show_live(step, diagnostics)
        elif now - self._last >= _LINE_SECONDS:
            self._last = now
            done = "" if diagnostics.fraction is None else f" {diagnostics.fraction:4.0%}"
            print(
                f"{self._title}: step {step}{done} after {now - self._begin:.0f} s {diagnostics.message}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def _show_live(self, step: int, diagnostics: Diagnostics) -> None:
        if self._live is None:
            # imported where it is needed: most runs are short, and the import is not
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as LiveProgress

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._live = LiveProgress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task(self._title, total=None, note="")
            self._live.start()
        total = None if diagnostics.fraction is None else 1.0
        note = f"step {step}  {diagnostics.message}"
        self._live.update(self._task, total=total, completed=diagnostics.fraction or 0.0, note=note)
