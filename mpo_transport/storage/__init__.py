"""Files: one HDF5 file per run, checked on reading, replaced atomically, locked against a second writer."""

from .lock import RunLock
from .records import StoredMethod, StoredRun, model_digest, opsums_digest, outcome_of, state_digest
from .runs import RunFile, check_same_spec, load, load_checkpoint, open_run, read_spec, save, save_checkpoint
from .slots import FallbackWarning, previous_path
from .text import canonical_text, run_id
from .tree import FORMAT_NAME, SCHEMA_VERSION

__all__ = [
    "FORMAT_NAME",
    "SCHEMA_VERSION",
    "FallbackWarning",
    "RunFile",
    "RunLock",
    "StoredMethod",
    "StoredRun",
    "canonical_text",
    "check_same_spec",
    "load",
    "load_checkpoint",
    "model_digest",
    "open_run",
    "opsums_digest",
    "outcome_of",
    "previous_path",
    "read_spec",
    "run_id",
    "save",
    "save_checkpoint",
    "state_digest",
]
