"""The statistics of quanta exchanged with baths, with one interface for every backend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConvergenceError, InputError, NotSupportedError
from ..model import Lindbladian, checked_model
from ..result import Result
from ..solve.inputs import checked_tol
from .backends import Counter, counter_for
from .fields import charge_table, checked_fields, checked_order, counted_baths, counted_weights
from .gaussian import GaussianCounting, OutsideDomain
from .hierarchy import HierarchyCounting
from .network import NetworkCounting
from .scattering import scattering_theta

__all__ = [
    "Statistics",
    "cumulants",
    "fano_factor",
    "generating_function",
    "mean_flows",
    "noise_matrix",
    "scattering_generating_function",
    "statistics",
]

TOL = 1e-4
# Backends that give two cumulants with estimates of their errors.
_WITH_ERRORS = (NetworkCounting, HierarchyCounting)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Cumulants of a counted current and what is known about their errors.

    Attributes
    ----------
    counted
        Label of every counted bath with its weight.
    cumulants
        c_1 .. c_order per unit time, shape (order,); NaN where an adjoint problem could not be solved.
    errors
        Estimates of their absolute errors, same shape; None where the backend is exact up to rounding.
    residual
        Largest relative residual of an adjoint problem; None where there was none.
    method, reason
        Which method counted, and why it was chosen (empty if it was named).
    tol, scale
        Errors up to ``tol * scale`` count as converged; the scale is the noise of independent jumps at the same rates.
    """

    counted: Mapping[str, float]
    cumulants: np.ndarray
    errors: np.ndarray | None = None
    residual: float | None = None
    method: str = ""
    reason: str = ""
    tol: float = TOL
    scale: float = 1.0

    @property
    def converged(self) -> bool:
        """Whether every cumulant is known within the tolerance."""
        if not np.all(np.isfinite(self.cumulants)):
            return False
        return self.errors is None or bool(np.all(self.errors <= self.tol * self.scale))


def statistics(
    model: Lindbladian,
    counted: Any,
    order: int = 2,
    method: Any = None,
    *,
    tol: float = TOL,
    result: Result | None = None,
    max_bond: int | None = None,
) -> Statistics:
    """Return cumulants with error estimates, converged or not; arguments as in :func:`cumulants`.

    Examples
    --------
    >>> import mpo_transport as mt
    >>> chain = mt.models.boundary_driven_xx(L=3, t=1.0, G_L=1.0, f_L=0.8, G_R=2.0, f_R=0.1, dephasing=0.2)
    >>> found = statistics(chain, "right", method=mt.ImplicitSweeps())
    >>> found.converged, found.method
    (True, 'ImplicitSweeps')
    """
    model, order, tol = checked_model(model), checked_order(order), checked_tol(tol)
    weights = counted_weights(model, counted)
    counter = counter_for(model, charge_table(model, [weights]), method, tol, result, max_bond)
    about: dict[str, Any] = {"method": counter.name, "reason": counter.reason, "tol": tol}
    if not isinstance(counter.backend, _WITH_ERRORS):
        return Statistics(weights, counter.backend.cumulants(order) + 0.0, **about)
    if order > 2:
        raise NotSupportedError(
            f"Matrix-product steady states give two cumulants, not {order}; use ExactDiag() or a quadratic model for "
            "higher ones.",
            field="order",
        )
    backend = counter.backend
    values, errors = backend.flows()
    if order == 2:
        noise = backend.noise()
        values, errors = np.append(values, noise[0]), np.append(errors, noise[1])
    return Statistics(weights, values, errors, backend.residual, scale=backend.scale(0), **about)


