"""The deepspeed package as labkit uses it: silent, nothing compiled, and nothing of it left on a model afterwards."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

from torch import nn

from labkit.errors import UsageError

INSTALL = "DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed"


def library() -> ModuleType:
    """The deepspeed package, silent and with nothing to compile. UsageError, with the command, where it is missing."""
    warnings.filterwarnings("ignore", r".*torch\.distributed\..* is deprecated", FutureWarning)
    logger = logging.getLogger("DeepSpeed")
    logger.addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
    try:
        found = importlib.import_module("deepspeed")
    except ImportError as error:
        raise UsageError(f"deepspeed is not installed here ({error}): {INSTALL}") from error
    logger.setLevel(logging.ERROR)
    # Which of its own kernels could be compiled here? None, before it tries: torch and gloo do what they would.
    vars(found.ops).setdefault("__compatible_ops__", {})
    return found


class Before:
    """What DeepSpeed adds to modules and parameters, by what was there before."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [(value, dict(vars(value))) for value in module.parameters()]
        self.modules = [(part, type(part), dict(vars(part))) for part in module.modules()]
        self.buffers = [(value, value.dtype) for value in module.buffers()]

    def restore(self) -> None:
        """Take the additions off; training modes and hooks of others stay."""
        for part, kind, attributes in self.modules:
            part.__class__ = kind
            for name in set(vars(part)) - set(attributes):
                part.__dict__.pop(name)
            part.__dict__["_parameters"] = attributes["_parameters"]
        for value, attributes in self.parameters:
            for name in set(vars(value)) - set(attributes):
                delattr(value, name)
        for value, dtype in self.buffers:
            value.data = value.data.to(dtype)


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """The environment variable `name` set inside: DeepSpeed insists on it."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
