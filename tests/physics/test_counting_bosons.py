"""Mean and noise of a boson chain of six sites by matrix products, against a sparse solution written out here.

The sector of equal charge of ket and bra has 73789 operators: too many for factors, but GMRES converges in a few steps
when the part without jumps, rho -> K rho + rho K^+, is inverted exactly.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla

import mpo_transport as mt
from mpo_transport import counting
from mpo_transport.superoperator import operator_matrix


def sparse_mean_and_noise(model, bath):
    """Mean and noise of the quanta into a bath, from (L + u tr) x = b on the sector."""
    d, size = int(model.lattice.dims[0]), int(np.prod(model.lattice.dims))
    number = np.array([sum(s) for s in itertools.product(range(d), repeat=model.L)])
    ket, bra = np.nonzero(number[:, None] == number[None, :])
    inside = ket * size + bra
    one = sp.identity(size, format="csr")

    def restricted(left, right):
        return sp.kron(left, right.conj(), format="csr")[inside][:, inside]

    effective = -1j * sp.csr_matrix(operator_matrix(model.lattice, model.hamiltonian))
    recycled = []
    for jump in model.jumps:
        matrix = np.sqrt(jump.rate) * sp.csr_matrix(operator_matrix(model.lattice, jump.operator))
        effective = effective - matrix.conj().T @ matrix / 2
        recycled.append((restricted(matrix, matrix), jump))
    generator = restricted(effective, one) + restricted(one, effective) + sum(m for m, _ in recycled)
    values, vectors = np.linalg.eig(effective.toarray())
    inverse, denominators = np.linalg.inv(vectors), values[:, None] + values.conj()[None, :]
    trace = (ket == bra).astype(float)
    first = np.zeros(len(inside))
    first[0] = 1.0

    def without_jumps(v):
        x = np.zeros((size, size), dtype=complex)
        x[ket, bra] = v
        x = vectors @ ((inverse @ x @ inverse.conj().T) / denominators) @ vectors.conj().T
        return x[ket, bra]

    shape = generator.shape
    shifted = sla.LinearOperator(shape, lambda v: generator @ v + first * (trace @ v), dtype=complex)
    preconditioner = sla.LinearOperator(shape, without_jumps, dtype=complex)

    def solved(b):
        x, failed = sla.gmres(shifted, b, M=preconditioner, rtol=1e-12, restart=80, maxiter=6)
        assert not failed
        return x

    rho = solved(first)
    rho = rho / (trace @ rho)
    assert np.linalg.norm(generator @ rho) < 1e-11
    counted = [(m, jump.charge) for m, jump in recycled if jump.label == bath]
    flow = sum(c * (m @ rho) for m, c in counted)
    mean = (trace @ flow).real
    x = solved(mean * rho - flow)
    x = x - (trace @ x) * rho
    noise = sum(c * c * (trace @ (m @ rho)) + 2 * c * (trace @ (m @ x)) for m, c in counted)
    return mean, noise.real


def test_the_sparse_solution_agrees_with_exact_counting():
    model = mt.models.boundary_driven_xx(L=3, t=1.0, G_L=0.7, f_L=0.1, G_R=1.3, f_R=0.05, levels=3)
    exact = counting.cumulants(model, "left", order=2, method=mt.ExactDiag())
    assert sparse_mean_and_noise(model, "left") == pytest.approx(exact, abs=1e-11)


@pytest.mark.slow
def test_matrix_products_count_the_quanta_of_six_sites():
    model = mt.models.boundary_driven_xx(L=6, t=1.0, G_L=0.7, f_L=0.02, G_R=1.3, f_R=0.01, levels=3)
    result = mt.steady_state(model, mt.TEBD(max_bond=24), tol=1e-6, on_failure="return", progress=False)
    flow = counting.mean_flows(model, ["left"], result=result, tol=0.02, max_bond=48)
    noise = counting.noise_matrix(model, ["left"], result=result, tol=0.02, max_bond=48)
    mean, exact = sparse_mean_and_noise(model, "left")
    assert abs(flow[0] - mean) < 1e-4
    assert abs(noise[0, 0] - exact) < 1e-4