def cumulants(
    model: Lindbladian,
    counted: Any,
    order: int = 2,
    method: Any = None,
    *,
    tol: float = TOL,
    result: Result | None = None,
    max_bond: int | None = None,
) -> np.ndarray:
    """Return the cumulants per unit time of the quanta counted into a bath, shape (order,).

        c_n = lim (1/t) << K^n >>,      K = sum_b w_b K_b,   K_b counts +1 per quantum into the bath

    so c_1 is the mean flow, c_2 the zero-frequency noise.  They are the derivatives (-1)^n d^n theta/ds^n of
    :func:`generating_function` at zero.

    Parameters
    ----------
    model
        A model whose jumps carry labels and charges.
    counted
        Label of a bath, a list of labels (counted together), or a mapping from labels to weights such as energies.
    order
        Number of cumulants, 1 .. 12 (matrix products: 1 or 2).
    method
        ``Gaussian()``: quadratic models, any size; ``ExactDiag()``: the tilted Lindbladian; matrix-product methods such
        as ``TEBD()``: adjoint problems of their steady state.  None: the first of these that fits.
    tol
        Largest claimed error of a matrix-product cumulant, in units of the noise that independent jumps of the same
        rates would have.
    result
        A steady state found before; replaces ``method``.
    max_bond
        Largest bond dimension of the adjoint problems of a matrix-product state; default: twice that of the state,
        32 .. 64.

    Raises
    ------
    InputError
        For an unknown bath or a bad argument; ``NotSupportedError`` for a jump without a definite charge, an
        unstable drift, or a method that cannot count.
    DegenerateSteadyStateError
        If the steady state is not unique.
    ConvergenceError
        If an error estimate exceeds ``tol``; :func:`statistics` returns such numbers.

    References
    ----------
    M. Esposito, U. Harbola, S. Mukamel, Rev. Mod. Phys. 81, 1665 (2009), section IV.

    Examples
    --------
    A spin between an emitter and an absorber of equal rates is a two-step process: half of the Poisson noise.

    >>> from mpo_transport import Chain, Jump, Lindbladian, SpinHalf, op
    >>> jumps = [Jump(op("Sp", 0), label="source", charge=-1), Jump(op("Sm", 0), label="drain", charge=1)]
    >>> cumulants(Lindbladian(Chain(1, SpinHalf()), None, jumps), "drain", order=3).round(12).tolist()
    [0.5, 0.25, 0.125]
    """
    found = statistics(model, counted, order, method, tol=tol, result=result, max_bond=max_bond)
    if not found.converged:
        raise ConvergenceError(
            f"Cumulants {found.cumulants} have estimated errors {found.errors}, more than {found.tol:g} times "
            f"{found.scale:.6g}. Use a larger max_bond, or counting.statistics(...) to see them anyway.",
            result=found,
        )
    return found.cumulants


def fano_factor(model: Lindbladian, counted: Any, method: Any = None, **options: Any) -> float:
    """Return the noise over the modulus of the mean flow, c_2 / |c_1|; infinite for a vanishing flow.

    Options as in :func:`cumulants`.

    Examples
    --------
    >>> from mpo_transport import models
    >>> round(fano_factor(models.boundary_driven_xx(L=20, t=1.0, G_L=2.0, f_L=1.0, G_R=2.0, f_R=0.0), "right"), 12)
    0.125
    """
    first, second = cumulants(model, counted, 2, method, **options)
    return float(second / abs(first)) if first else math.inf


def mean_flows(
    model: Lindbladian,
    baths: Iterable[str] | None = None,
    method: Any = None,
    *,
    tol: float = TOL,
    result: Result | None = None,
    max_bond: int | None = None,
) -> np.ndarray:
    """Return the mean number of quanta per unit time into each bath, shape (n,).

    Baths in the order of :func:`~mpo_transport.counting.counted_baths` unless listed; other arguments as in
    :func:`cumulants`.

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=50, t=1.0, G_L=2.0, f_L=1.0, G_R=2.0, f_R=0.0)
    >>> mean_flows(chain).round(10).tolist()
    [-0.5, 0.5]
    """
    backend, tol = _several(model, baths, method, tol, result, max_bond)
    if not isinstance(backend.backend, _WITH_ERRORS):
        return backend.backend.flows()
    values, errors = backend.backend.flows()
    _check_errors(backend.backend, values, errors, tol)
    return values


