"""Sweep files: what their points are, what is refused and how, disorder, and the order of the work."""

import itertools
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mpo_transport.errors import InputError
from mpo_transport.spec import RunSpec
from mpo_transport.sweep import SweepPlan, load_sweep
from mpo_transport.sweep.disorder import Ensemble
from mpo_transport.sweep.estimates import PointEstimate, estimate_alike, estimate_point
from mpo_transport.sweep.schedule import Schedule

DATA = Path(__file__).resolve().parents[2] / "data"
BASE = """
[base.model]
name = "persistent_current"
L = 4
alpha = 2.0
delta = 1.5
"""


def plan(axes: str, base: str = BASE, **keywords) -> SweepPlan:
    return SweepPlan.from_toml(base + axes, **keywords)


def column(sweep: SweepPlan, key: str) -> list:
    return [point.coordinates[key] for point in sweep.points]


def refused(axes: str, *words: str, base: str = BASE, **keywords) -> InputError:
    with pytest.raises(InputError) as caught:
        plan(axes, base, **keywords)
    for word in words:
        assert word in str(caught.value)
    return caught.value


# -- the points --------------------------------------------------------------------------------------------------------


def test_points_are_all_combinations_with_the_last_axis_fastest():
    sweep = plan('[axes]\n"model.alpha" = [1.0, 2.0]\n"model.mu" = [0.1, 0.2, 0.3]\nseed = [5]')
    wanted = list(itertools.product([1.0, 2.0], [0.1, 0.2, 0.3], [5]))
    assert [tuple(p.coordinates.values()) for p in sweep.points] == wanted
    assert [(p.spec.model["alpha"], p.spec.model["mu"], p.spec.seed) for p in sweep.points] == wanted
    assert [p.index for p in sweep.points] == list(range(6))
    assert all(p.spec.model["delta"] == 1.5 and p.run_id == p.spec.run_id for p in sweep.points)


def test_a_point_has_the_identity_of_the_single_run_with_the_same_entries():
    sweep = plan('[axes]\n"model.alpha" = [1, 2]\n"solve.tol" = [1e-4, 1e-8]')
    single = RunSpec({"name": "persistent_current", "L": 4, "alpha": 2.0, "delta": 1.5}, tol=1e-8, name="whatever")
    assert sweep.points[3].run_id == single.run_id
    assert len({p.run_id for p in sweep.points}) == 4


