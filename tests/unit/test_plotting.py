"""Pictures: written, labelled with units, safe colours, and marked when a result is not converged."""

import dataclasses

import numpy as np
import pytest

from mpo_transport import plotting
from mpo_transport.errors import FileFormatError, InputError
from mpo_transport.methods import ExactDiag
from mpo_transport.models import persistent_current
from mpo_transport.observables import current, profile
from mpo_transport.result import History, Measurement, Status
from mpo_transport.solve import evolve, steady_state


@pytest.fixture(scope="module")
def result():
    return steady_state(persistent_current(4, 2.0, 1.0, periodic=False), method=ExactDiag(), progress=False)


def texts(figure):
    """Every text on a figure."""
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_three_panels_with_the_values_of_the_result(result):
    figure = plotting.plot_result(result)
    flow, magnetisation, history = figure.axes
    drawn = flow.lines[0].get_xydata()
    assert drawn[:, 0] == pytest.approx([0.5, 1.5, 2.5])
    assert drawn[:, 1] == pytest.approx(result.expect(current(result.model)))
    drawn = magnetisation.lines[0].get_xydata()
    assert drawn[:, 0] == pytest.approx([0, 1, 2, 3])
    assert drawn[:, 1] == pytest.approx(result.expect(profile(result.model, "Z")))
    assert "(rate)" in flow.get_ylabel() and "eta" in flow.get_ylabel()
    assert magnetisation.get_xlabel() == "site"
    assert history.get_title() == "convergence"
    assert "alpha = 2" in figure.get_suptitle() and "mu" not in figure.get_suptitle()  # mu has its default


def test_only_an_unconverged_result_carries_the_watermark(result):
    assert not any("NOT CONVERGED" in t for t in texts(plotting.plot_result(result)))
    for status in Status:
        if status is not Status.CONVERGED:
            marked = texts(plotting.plot_result(dataclasses.replace(result, status=status)))
            assert any("NOT CONVERGED" in t for t in marked)
            assert status is Status.NOT_CONVERGED or any(status.value.replace("_", " ") in t for t in marked)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_formats(result, tmp_path, suffix, start):
    path = tmp_path / f"figure{suffix}"
    plotting.plot_result(result, path)
    assert path.read_bytes().startswith(start) and path.stat().st_size > 5000


def test_the_file_of_a_run_is_drawn_like_the_run(result, tmp_path):
    result.save(tmp_path / "run.h5")
    assert texts(plotting.plot_result(tmp_path / "run.h5")) == texts(plotting.plot_result(result))


def test_bad_input(result, tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        plotting.plot_result(result, tmp_path / "figure.gif")
    with pytest.raises(InputError, match="Cannot write"):
        plotting.plot_result(result, tmp_path / "missing" / "figure.png")
    with pytest.raises(InputError, match="source"):
        plotting.plot_result(3)
    (tmp_path / "text.h5").write_text("not a run")
    with pytest.raises(FileFormatError):
        plotting.plot_result(tmp_path / "text.h5")


def test_evolution_as_curves_and_as_a_map():
    for L, kind in ((3, "lines"), (10, "collections")):
        model = persistent_current(L, 2.0, 1.0, periodic=False) if L == 3 else None
        if model is not None:
            figure = plotting.plot_result(evolve(model, "down", [0.0, 0.1, 0.2], [profile(model, "Z")], progress=False))
            assert len(figure.axes[0].lines) == 3
        else:
            base = persistent_current(3, 2.0, 1.0, periodic=False)
            short = evolve(base, "down", [0.0, 0.1, 0.2], [profile(base, "Z")], progress=False)
            wide = Measurement("profile_Z", np.linspace(-1, 1, 30).reshape(3, 10), None, "site", tuple(range(10)))
            figure = plotting.plot_result(dataclasses.replace(short, observables={"profile_Z": wide}))
            assert figure.axes[0].collections and len(figure.axes) == 2
        assert "time" in figure.axes[0].get_xlabel() and kind


def test_closing_bond_stands_at_the_end_of_the_ring():
    _, axes = plotting.new_figure()
    plotting.draw_profile(axes[0, 0], Measurement("I", np.ones(3), 0.1, "bond", ((0, 1), (1, 2), (2, 0)), "rate"))
    assert axes[0, 0].lines[0].get_xdata() == pytest.approx([0.5, 1.5, 2.5])
    low, high = axes[0, 0].get_ylim()
    assert low < 0.9 and high > 1.1  # the error bars are inside


def test_rounding_noise_does_not_fill_the_panel():
    _, axes = plotting.new_figure()
    noisy = 0.5 + 1e-13 * np.arange(5)
    plotting.draw_profile(axes[0, 0], Measurement("I", noisy, None, "site", tuple(range(5))))
    assert np.ptp(axes[0, 0].get_ylim()) > 1e-2


def test_map_scales():
    x, y = np.arange(3.0), np.arange(2.0)
    signed = np.array([[-0.5, 0.0, 0.2], [0.1, np.nan, 0.3]])
    for values, limits in ((signed, (-0.5, 0.5)), (np.abs(signed), (0.0, 0.5))):
        _, axes = plotting.new_figure()
        plotting.draw_map(axes[0, 0], x, y, values, xlabel="x", ylabel="y", label="value")
        assert axes[0, 0].collections[0].get_clim() == pytest.approx(limits)
    with pytest.raises(InputError, match="shape"):
        plotting.draw_map(axes[0, 0], x, y, signed.T, xlabel="x", ylabel="y", label="value")


def test_diverging_colours_are_told_apart_without_red_and_green():
    """Both ends of the signed scale differ in blue against yellow, the channel most colour deficiencies keep."""
    colours = plotting._diverging()(np.array([0.15, 0.5, 0.85]))
    assert colours[0, 2] - colours[0, 0] > 0.3 and colours[2, 0] - colours[2, 2] > 0.3
    assert colours[1, :3].min() > 0.9


def test_history_on_a_logarithmic_scale_with_the_tolerance():
    _, axes = plotting.new_figure()
    history = History({"time": [1, 2, 3], "error_estimate": [1e-2, np.nan, 1e-5], "residual": [1e-1, 1e-2, 0.0]})
    plotting.draw_history(axes[0, 0], history, tol=1e-4)
    assert axes[0, 0].get_yscale() == "log" and "time" in axes[0, 0].get_xlabel()
    assert [len(line.get_xdata()) for line in axes[0, 0].lines[:2]] == [2, 2]
    assert "tol = 0.0001" in [t.get_text() for t in axes[0, 0].get_legend().get_texts()]


def test_dashed_curves_share_the_colour_of_the_solid_one():
    _, axes = plotting.new_figure()
    x = np.arange(3.0)
    plotting.draw_curves(
        axes[0, 0], x, {"a": x, "a approx": x, "b": x}, xlabel="x", ylabel="y", zero=True, dashed=["a approx"]
    )
    a, approx, b, zero = axes[0, 0].lines
    assert a.get_color() == approx.get_color() != b.get_color()
    assert approx.get_linestyle() == "--" and zero.get_ydata() == [0.0, 0.0]