def noise_matrix(
    model: Lindbladian,
    baths: Iterable[str] | None = None,
    method: Any = None,
    *,
    tol: float = TOL,
    result: Result | None = None,
    max_bond: int | None = None,
) -> np.ndarray:
    """Return the zero-frequency noise K_ij = d^2 theta/ds_i ds_j of the flows into the baths, shape (n, n).

    Its rows sum to zero where the baths exchange a conserved number of quanta.  Baths in the order of
    :func:`~mpo_transport.counting.counted_baths` unless listed; other arguments as in :func:`cumulants`.

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=50, t=1.0, G_L=2.0, f_L=1.0, G_R=2.0, f_R=0.0)
    >>> noise_matrix(chain).round(10).tolist()
    [[0.0625, -0.0625], [-0.0625, 0.0625]]
    """
    backend, tol = _several(model, baths, method, tol, result, max_bond)
    if not isinstance(backend.backend, _WITH_ERRORS):
        return backend.backend.noise()
    values, errors = backend.backend.noise()
    _check_errors(backend.backend, values, errors, tol)
    return values


def _several(model: Any, baths: Any, method: Any, tol: Any, result: Any, max_bond: Any) -> tuple[Counter, float]:
    model, tol = checked_model(model), checked_tol(tol)
    labels = list(counted_baths(model)) if baths is None else list(counted_weights(model, baths, "baths"))
    if not labels:
        raise NotSupportedError(
            f"The model {model.name!r} has no bath to be counted: give its jumps labels and charges.", field="model"
        )
    table = charge_table(model, [{label: 1.0} for label in labels])
    return counter_for(model, table, method, tol, result, max_bond), tol


def _check_errors(
    backend: NetworkCounting | HierarchyCounting, values: np.ndarray, errors: np.ndarray, tol: float
) -> None:
    scale = max(backend.scale(k) for k in range(backend.columns))
    if not np.all(errors <= tol * scale):
        raise ConvergenceError(
            f"Estimated errors {errors.tolist()} of {values.tolist()} exceed {tol:g} times {scale:.6g}; use a larger "
            "max_bond."
        )


def generating_function(
    model: Lindbladian, fields: Mapping[str, complex], method: Any = None, *, tol: float = TOL
) -> Any:
    """Return theta(s) = lim (1/t) ln < exp( -sum_b s_b K_b ) >, K_b the quanta counted into bath b.

    It is the eigenvalue with the largest real part of the tilted Lindbladian

        L_s rho = L rho + sum_m ( e^{-s_b q_m} - 1 ) rate_m L_m rho L_m^+

    so that -d theta/ds_b at zero is the mean flow into bath b.  For bosons theta exists in a convex region only.
    (Quanta stored in the system at the beginning and the end, which a rate per time does not see, put no further bound:
    where the number is conserved, theta does not change when all fields are shifted together.)

    Parameters
    ----------
    model
        A model whose jumps carry labels and charges.
    fields
        Mapping from labels of baths to s, real or complex; baths left out have s = 0.
    method
        ``Gaussian()`` or ``ExactDiag()``; None: chosen.

    Returns
    -------
    float or complex
        A float for real fields; for complex fields the analytic continuation from their real parts.

    Raises
    ------
    InputError
        (field ``fields``) outside the domain, with the edge found; for an unknown bath.
    NotSupportedError
        For a matrix-product method.

    References
    ----------
    H. Touchette, Phys. Rep. 478, 1 (2009); J. P. Garrahan, I. Lesanovsky, Phys. Rev. Lett. 104, 160601 (2010).

    Examples
    --------
    A mode between a bath of occupation 1 and an empty one, theta = 1 - 1/2 sqrt(8 - 4 e^{-s}) for s > -ln 2:

    >>> from mpo_transport import Boson, Chain, Jump, Lindbladian, op
    >>> hot = [Jump(op("A", 0), rate=2, label="hot", charge=1), Jump(op("Adag", 0), rate=1, label="hot", charge=-1)]
    >>> mode = Lindbladian(Chain(1, Boson(math.inf)), None, [*hot, Jump(op("A", 0), rate=1, label="cold", charge=1)])
    >>> abs(generating_function(mode, {"cold": 0.3}) - (1 - math.sqrt(8 - 4 * math.exp(-0.3)) / 2)) < 1e-14
    True
    """
    model, tol = checked_model(model), checked_tol(tol)
    given = checked_fields(model, fields)
    table = charge_table(model, [{label: 1.0} for label in given])
    counter = counter_for_function(model, table, method, tol)
    values = np.array(list(given.values()))
    real = not np.any(values.imag)
    try:
        theta = counter.backend.theta(values.real if real else values)  # type: ignore[union-attr]
    except OutsideDomain as outside:
        raise InputError(_domain_sentence(counter.backend, given, outside.edge), field="fields") from None
    return float(theta.real) if real else complex(theta)