def test_keys_of_one_axis_are_varied_together():
    sweep = plan('[[axes]]\n"model.L" = [4, 6, 8]\n"solve.tol" = [1e-4, 1e-5, 1e-6]\n[[axes]]\n"model.alpha" = [1, 3]')
    assert len(sweep.points) == 6
    assert list(zip(column(sweep, "model.L"), column(sweep, "solve.tol"), strict=True)) == [
        (4, 1e-4), (4, 1e-4), (6, 1e-5), (6, 1e-5), (8, 1e-6), (8, 1e-6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("{start = 0, stop = 1, num = 5}", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("{start = 2, stop = 10, num = 5}", [2, 4, 6, 8, 10]),
        ("{start = 0.1, stop = 0.5, step = 0.2}", [0.1, 0.1 + 0.2, 0.1 + 2 * 0.2]),
        ("{start = 4, stop = 9, step = 2}", [4, 6, 8]),
        ("{start = 1, stop = -1, step = -1}", [1, 0, -1]),
        ("{start = 7.0, stop = 7.0, num = 1}", [7.0]),
    ],
)
def test_linear_ranges_include_both_ends(written, values):
    found = column(plan(f'[axes]\n"model.mu" = {written}'), "model.mu")
    assert found == values and [type(x) for x in found] == [type(x) for x in values]


def test_a_logarithmic_range_has_equal_ratios():
    found = column(plan('[axes]\n"model.kappa" = {start = 1e-3, stop = 10, num = 9, scale = "log"}'), "model.kappa")
    assert found[0] == 1e-3 and found[-1] == 10
    assert np.allclose(np.diff(np.log10(found)), 0.5, rtol=0, atol=1e-13)


def test_complex_values_lists_and_nested_tables():
    sweep = plan('[axes.model]\nalpha = ["1+2j", "2"]\nmu = [[1, 2, 3, 4], 0.5]')
    assert column(sweep, "model.alpha") == [1 + 2j, 1 + 2j, 2.0, 2.0]
    assert sweep.points[0].spec.build_model().parameters["mu"] == [1, 2, 3, 4]
    assert sweep.points[0].spec.build_model().parameters["alpha"] == 1 + 2j


def test_a_hand_written_chain_can_be_swept():
    base = """
[base.model]
lattice = {kind = "chain", L = 2}
spaces = "SpinHalf"
hamiltonian = [[1.0, "Sp", "j", "Sm", "j+1", "h.c."]]
jumps = [{operator = [[1.0, "Sm", 0]]}]
"""
    sweep = plan('[axes]\n"model.lattice.L" = [2, 3]', base)
    assert [p.spec.build_model().L for p in sweep.points] == [2, 3]
    refused('[axes]\n"model.latice.L" = [2]', "latice", "did you mean 'lattice'", base=base)


def test_the_text_of_a_sweep_reads_back_to_the_same_sweep():
    text = BASE + (
        '[base.method]\nname = "TEBD"\n[[axes]]\n"model.alpha" = ["1+2j", 2]\n"method.max_bond" = [8, 12]\n'
        '[[axes]]\n"model.mu" = {distribution = "normal", per = "site", mean = 1, width = 0.1, realisations = 2}\n'
        '[slurm]\ntime = "1:00:00"\nextra = ["--mail=x"]\n[execution]\nworkers = 3\n[sweep]\nmax_points = 40\n'
        '[warm_start]\nalong = "method.max_bond"\n'
    )
    first = SweepPlan.from_toml('name = "study"\n' + text)
    second = SweepPlan.from_toml(first.to_toml())
    assert second.sweep_id == first.sweep_id and second.to_toml() == first.to_toml()
    assert [p.run_id for p in second.points] == [p.run_id for p in first.points]
    assert (second.name, second.slurm, second.execution) == (first.name, first.slurm, first.execution)
    assert [p.depends_on for p in second.points] == [p.depends_on for p in first.points]


def test_name_options_and_order_of_entries_do_not_change_a_sweep_and_values_do():
    one = plan('[axes]\n"model.alpha" = [1.0, 2.0]')
    assert plan('[axes]\n"model.alpha" = {start = 1, stop = 2, num = 2}\n[slurm]\ntime = "1"').sweep_id == one.sweep_id
    assert plan('[axes]\n"model.alpha" = [1.0, 2.5]').sweep_id != one.sweep_id
    with pytest.raises(InputError, match=r"sweep\.sweep_id"):
        SweepPlan.from_toml(one.to_toml().replace("[1.0, 2.0]", "[1.0, 2.5]"))


def test_a_base_file_beside_the_sweep_loses_its_name_and_picture(tmp_path):
    (tmp_path / "run.toml").write_text('name = "single"\n' + BASE.replace("base.", "") + '[output]\nfigure = "a.png"\n')
    (tmp_path / "sweep.toml").write_text('base = "run.toml"\n[axes]\n"model.alpha" = [1, 2]\n')
    sweep = load_sweep(tmp_path / "sweep.toml")
    assert {(p.spec.name, p.spec.figure) for p in sweep.points} == {(None, None)}
    (tmp_path / "sweep.toml").write_text('base = "gone.toml"\n[axes]\n"model.alpha" = [1, 2]\n')
    with pytest.raises(InputError, match=r"gone\.toml"):
        load_sweep(tmp_path / "sweep.toml")


def test_overrides():
    axes = '[axes]\n"model.alpha" = [1.0, 2.0]'
    assert {p.spec.model["L"] for p in plan(axes, overrides=["model.L=6"]).points} == {6}
    assert {p.spec.model["L"] for p in plan(axes, overrides=["base.model.L=6"]).points} == {6}
    assert column(plan(axes, overrides=["axes.model.alpha=[7]"]), "model.alpha") == [7]
    assert len(plan(axes, overrides=["axes.model.mu=[1, 2, 3]"]).points) == 6
    with pytest.raises(InputError, match=r"`model\.alpha` is varied by the sweep; write axes\.model\.alpha"):
        plan(axes, overrides=["model.alpha=3"])


def test_the_shipped_example():
    sweep = load_sweep(DATA / "sweep_persistent_current.toml")
    assert len(sweep.points) == 15 and sweep.name == "sweep_persistent_current"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ('[[axes]]\n"model.L" = [4, 6, 8]\n"solve.tol" = [1e-4, 1e-5]', ["`model.L` has 3", "`solve.tol` has 2"]),
        ('[axes]\n"model.alfa" = [1]', ["axes.model.alfa", "did you mean 'alpha'"]),
        ('[axes]\n"modl.alpha" = [1]', ["axes.modl.alpha", "did you mean 'model'"]),
        ('[axes]\n"method.max_bond" = [8]', ["base.method.name"]),
        ('[base.method]\nname = "TEBD"\n[axes]\n"method.max_bnd" = [8]', ["did you mean 'max_bond'"]),
        ('[axes]\n"solve.tolerance" = [8]', ["axes.solve.tolerance"]),
        ('[axes]\n"model.alpha" = []', ["axes.model.alpha", "no values"]),
        ('[axes]\n"model.alpha" = 3', ["axes.model.alpha", "a list"]),
        ('[axes]\n"model.alpha" = [1, 1.0]', ["Points 0 (model.alpha=1) and 1 (model.alpha=1) are the same run"]),
        ('[axes]\nseed = [1, 2]\n"solve.seed" = [3]', ["`solve.seed` twice"]),
        ('[axes]\n"model.L" = [4, "four"]', ["Point 1 (model.L=four)", "model.L"]),
        ('[axes]\n"solve.tol" = [1e-4, -1.0]', ["Point 1", "solve.tol"]),
        ('[axes]\n"model.mu" = {start = 0, stop = 1}', ["either `num` (how many values) or `step`"]),
        ('[axes]\n"model.mu" = {start = 0, stop = 1, num = 3, step = 1}', ["either `num`"]),
        ('[axes]\n"model.mu" = {start = 0, num = 3, stopp = 1}', ["axes.model.mu.stopp", "did you mean 'stop'"]),
        ('[axes]\n"model.mu" = {start = 0, stop = 1, step = -1}', ["axes.model.mu.step"]),
        ('[axes]\n"model.mu" = {start = 0, stop = 1, num = 3, scale = "log"}', ["axes.model.mu.start", "> 0"]),
        ('[axes]\n"model.mu" = {start = 0, stop = 1, num = 3, scale = "lg"}', ["did you mean 'log'"]),
        ('[axes]\n"model.mu" = [1]\n[sweeps]\nmax_points = 3', ["`sweeps`", "did you mean 'sweep'"]),
        ('[axes]\n"model.mu" = [1]\n[execution]\nworker = 3', ["execution.worker", "did you mean 'workers'"]),
        ('[axes]\n"model.mu" = [1]\n[execution]\nworkers = 0', ["execution.workers"]),
        ('[axes]\n"model.mu" = [nan]', ["axes.model.mu[0]"]),
        ("", ["entry `axes`"]),
    ],
)  # fmt: skip
def test_refusals_name_the_entry(axes, words):
    refused(axes, *words)


