#!/usr/bin/env python
"""The works of the matrix-product engine, one row each: cost, value, error, and what the certificate claims.

    scripts/benchmarks/mpo.py --list
    scripts/benchmarks/mpo.py --only w1-1e-4 w1-1e-6 --method TEBD 'TEBD(layout="dense")'
    scripts/benchmarks/mpo.py --json rows.jsonl                     every work; finished rows survive an interruption
    scripts/benchmarks/mpo.py --only w1-1e-4 --peers --json rows.jsonl       TeNPy, quimb and QuTiP in the same run
    scripts/benchmarks/mpo.py --table rows.jsonl                    the rows as markdown
    scripts/benchmarks/mpo.py --table rows.jsonl --into docs/mpo_engine.md   replace the table of the page
    scripts/benchmarks/mpo.py --converge w1                         converged values of works that have no exact ones
    scripts/benchmarks/mpo.py --profile w1-1e-6 TEBD                where the time of one row goes

Every row is measured in a process of its own with one thread.  CPU seconds count from after the imports and after one
run on four sites, which loads compiled code (its CPU seconds stand in ``load_s``).  Rows below a second, our own and
those of other libraries, are measured five times, the least counts.  Errors are absolute.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _rows import (
    append_json,
    isolated,
    peak_mib,
    print_head,
    print_row,
    read_json,
    single_threaded,
    stopwatch,
    text,
    versions,
)

single_threaded()

COLUMNS = ("work", "method", "status", "chi", "dt", "cpu_s", "wall_s", "peak_MiB", "value", "error", "claimed")
PEERS = Path(__file__).with_name("peers")
PACKAGES = ("numpy", "scipy", "numba", "quimb", "physics-tenpy", "qutip")
# Rows below so many CPU seconds are measured so many times.
QUICK, REPEATS = 1.0, 5
BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"


def one(name: str, method: str) -> dict[str, Any]:
    """Measure one row in this process."""
    from _works import WORKS, NotAvailable

    import mpo_transport as mt

    base = peak_mib()
    try:
        load = warm(method)
        row = WORKS[name].measure(method)
    except NotAvailable as reason:
        return {"status": "not available", "remark": str(reason)}
    except mt.MpoTransportError as error:
        return {"status": "refused", "remark": f"{type(error).__name__}: {error}"}
    return {**row, "load_s": load, "base_MiB": base, "peak_MiB": peak_mib()}


def warm(method: str) -> float:
    """Run the method on four sites and return the CPU seconds; a method that refuses them is left cold."""
    from _works import named_method

    import mpo_transport as mt

    if not (method == "auto" or method[:1].isupper()):  # a layout, or a way to the gap
        return 0.0
    chosen = named_method(method)
    chain = mt.models.persistent_current(L=4, alpha=1.0, delta=0.5, periodic=False)
    candidates = [chosen] if chosen is not None else [mt.TEBD(max_time=5.0), mt.ImplicitSweeps()]
    with stopwatch() as seconds:
        for candidate in candidates:
            if candidate.supports(chain):
                mt.steady_state(chain, candidate, tol=1e-2, on_failure="return", progress=False)
    return seconds["cpu_s"]


def measured(name: str, method: str, limit: float, run: str) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    found = isolated(Path(__file__), ["--one", name, method], limit)
    return {"run": run, "date": run[:10], "work": name, "method": method, **found, "versions": versions(*PACKAGES)}


def peer(name: str, script: str, limit: float, run: str) -> dict[str, Any]:
    """Measure the same work by a peer's driver; one line says so where the peer is not installed."""
    found = isolated(PEERS / script, [name, "--limit", f"{limit:g}"], limit + 60)
    found.setdefault("method", script.partition("_")[0])
    return {"run": run, "date": run[:10], "work": name, "peer": True, **found, "versions": versions(*PACKAGES)}


# ----------------------------------------------------------------------------------------------------------------------
# tables


