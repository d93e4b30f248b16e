"""What is agreed about quantised modules among packages that do not know one another.

A quantised module (`labkit.compression.int8` makes them) says in `stands_for` how many weights each of its buffers
holds, gives them as numbers under `weight`, to read and not to write, and remembers in `trains` whether they will train
once they are numbers again. In its turn quantising leaves alone what `keep_float` has marked: what a delta, a prompt or
a new head is still to learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import nn

from labkit.errors import UsageError

MARK = "labkit_keeps_float"  # the attribute that counts who wants a module in floating point
UNDO = "make it numbers again first, int8.undo(model)"


def is_quantised(module: nn.Module) -> bool:
    """Whether the module's weights are stored as something other than parameters."""
    return bool(getattr(module, "stands_for", None))


def quantised_in(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Names, behind `prefix`, and modules of what is quantised in `module`, itself included."""
    for name, inner in module.named_modules(prefix=prefix):
        if is_quantised(inner):
            yield name or type(inner).__name__, inner


def refuse_quantised(module: nn.Module, what: str, prefix: str = "", mend: str = UNDO) -> None:
    """UsageError, for `what` (its subject), where anything in `module` is quantised."""
    if (found := next(quantised_in(module, prefix), None)) is not None:
        raise UsageError(f"{what}: {found[0]!r} is quantised: {mend}")


def refuse_to_train(module: nn.Module, name: str) -> None:
    """UsageError where the module called `name`, which is to train, is quantised: it never would."""
    refuse_quantised(module, "cannot train", name, f"leave it as it is, int8.apply(model, skip=({name!r},))")


def keep_float(modules: Iterable[nn.Module], keep: bool = True) -> None:
    """From now on quantising leaves these modules alone; without `keep`, no longer, unless another asked for it too."""
    for module in modules:
        module.__dict__[MARK] = getattr(module, MARK, 0) + (1 if keep else -1)


def keeps_float(module: nn.Module) -> bool:
    """Whether quantising leaves the module alone."""
    return getattr(module, MARK, 0) > 0


def training_flags(model: nn.Module) -> dict[str, bool]:
    """Name → whether the weight trains; a quantised one, whether it will once it is numbers again."""
    flags = {f"{name}.weight": getattr(module, "trains", False) for name, module in quantised_in(model)}
    return flags | {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def set_training_flags(model: nn.Module, flags: Mapping[str, bool], otherwise: bool | None = None) -> None:
    """Undo what was changed since `training_flags`; weights that it did not know become `otherwise`, None: stay."""
    for name, parameter in model.named_parameters():
        if (flag := flags.get(name, otherwise)) is not None:
            parameter.requires_grad_(flag)
    for name, module in quantised_in(model):
        if (flag := flags.get(f"{name}.weight", otherwise)) is not None:
            module.trains = flag
