"""Parameter sweeps: many runs described by one file, carried out in parallel, safe to stop and to repeat."""

from .directory import PointState, SweepDirectory
from .plan import Point, SweepPlan, load_sweep
from .point import PointOutcome, run_point
from .running import open_points, run_sweep

__all__ = [
    "Point",
    "PointOutcome",
    "PointState",
    "SweepDirectory",
    "SweepPlan",
    "load_sweep",
    "open_points",
    "run_point",
    "run_sweep",
]
