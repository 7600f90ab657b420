"""appkit: from a base model and rows to a specialist that is proven, served and demonstrable.

The three functions that the commands call::

    result = appkit.train(task="nl2fol")
    appkit.evaluate(result.bundle)
    appkit.load(result.bundle).predict(["Every dog barks."])

Nothing heavy is imported until one of them is used.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appkit.bundles.specialist import Specialist as Specialist
    from appkit.bundles.specialist import load as load
    from appkit.runs.evaluate import Comparison as Comparison
    from appkit.runs.evaluate import evaluate as evaluate
    from appkit.runs.train import TrainResult as TrainResult
    from appkit.runs.train import train as train

__all__ = ["Comparison", "Specialist", "TrainResult", "evaluate", "load", "train"]
__version__ = "0.1.0"

# A thread of OpenMP that waits for the others keeps its core busy, by default for 300,000 turns of a loop, while the
# thread that it waits for may want that core: on 2 cores, beside one busy process, a training was 30 times slower, and
# alone no faster (benchmarks/beside.py). It is read when torch is loaded.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "2000"

# On import it warns that a kernel for 4-bit products is missing; on CPU nothing here multiplies in 4 bits.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_HOME = {
    "train": "appkit.runs.train",
    "evaluate": "appkit.runs.evaluate",
    "Comparison": "appkit.runs.evaluate",
    "TrainResult": "appkit.runs.train",
    "load": "appkit.bundles.specialist",
    "Specialist": "appkit.bundles.specialist",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'appkit' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("appkit"):
            raise
        raise ModuleNotFoundError(
            f"appkit.{name} needs {error.name}, which is not installed; pip install 'appkit[train]'",
            name=error.name,
        ) from error
