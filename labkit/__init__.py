"""labkit: the library behind a hands-on course in language models.

`import labkit` is quick: each name below is imported when it is first used (PEP 562), so that neither torch nor
transformers is loaded by a program that only asks for the version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> (module, name there)
_EXPORTS = {
    "setup": ("labkit.lab", "setup"),
    "load_task": ("labkit.tasks", "load_task"),
    "load_model": ("labkit.zoo", "load"),
    "load_app": ("labkit.apps", "load_app"),
    "fit": ("labkit.training", "fit"),
    "evaluate": ("labkit.evaluation", "evaluate"),
    "predict": ("labkit.evaluation", "predict"),
    "Report": ("labkit.report", "Report"),
}

__all__ = ["Report", "__version__", "evaluate", "fit", "load_app", "load_model", "load_task", "predict", "setup"]

if TYPE_CHECKING:  # the same table, for editors and type checkers
    from labkit.apps import load_app
    from labkit.evaluation import evaluate, predict
    from labkit.lab import setup
    from labkit.report import Report
    from labkit.tasks import load_task
    from labkit.training import fit
    from labkit.zoo import load as load_model


def __getattr__(name: str) -> Any:
    """Import an export on first use; afterwards it is an ordinary attribute."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
