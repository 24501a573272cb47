# Sourced by scripts/demo and scripts/test: makes the virtual environment .venv of the repository.
#
#   make_environment [EXTRAS]     creates .venv if needed and installs the package with EXTRAS (e.g. "dev,fast"),
#                                 unless that was done already for this pyproject.toml; sets $PY to its python
#   headline TEXT                 prints a line that separates the stages
#
# The environment variable PYTHON chooses the interpreter that makes .venv.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv

# One thread per process: for the small blocks of these calculations a multi-threaded BLAS is slower.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-1} VECLIB_MAXIMUM_THREADS=${VECLIB_MAXIMUM_THREADS:-1}
export NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-1}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Tests and sweeps start many processes: without stored bytecode each compiles the package anew.
unset PYTHONDONTWRITEBYTECODE

headline() { printf '\n=== %s\n' "$*"; }

_is_suitable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

_find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        _is_suitable "$PYTHON" && { printf '%s\n' "$PYTHON"; return 0; }
        printf 'PYTHON=%s is not a working Python 3.11 or newer.\n' "$PYTHON" >&2
        return 1
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        _is_suitable "$candidate" && { printf '%s\n' "$candidate"; return 0; }
    done
    {
        printf 'mpo_transport needs Python 3.11 or newer; found: %s\n' "$(python3 --version 2>&1 || true)"
        printf 'Install one (for example the packages python3.12 and python3.12-venv), or name one: PYTHON=/path/to/python3.12 %s\n' "$0"
    } >&2
    return 1
}

_fingerprint() {  # changes with pyproject.toml, the extras, the interpreter and the place of the repository
    "$VENV/bin/python" - "$ROOT" "$1" <<'EOF'
import hashlib, pathlib, sys
root, extras = sys.argv[1:]
text = pathlib.Path(root, "pyproject.toml").read_bytes()
print(hashlib.sha256(text + repr((root, extras, sys.version)).encode()).hexdigest())
EOF
}

_has_extras() { [ "$(cat "$VENV/.installed-${1//,/-}" 2>/dev/null)" = "$(_fingerprint "$1")" ]; }

make_environment() {
    local extras=${1:-} python
    if ! _is_suitable "$VENV/bin/python"; then
        python=$(_find_python) || return 1
        headline "environment: $("$python" --version) in $VENV"
        rm -rf "$VENV"
        if ! "$python" -m venv "$VENV"; then
            rm -rf "$VENV"
            printf 'The Python module venv does not work here; on Debian and Ubuntu install the package python3-venv.\n' >&2
            return 1
        fi
    fi
    PY=$VENV/bin/python
    if ! _has_extras "$extras" && ! { [ -z "$extras" ] && _has_extras "dev,fast,tables"; }; then
        headline "environment: installing mpo_transport${extras:+[$extras]}"
        "$PY" -m pip install --quiet --upgrade pip </dev/null || return 1
        "$PY" -m pip install --quiet --editable "$ROOT${extras:+[$extras]}" </dev/null || return 1
        _fingerprint "$extras" >"$VENV/.installed-${extras//,/-}"
    fi
}
