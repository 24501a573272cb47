"""What the studies share: arguments, tables as CSV and Markdown, and where the collected tables are."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpo_transport.analysis import Series, series_of
from mpo_transport.sweep.table import read_table

ROOT = Path(__file__).resolve().parents[2]


def arguments(about: str | None) -> argparse.Namespace:
    """Return the directories of the collected tables and of the output."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, help="directory with the collected tables NAME.nc")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "studies", help="where pictures and CSV go")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


class Tables:
    """The collected tables of a directory, each read once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read: dict[str, Any] = {}

    def series(self, name: str, **choice: Any) -> Series:
        """Return the current of one table along L."""
        if name not in self._read:
            self._read[name] = read_table(self.directory / f"{name}.nc")
        return series_of(self._read[name], "current", **choice)


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
    print(path)


def show(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table in Markdown, ready for the documentation."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()
