"""Numerical forms of a Lindbladian, all made from one symbolic text; the only place where vectorisation is defined."""

from .basis import from_hermitian, hermitian_basis, operator_vector, superoperator_factor, to_hermitian
from .gates import gate, spectral_radius
from .mpo import MPO, lindbladian_mpo, operator_train
from .quadratic import MomentEquations, QuadraticForm, quadratic_form
from .sparse import (
    MatrixFreeLindbladian,
    dense_lindbladian,
    hermitian_lindbladian,
    operator_matrix,
    sparse_lindbladian,
)
from .terms import ProductTerm, local_generators, pair_generators, product_terms

__all__ = [
    "MPO",
    "MomentEquations",
    "MatrixFreeLindbladian",
    "ProductTerm",
    "QuadraticForm",
    "dense_lindbladian",
    "from_hermitian",
    "gate",
    "hermitian_basis",
    "hermitian_lindbladian",
    "lindbladian_mpo",
    "local_generators",
    "operator_matrix",
    "operator_train",
    "operator_vector",
    "pair_generators",
    "product_terms",
    "quadratic_form",
    "sparse_lindbladian",
    "spectral_radius",
    "superoperator_factor",
    "to_hermitian",
]