def test_too_many_points_are_counted_before_they_are_made():
    axes = '[axes]\n"model.mu" = {start = 0, stop = 1, num = 1000}\n"model.alpha" = {start = 1, stop = 2, num = 1000}\n'
    error = refused(axes, "1000000 points", "`sweep.max_points` = 10000", "--yes")
    assert error.field == "sweep.max_points"
    small = '[axes]\n"model.mu" = [1, 2, 3]\n[sweep]\nmax_points = 2\n'
    refused(small, "3 points")
    assert len(plan(small, unlimited=True).points) == 3


# -- disorder ----------------------------------------------------------------------------------------------------------

ENSEMBLE = 'distribution = "uniform", per = "site", mean = 1.0, width = 0.5, realisations = 3, seed = 11'


def test_disorder_is_stored_as_numbers_and_stands_alone():
    sweep = plan(f'[axes]\n"model.mu" = {{{ENSEMBLE}}}')
    assert column(sweep, "realisation") == [0, 1, 2]
    for point in sweep.points:
        again = RunSpec.from_toml(point.spec.to_toml())
        assert again.run_id == point.run_id and len(again.model["mu"]) == 4
        assert all(0.75 <= x < 1.25 for x in again.model["mu"])
    drawn = [tuple(p.spec.model["mu"]) for p in sweep.points]
    assert len(set(drawn)) == 3
    assert drawn == [tuple(p.spec.model["mu"]) for p in plan(f'[axes]\n"model.mu" = {{{ENSEMBLE}}}').points]