def counter_for_function(model: Lindbladian, table: np.ndarray, method: Any, tol: float) -> Counter:
    """Return a backend that knows theta(s)."""
    if method is not None and type(method).__name__ not in ("Gaussian", "ExactDiag"):
        raise NotSupportedError(
            f"Generating functions come from Gaussian() or ExactDiag(), not from {type(method).__name__}; matrix "
            "products give the first two cumulants.",
            field="method",
        )
    counter = counter_for(model, table, method, tol)
    if isinstance(counter.backend, _WITH_ERRORS):
        raise NotSupportedError(
            "The model is neither quadratic nor small enough for exact diagonalisation: only its first two cumulants "
            "are offered.",
            field="model",
        )
    return counter


def _domain_sentence(backend: Any, given: Mapping[str, complex], edge: float) -> str:
    assert isinstance(backend, GaussianCounting)
    direction = np.array([s.real for s in given.values()])
    if len(given) == 1:
        label, s = next(iter(given.items()))
        ends = [backend.edge(np.ones(1) * sign) * sign for sign in (-1.0, 1.0)]
        return (
            f"Argument `fields`: {label} = {s.real:.6g} lies outside the domain of theta, which is "
            f"{ends[0]:.6g} < {label} < {ends[1]:.6g} with all other fields zero."
        )
    listed = ", ".join(f"{label} = {s.real:.6g}" for label, s in given.items())
    reach = backend.edge(direction)
    return (
        f"Argument `fields`: {listed} lies outside the domain of theta, which along this direction ends at "
        f"{min(edge, reach):.6g} times these fields."
    )


def scattering_generating_function(
    model: Lindbladian, fields: Mapping[str, float], *, accuracy: float = 1e-11
) -> float:
    """Return theta(s) of a passive quadratic model from its scattering matrix, an independent way.

        theta(s) = -+ int dw/2pi ln det[ 1 -+ N ( e^s S^+ e^{-s} S - 1 ) ]          (bosons -, fermions +)

    with S = 1 - W (-i w - A)^{-1} W^+ and the occupations N of the channels; see :mod:`.scattering`.

    Parameters
    ----------
    model
        Quadratic, number conserving; every gain is exceeded by the loss of its bath (bosons).
    fields
        Mapping from labels to real s.
    accuracy
        Of the integral over frequencies.

    Raises
    ------
    NotSupportedError
        If the model is not passive.
    InputError
        Outside the domain of theta.

    Examples
    --------
    >>> from mpo_transport import models
    >>> chain = models.boundary_driven_xx(L=10, t=1.0, G_L=1.0, f_L=0.8, G_R=1.0, f_R=0.2)
    >>> [round(f(chain, {"left": 0.5}), 10) for f in (scattering_generating_function, generating_function)]
    [0.1401945675, 0.1401945675]
    """
    model = checked_model(model)
    given = checked_fields(model, fields)
    values = np.array(list(given.values()))
    if np.any(values.imag):
        raise InputError("Argument `fields` must be real for the scattering form.", field="fields")
    table = charge_table(model, [{label: 1.0} for label in given])
    return scattering_theta(model, table, values.real, accuracy)
