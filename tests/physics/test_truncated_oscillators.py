"""Truncated phonons of an optomechanical ring, light eliminated, against independently calculated occupations."""

import importlib.util
import sys
from pathlib import Path

import pytest

import mpo_transport as mt

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


def optomechanical_ring(*arguments):
    """The model of a benchmark script, loaded as if the script were run."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        description = importlib.util.spec_from_file_location("exact_blocks_benchmark", BENCHMARKS / "exact_blocks.py")
        module = importlib.util.module_from_spec(description)
        description.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module.optomechanical_ring(*arguments)


# L, levels, bath occupation, <n_0>: an independent sparse LU of the sector of equal charges, uncertainty 1e-11
KNOWN = [
    (3, 4, 0.1, 0.0555640471037),
    (3, 5, 0.1, 0.0556192419315),
    (3, 6, 0.2, 0.109978070239),
    (4, 3, 0.5, 0.2288905067),
]


@pytest.mark.parametrize(("L", "levels", "nbar", "expected"), KNOWN)
def test_occupation_of_a_ring(L, levels, nbar, expected):
    model = optomechanical_ring(L, levels, nbar)
    result = mt.steady_state(model, mt.ExactDiag(solver="blocks"))
    assert result.converged and result.certificate.null_space == 1
    assert abs(result.expect(mt.op("N", L - 1)) - expected) < 2e-11