def test_realisations_may_be_added_and_other_seeds_keys_and_realisations_are_independent():
    few, many = (plan(f'[axes]\n"model.mu" = {{{e}}}') for e in (ENSEMBLE, ENSEMBLE.replace("= 3", "= 5")))
    assert [p.run_id for p in many.points[:3]] == [p.run_id for p in few.points]
    other = plan(f'[axes]\n"model.mu" = {{{ENSEMBLE.replace("11", "12")}}}')
    both = plan(f'[[axes]]\n"model.mu" = {{{ENSEMBLE}}}\n"model.eps_x" = {{{ENSEMBLE}}}')
    assert not {p.run_id for p in few.points} & {p.run_id for p in other.points}
    assert len(both.points) == 3 and column(both, "model.mu.realisation") == column(both, "model.eps_x.realisation")
    assert all(p.spec.model["mu"] != p.spec.model["eps_x"] for p in both.points)


def test_a_longer_chain_begins_with_the_numbers_of_a_shorter_one():
    sweep = plan(f'[axes]\n"model.L" = [4, 7]\n"model.mu" = {{{ENSEMBLE}}}')
    short, long = sweep.points[1].spec.model["mu"], sweep.points[4].spec.model["mu"]
    assert (len(short), len(long)) == (4, 7) and long[:4] == short


def test_the_strength_of_disorder_is_an_axis_of_its_own_with_common_random_numbers():
    sweep = plan(f'[axes]\n"model.mu.width" = [0.5, 1.0]\n"model.mu" = {{{ENSEMBLE}}}')
    assert [tuple(p.coordinates.values()) for p in sweep.points] == list(itertools.product([0.5, 1.0], range(3)))
    weak, strong = (np.array(sweep.points[k].spec.model["mu"]) for k in (1, 4))
    assert np.allclose(2 * (weak - 1.0), strong - 1.0, rtol=0, atol=1e-15)


def test_distributions_have_the_moments_they_claim():
    """Means within five standard errors, at fixed seeds."""
    n = 40_000

    def drawn(text):
        table = tomllib.loads(f"e = {{{text}, per = {n}, realisations = 1, seed = 3}}")["e"]
        return np.array(Ensemble.from_table("model.mu", table, "axes.model.mu").draw(0, n))

    uniform = drawn('distribution = "uniform", mean = 2, width = 3')
    assert abs(uniform.mean() - 2) < 5 * 3 / math.sqrt(12 * n) and 0.5 <= uniform.min() < uniform.max() < 3.5
    assert abs(uniform.var() - 9 / 12) < 5 * 9 * math.sqrt((1 / 80 - 1 / 144) / n)
    normal = drawn('distribution = "normal", mean = -1, width = 0.5')
    assert abs(normal.mean() + 1) < 5 * 0.5 / math.sqrt(n) and abs(normal.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / n)
    choice = drawn('distribution = "choice", values = [-1, 1, 4], probabilities = [0.5, 0.3, 0.2]')
    for value, p in zip((-1, 1, 4), (0.5, 0.3, 0.2), strict=True):
        assert abs(np.mean(choice == value) - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_bonds_of_a_ring_and_of_a_chain():
    text = f'[axes]\n"model.periodic" = [true, false]\n"model.J" = {{{ENSEMBLE.replace("site", "bond")}}}'
    assert [len(p.spec.model["J"]) for p in plan(text).points] == [4, 4, 4, 3, 3, 3]
    for point in plan(text).points:
        point.spec.build_model()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("uniform", "unifrom"), ["axes.model.mu.distribution", "did you mean 'uniform'"]),
        (("site", "sites"), ["axes.model.mu.per", "did you mean 'site'"]),
        (("realisations = 3", "realizations = 3"), ["did you mean 'realisations'"]),
        (("realisations = 3, ", ""), ["axes.model.mu.realisations"]),
        (("realisations = 3", "realisations = 0"), ["axes.model.mu.realisations"]),
        (("width = 0.5", "width = -0.5"), ["axes.model.mu.width"]),
        (("width = 0.5", "width = 0.0"), ["the same run"]),
        (('"uniform"', '"choice"'), ["axes.model.mu.mean", "does not belong"]),
        (('per = "site", ', ""), ["axes.model.mu.per"]),
    ],
)
def test_wrong_ensembles(change, words):
    refused(f'[axes]\n"model.mu" = {{{ENSEMBLE.replace(*change)}}}', *words)


# -- warm starts -------------------------------------------------------------------------------------------------------

TEBD = BASE + '[base.method]\nname = "TEBD"\n'