def latest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last row of every pair of work and method, in the order of the works."""
    from _works import WORKS

    last = {(row["work"], row["method"]): row for row in rows}
    order = {name: k for k, name in enumerate(WORKS)}
    return sorted(last.values(), key=lambda row: (order.get(row["work"], len(order)), bool(row.get("peer"))))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a markdown table.

    ``ratio`` is the CPU time of a peer over that of the fastest of our rows of the same work and the same run that is
    at least as accurate; ``claim/error`` is the largest claimed error over the largest true one.  Errors below the
    uncertainty of what they are measured against count as that; nothing is claimed about their size.
    """
    from _works import WORKS

    head = (
        "work",
        "aim",
        "method",
        "chi",
        "order, dt",
        "CPU s",
        "MiB",
        "value",
        "error",
        "claimed",
        "claim/error",
        "ratio",
    )
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    chosen = latest(rows)
    for row in chosen:
        work = WORKS.get(row["work"])
        error, claimed = row.get("error"), row.get("claimed")
        share = claimed / error if claimed is not None and error and error > _unsure(row["work"], rows) else None
        ran = row.get("ran")
        method = f"{row['method']}: {ran}" if row["method"] == "auto" and ran else row["method"]
        step = ", ".join(text(x) for x in (row.get("order"), row.get("dt")) if x is not None)
        cells = [row["work"], work.aim if work else "", method]
        if row.get("cpu_s") is None:
            cells += [row.get("status", "-"), *[""] * (len(head) - 4)]
        else:
            cells += [text(row.get("chi")), step, f"{row['cpu_s']:.3g}", _rounded(row.get("peak_MiB"))]
            cells += [
                _value(row),
                _power(error),
                _power(claimed),
                "" if share is None else f"{share:.2g}",
                _ratio(row, rows),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    if not row.get("peer") or row.get("cpu_s") is None or row.get("error") is None:
        return ""
    unsure = _unsure(row["work"], rows)
    ours = [
        r["cpu_s"]
        for r in rows
        if not r.get("peer")
        and r["run"] == row["run"]
        and r["work"] == row["work"]
        and r.get("cpu_s") is not None
        and r.get("error") is not None
        and r["error"] <= max(row["error"], unsure)
    ]
    if not ours:
        return ""
    times = row["cpu_s"] / min(ours)
    return f"{times:.0f}" if times > 10 else f"{times:.2g}"


def _unsure(work: str, rows: Sequence[dict[str, Any]]) -> float:
    """Return the uncertainty of the exact or converged values of a work."""
    return max((r.get("reference_error") or 0.0 for r in rows if r["work"] == work), default=0.0)


def _value(row: dict[str, Any]) -> str:
    return "-" if row.get("value") is None else f"{row['value']:.10g}"


def _power(x: float | None) -> str:
    return "-" if x is None else f"{x:.1e}"


def _rounded(x: float | None) -> str:
    return "-" if x is None else f"{x:.0f}"


def put_into(page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replace what stands between the two marks of a page by the table and the days and versions of its rows."""
    whole = page.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        raise SystemExit(f"{page} holds no marks {BEGIN} ... {END}")
    head, _, rest = whole.partition(BEGIN)
    tail = rest.partition(END)[2]
    chosen = latest(rows)
    days = sorted({row["date"] for row in chosen})
    packages = {k: v for row in chosen for k, v in row.get("versions", {}).items() if v}
    caption = f"Measured on {', '.join(days)}; " + ", ".join(f"{k} {v}" for k, v in packages.items()) + "."
    page.write_text(f"{head}{BEGIN}\n{caption}\n\n{markdown(rows)}\n{END}{tail}", encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------------------
# converged values, profiles


def converge(names: Sequence[str]) -> None:
    """Compute converged values with two large bond dimensions and store them with their difference as error."""
    from _converged import RECIPES
    from _works import CONVERGED

    known = json.loads(CONVERGED.read_text(encoding="utf-8")) if CONVERGED.exists() else {}
    for name in names or RECIPES:
        if name not in RECIPES:
            raise SystemExit(f"no recipe for {name!r}; known: {', '.join(RECIPES)}")
        known[name] = {**RECIPES[name](), "date": datetime.date.today().isoformat(), "versions": versions("numpy")}
        print(name, "uncertainty", f"{known[name]['uncertainty']:.1e}", flush=True)
        CONVERGED.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def least(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a row; below a second the quickest of several, since other work on the machine can only add to it."""
    row = measure()
    if row.get("cpu_s") is None or not row["cpu_s"] < QUICK:
        return row
    rows = [row, *(measure() for _ in range(REPEATS - 1))]
    return min((r for r in rows if r.get("cpu_s") is not None), key=lambda r: r["cpu_s"])


def profiled(name: str, method: str, lines: int = 15) -> None:
    """Print where the CPU time of one row goes: own time by file, and the functions with the most of it."""
    import cProfile
    import pstats
    import time

    from _works import WORKS

    warm(method)
    profile = cProfile.Profile(time.process_time)
    row = profile.runcall(WORKS[name].measure, method)
    print({k: row.get(k) for k in ("ran", "status", "chi", "cpu_s", "error", "claimed")})
    stats = pstats.Stats(profile)
    by_file: dict[str, float] = {}
    for (path, _, _), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        inside = path.rpartition("mpo_transport/")[2] if "mpo_transport/" in path else ""
        where = inside or next((w for w in ("numpy", "scipy", "numba") if f"/{w}/" in path), "Python")
        by_file[where] = by_file.get(where, 0.0) + own
    total = sum(by_file.values())
    print("| own time in | share |\n|---|---|")
    for where, own in sorted(by_file.items(), key=lambda item: -item[1])[:lines]:
        print(f"| {where} | {own / total:.0%} |")
    stats.strip_dirs().sort_stats("tottime").print_stats(lines)


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the works and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="works by name; a trailing * stands for anything")
    parser.add_argument("--method", nargs="+", metavar="METHOD", help="instead of the default methods of each work")
    parser.add_argument("--peers", action="store_true", help="run the drivers of other libraries on the same works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the rows, one JSON object a line")
    parser.add_argument("--limit", type=float, default=600.0, help="wall seconds per row")
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="FILE", help="print rows of files as markdown and stop"
    )
    parser.add_argument("--into", type=Path, metavar="PAGE", help="with --table: write the table into a page")
    parser.add_argument("--converge", nargs="*", metavar="NAME", help="compute converged values and stop")
    parser.add_argument("--profile", nargs=2, metavar=("NAME", "METHOD"), help="profile one row and stop")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def selected(patterns: Sequence[str] | None) -> list[Any]:
    """Return the works that the patterns name."""
    from fnmatch import fnmatchcase

    from _works import WORKS

    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in WORKS):
            raise SystemExit(f"no work {pattern!r}; --list shows them")
    return [w for name, w in WORKS.items() if not patterns or any(fnmatchcase(name, p) for p in patterns)]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks; 130 after an interruption."""
    chosen = arguments_of(argv)
    if chosen.one:
        print(json.dumps(one(*chosen.one)))
        return 0
    if chosen.converge is not None:
        converge(chosen.converge)
        return 0
    if chosen.profile:
        profiled(*chosen.profile)
        return 0
    if chosen.table:
        rows = read_json(chosen.table)
        if chosen.into:
            put_into(chosen.into, rows)
        else:
            print(markdown(rows))
        return 0
    works = selected(chosen.only)
    if chosen.list:
        for work in works:
            print(f"{work.name:16} {work.title}; aim: {work.aim}; methods: {', '.join(work.methods)}")
        return 0
    run = datetime.datetime.now().isoformat(timespec="seconds")
    print_head(COLUMNS, 12)
    try:
        for work in works:
            jobs = [(measured, method) for method in chosen.method or work.methods]
            jobs += [(peer, script) for script in work.peers] if chosen.peers else []
            for measure, what in jobs:
                row = least(lambda m=measure, a=(work.name, what, chosen.limit, run): m(*a))
                if chosen.json:
                    append_json(chosen.json, row)
                print_row(row, COLUMNS, 12)
                if row.get("remark"):
                    print(f"{'':12}  {row['remark']}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; the rows above are kept")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
