"""Mean flows and noise from exact duals on closed sets of operators.

With J_i = sum_m q_mi rate_m L_m^+ L_m, L^dag(Y_i) = J_i - <J_i> 1 and the adjoint counting map
J_i^dag(A) = sum_m q_mi rate_m L_m^+ A L_m, second-order perturbation theory of the tilted Lindbladian gives

    K_ij = <J_ij> - < J_j^dag(Y_i) > - < J_i^dag(Y_j) > + <J_j><Y_i> + <J_i><Y_j>,
    J_ij = sum_m q_mi q_mj rate_m L_m^+ L_m .

Y_i is exact where the equations of motion of J_i close.  J_j^dag(Y_i) holds longer products: for densities of an
exclusion process pairs of densities, which close; for an XX chain products of four fermions.  The state must know
these: a state of closed equations follows them as far as they close, a matrix product contracts them.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..dual.base import Dual
from ..dual.hierarchy import QUICK, SHARE, HierarchyDual
from ..errors import NotSupportedError
from ..methods.hierarchy import HierarchyState
from ..model import Lindbladian
from ..operators import OpSum
from ..states import MPOState, State
from ..superoperator.heisenberg import HeisenbergAction
from ..superoperator.mpo import lindbladian_mpo
from .fields import counted_rates
from .network import _recycling_terms

__all__ = ["HierarchyCounting", "exact_counting"]

# |L rho|/|rho| per generator below which a matrix product counts as the steady state.
SETTLED = 1e-10
SAFETY = 10.0
_EPS = float(np.finfo(float).eps)


class HierarchyCounting:
    """Flows and noise of a state from exact duals.

    Parameters
    ----------
    model
        The Lindbladian.
    table
        Quanta moved by every active jump, shape (jumps, n).
    state
        Its steady state: one of closed equations, or a matrix product.

    Raises
    ------
    NotSupportedError
        If the equations of motion of the flows do not close.
    """

    def __init__(self, model: Lindbladian, table: np.ndarray, state: State) -> None:
        self.model, self.table, self.state = model, table, state
        self.dual = (
            HierarchyDual(model, state, state.cap)
            if isinstance(state, HierarchyState)
            else HierarchyDual(model, state, work=QUICK, share=SHARE)
        )
        self.residual = 0.0
        self._first = [self._solved(i) for i in range(self.columns)]

    @property
    def columns(self) -> int:
        """Number of counted quantities n."""
        return int(self.table.shape[1])

    def activity(self, i: int, j: int) -> OpSum:
        """Return J_ij = sum_m q_mi q_mj rate_m L_m^+ L_m."""
        return counted_rates(self.model, self.table[:, i] * self.table[:, j])

    def scale(self, i: int) -> float:
        """Return <J_ii>, the noise of independent jumps at the same rates."""
        return float(self.state.expect(self.activity(i, i)).real)

    def _solved(self, i: int) -> tuple[float, Dual]:
        """Return <J_i> in the state, and the dual of J_i."""
        operator = counted_rates(self.model, self.table[:, i])
        value = float(self.state.expect(operator).real)
        dual = self.dual.solve(operator, value, 0.0)
        self.residual = max(self.residual, dual.residual)
        return value, dual

    # -- answers -------------------------------------------------------------------------------------------------------

    def flows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return exact flows and estimates of their rounding errors, shapes (n,)."""
        return np.array([d.corrected for _, d in self._first]), np.array([d.error for _, d in self._first])

    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the noise and estimates of its errors, shapes (n, n).

        Raises
        ------
        NotSupportedError
            If the state does not know the products of which <J_j^dag(Y_i)> consists.
        """
        n = self.columns
        values, errors = np.zeros((n, n)), np.zeros((n, n))
        cross = [[self._cross(i, j) for j in range(n)] for i in range(n)]
        for i in range(n):
            for j in range(n):
                own = self.state.expect(self.activity(i, j)).real
                values[i, j] = own - cross[i][j][0] - cross[j][i][0]
                errors[i, j] = cross[i][j][1] + cross[j][i][1] + _EPS * abs(own)
        return values, errors

    def _cross(self, i: int, j: int) -> tuple[float, float]:
        """Return <J_j^dag(Y_i)> - <J_j><Y_i> = <J_j^dag(Y_i - <Y_i>)>, up to <Y_i> d<J_j>, and an error estimate."""
        y = self._first[i][1].y
        if y is None or not np.any(self.table[:, j]):
            return 0.0, 0.0
        flow = self._first[j][1].corrected
        mapped, mean, size = 0.0, 0.0, 0.0
        for strings, c in y.parts:
            values = self._mapped(j, strings)
            plain = self._plain(strings)
            mapped += float(np.sum(c.astype(np.longdouble) * (values - flow * plain)))
            mean += float(c @ plain)
            size += float(np.linalg.norm(c * (np.abs(values) + abs(flow * plain))))
        wrong = self._first[i][1].error + self._first[j][1].error
        return mapped, SAFETY * (_EPS * size + self._state_error() * (1.0 + size) + wrong * (1.0 + abs(mean)))

    def _state_error(self) -> float:
        """Return what is known of the error of expectation values in the state: flows are known exactly otherwise."""
        if isinstance(self.state, HierarchyState):
            return self.state.error
        return max((abs(value - dual.corrected) for value, dual in self._first), default=0.0) + _EPS

    def _plain(self, strings: np.ndarray) -> np.ndarray:
        names = self.dual.sets.action.hashes(strings)
        return self.dual.values.of(names, lambda which: strings[which])

    def _mapped(self, j: int, strings: np.ndarray) -> np.ndarray:
        """Return <J_j^dag(A)> of strings, shape (n,)."""
        return self.dual.values.rates(strings, self._maps[j])

    @cached_property
    def _maps(self) -> list[HeisenbergAction]:
        return [
            HeisenbergAction.of_terms(self.model, _recycling_terms(self.model, self.table[:, j]))
            for j in range(self.columns)
        ]


def exact_counting(model: Lindbladian, table: np.ndarray, state: State) -> HierarchyCounting | None:
    """Return exact duals for a matrix product that solves the stationary equation to rounding, or None.

    None also where the equations of motion of the flows do not close.
    """
    if not isinstance(state, MPOState):
        return None
    operator = lindbladian_mpo(model, state.order)
    if not operator.residual(state) <= SETTLED * operator.typical_norm:
        return None
    try:
        found = HierarchyCounting(model, table, state)
    except NotSupportedError:
        return None
    return found if all(d.trusted for _, d in found._first) else None