def test_every_point_depends_on_its_neighbour_along_the_key():
    axes = '[axes]\nseed = [1, 2]\n"model.alpha" = [1, 2, 3]\n"model.mu" = [0.1, 0.2]\n'
    sweep = plan(axes + '[warm_start]\nalong = "model.alpha"', TEBD)
    by_id = {p.run_id: p for p in sweep.points}
    for point in sweep.points:
        if point.coordinates["model.alpha"] == 1:
            assert point.depends_on is None
        else:
            expected = {**point.coordinates, "model.alpha": point.coordinates["model.alpha"] - 1}
            assert by_id[point.depends_on].coordinates == expected and by_id[point.depends_on].index < point.index
    cold = plan(axes, TEBD)
    assert cold.sweep_id == sweep.sweep_id and {p.depends_on for p in cold.points} == {None}


@pytest.mark.parametrize(
    ("axes", "along", "base", "words"),
    [
        ('"model.L" = [4, 6]', "model.L", TEBD, ["different lattices"]),
        ('"model.periodic" = [true, false]', "model.periodic", TEBD, ["different lattices"]),
        ('"model.alpha" = [1, 2]', "model.alfa", TEBD, ["did you mean 'model.alpha'"]),
        ('"model.alpha" = [1, 2]', "model.alpha", TEBD.replace("TEBD", "ExactDiag"), ["ExactDiag", "TEBD"]),
        ('"model.alpha" = [1, 2]', "model.alpha", TEBD.replace("TEBD", "ClusterMeanField"), ["depends on it"]),
        ('"model.alpha" = [1, 2]', "model.alpha", TEBD + '[base.solve]\ninitial = "up"\n', ["solve.initial"]),
        (f'"model.mu" = {{{ENSEMBLE}}}', "model.mu", TEBD, ["no neighbours"]),
    ],
)
def test_impossible_warm_starts(axes, along, base, words):
    refused(f'[axes]\n{axes}\n[warm_start]\nalong = "{along}"', *words, base=base)


# -- what comes first --------------------------------------------------------------------------------------------------


def known(points, seconds=(), sizes=()):
    return {
        p.index: PointEstimate(p.index, "TEBD", dict(sizes).get(p.index, 1.0), dict(seconds).get(p.index, 1.0))
        for p in points
    }


def test_the_longest_point_comes_first_and_neighbours_before_what_follows_them():
    points = plan('[axes]\n"model.alpha" = [1, 2, 3, 4]').points
    schedule = Schedule(points, known(points, [(2, 9.0), (1, 5.0)]))
    assert [schedule.next().index for _ in range(4)] == [2, 1, 0, 3] and schedule.next() is None

    axes = '[axes]\n"model.mu" = [1, 2]\n"model.alpha" = [1, 2, 3]\n[warm_start]\nalong = "model.alpha"'
    points = plan(axes, TEBD).points
    schedule = Schedule(points, known(points, [(5, 50.0)]))
    first, second = schedule.next(), schedule.next()
    assert (first.index, second.index) == (3, 0)  # the chain with the long point at its end
    assert schedule.next() is None and len(schedule) == 4
    schedule.ended(first)
    assert schedule.next().index == 4
    schedule.ended(second)
    assert schedule.next().index == 1


def test_a_neighbour_that_is_not_to_be_done_is_not_waited_for():
    points = plan('[axes]\n"model.alpha" = [1, 2, 3]\n[warm_start]\nalong = "model.alpha"', TEBD).points
    schedule = Schedule(points[1:], {})
    assert schedule.next().index == 1 and schedule.next() is None
    schedule.again(points[1])
    assert schedule.next().index == 1


def test_memory_is_shared_and_a_point_larger_than_all_of_it_goes_alone():
    points = plan('[axes]\n"model.alpha" = [1, 2, 3]').points
    schedule = Schedule(points, known(points, [(0, 9.0)], [(0, 99.0), (1, 6.0), (2, 6.0)]), memory=10.0)
    assert schedule.next().index == 0 and schedule.next() is None
    schedule.ended(points[0])
    assert schedule.next().index == 1 and schedule.next() is None
    schedule.ended(points[1])
    assert schedule.next().index == 2


def test_estimates_do_not_raise_and_are_shared_among_alike_points():
    axes = '[axes]\n"model.L" = [4, 40]\n"model.kappa" = [-1.5, 0.5]\nseed = [1, 2]'
    points = plan(axes, BASE + '[base.method]\nname = "ExactDiag"\n').points
    found = [estimate_point(p) for p in points]
    assert [e.refused for e in found] == [True, True, False, False, True, True, True, True]
    assert "kappa" in found[0].remark and found[2].memory_bytes > 0
    alike = estimate_alike(points)
    assert list(alike) == list(range(8)) and all(e.index == k for k, e in alike.items())
    assert json.dumps(alike[4].remark)
