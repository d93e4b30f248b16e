"""Int8 by rows: a quarter of the bytes, and integer arithmetic instead of floating point.

A weight row w is stored as round(w / s) with s = ‖w‖∞/127, and each token's activation x is rounded in the same way as
it arrives, so nothing has to be calibrated (row-wise absmax as in BMInf, Han et al. 2022; vector-wise quantisation in
Dettmers et al. 2022, §2.1). The products are summed exactly in int32 and multiplied by both scales at the end. Rounding
moves each weight by at most s_w/2 and each activation by at most s_x/2, which bounds an output's error by

    ‖x‖∞‖w‖₁/254 + ‖w‖∞‖x‖₁/254 + n‖x‖∞‖w‖∞/254²        (n = input features)

Notable: whether the machine's int8 kernel is exact is *tried*, not assumed: without VNNI such kernels add pairs in 16
bits and saturate in silence. Where it is not, the same integers are multiplied in floats wide enough to hold them.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.checkpoints import load_tensors, reading, save_tensors
from labkit.compression import addressed
from labkit.errors import CheckpointError, UsageError
from labkit.foundations.quantised import keeps_float
from labkit.measure import saved_tensors

LEVELS = 127  # symmetric: −128 is never used, so that −q is as exact as q
TINY = torch.finfo(torch.float32).tiny  # smaller divisors are subnormal and would push quotients past 127
_METADATA = "labkit.int8"


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of `x` (…, n) to integers in −127…127: (int8 of x's shape, float32 scale (…, 1)).

    x ≈ q · scale, off by at most scale/2. A row of zeros gets scale 0; a row that holds NaN or infinity gets that
    scale, so that what it multiplies is NaN rather than a wrong number.
    """
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True).div_(LEVELS)  # (…, 1)
    q = x.div(scale.clamp(min=TINY)).round_()  # within ±127 without clamping: |x| ≤ 127 · scale up to one rounding
    return q.nan_to_num_(0.0).to(torch.int8), scale


def int8_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (m, k) int8 times the transpose of b (n, k) int8, summed exactly: (m, n) int32.

    Uses the int8 kernel where it exists, allows the shape and has proved exact on this machine; else floats: a product
    is at most 127², so float32 holds every partial sum while k·127² < 2²⁴, and float64 holds the rest.
    """
    if _kernel_allows(a, b):
        return torch._int_mm(a, b.t())
    wide = torch.float32 if a.device.type == "cpu" and a.shape[1] * LEVELS**2 < 2**24 else torch.float64
    return (a.to(wide) @ b.to(wide).t()).to(torch.int32)


def _kernel_allows(a: Tensor, b: Tensor) -> bool:
    rows, inner = a.shape
    if a.device.type == "cuda":  # cuBLASLt's conditions
        return rows > 16 and inner % 8 == 0 and b.shape[0] % 8 == 0
    # with one input feature the CPU kernel of torch 2.13 misreads the transposed weight
    return a.device.type == "cpu" and inner > 1 and rows > 0 and _kernel_is_exact()


@functools.cache
def _kernel_is_exact() -> bool:
    """Whether this CPU's int8 kernel sums the largest products exactly (it saturates where VNNI is missing)."""
    try:
        for rows, inner, columns in ((1, 64, 16), (33, 130, 48)):
            signs = 1 - 2 * (torch.arange(columns) % 2)  # (columns,) alternating ±1: the largest sums of both signs
            a = torch.full((rows, inner), LEVELS, dtype=torch.int8)
            b = (LEVELS * signs).to(torch.int8)[:, None].expand(columns, inner).contiguous()
            if not torch.equal(torch._int_mm(a, b.t()), (signs * LEVELS**2 * inner).int().expand(rows, columns)):
                return False
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return True


class _Int8Product(torch.autograd.Function):
    """x (tokens, in) times the transpose of weight · scale (out, in): rounded, multiplied as integers, scaled back.

    Backward as if the de-quantised weight had been used (straight-through).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        q, s = quantise(x)  # (tokens, in), (tokens, 1)
        return int8_matmul(q, weight).float().mul_(scale.t()).mul_(s).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return grads[0] @ (weight.float() * scale).to(grads[0].dtype), None, None


class _Int8Weight(nn.Module):
    """A matrix (rows, columns) as `integers` with one float32 `scale` a row.

    The layer itself becomes one, and back: its name, hooks, children and whoever holds it know no difference. `dtype`
    is the type of the weights, which `model.to(dtype)` changes; the scales stay float32, because half precision would
    round them, and with them every weight of their row, or take them for 0.
    """

    integers: Tensor
    scale: Tensor
    FLOAT: ClassVar[type[nn.Module]]

    def _hold(self, integers: Tensor, scale: Tensor, weight: nn.Parameter) -> None:
        self.register_buffer("integers", integers)
        self.register_buffer("scale", scale)
        self.dtype, self.trains = weight.dtype, weight.requires_grad

    @property
    def weight(self) -> Tensor:
        """What the integers stand for, (rows, columns) in `dtype`: made anew each time, so not to be written to."""
        return (self.integers.float() * self.scale).to(self.dtype)

    @property
    def stands_for(self) -> dict[str, int]:
        """How many weights each buffer holds, for `labkit.measure.parameters`."""
        return {"integers": self.integers.numel()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        scale = self.scale
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=scale.device)).dtype
        super()._apply(fn, recurse)
        if self.scale.dtype != torch.float32:
            self.scale = scale.to(self.scale.device)
        return self


class Int8Linear(_Int8Weight):
    """nn.Linear with int8 weights (out, in) and activations rounded per token; bias stays as it was.

    Gradients reach the input and the bias (straight-through), so that a delta may be trained on an int8 backbone.
    """

    FLOAT = nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) to (…, out) in x's type; a token that holds NaN or infinity comes out as NaN."""
        out = _Int8Product.apply(x.reshape(-1, self.in_features), self.integers, self.scale)
        out = out.view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Embedding(_Int8Weight):
    """nn.Embedding with int8 rows: three quarters of a micro model are embeddings."""

    FLOAT = nn.Embedding

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) to (…, d), in `dtype`."""
        return (F.embedding(ids, self.integers).float() * F.embedding(ids, self.scale)).to(self.dtype)


def apply(model: nn.Module, skip: Sequence[str] = ()) -> nn.Module:
    """Turn `model`'s linear layers and tables of embeddings into int8 ones, in place; returns `model`.

    Keys in `skip` (suffix, or `re:`) stay as they are, and so does what a delta, a prompt or the head beside it is to
    learn. A weight shared by two modules (an MLM decoder tied to the word embeddings) stays shared, in int8 if both are
    turned; if one of them is not, neither is: two copies cost more than one. Raises UsageError for a key that matches
    nothing and for weights that are NaN or infinite; nothing is changed then.
    """
    plain = {name: module for name, module in _named(model) if _is_plain(module)}
    skipped, added = {name for key in skip for name in addressed(plain, key)}, set(_added(model))
    turned = {name: module for name, module in plain.items() if module not in added and name not in skipped}
    others = (module for name, module in _named(model) if name not in turned)
    left = {_place(weight) for module in others for weight in module._parameters.values() if weight is not None}
    found: dict[Any, tuple[Tensor, Tensor]] = {}
    for name, module in turned.items():
        if (place := _place(module.weight)) not in found and place not in left:
            found[place] = quantise(module.weight.detach())
            if not torch.isfinite(found[place][1]).all():
                raise UsageError(f"{name}: NaN or infinite weights, which int8 cannot hold; load an earlier checkpoint")
    for module in dict.fromkeys(turned.values()):
        if (place := _place(module.weight)) in found:
            weight = module._parameters.pop("weight")
            module.__class__ = Int8Linear if isinstance(module, nn.Linear) else Int8Embedding
            module._hold(*found[place], weight)
    return model


def undo(model: nn.Module) -> nn.Module:
    """Make the weights numbers again, in place: what the integers stand for.

    Ties stay tied, and what trained before `apply`, or before a delta that came since, trains again.
    """
    weights: dict[Any, nn.Parameter] = {}
    for module in [module for module in model.modules() if isinstance(module, _Int8Weight)]:
        place = _place(module.integers)
        if place not in weights:
            weights[place] = nn.Parameter(module.weight, requires_grad=module.trains)
        for name in ("integers", "scale", "dtype", "trains"):
            delattr(module, name)
        others = dict(module._parameters)
        module._parameters.clear()
        module._parameters |= {"weight": weights[place], **others}  # first, as it was
        module.__class__ = module.FLOAT
    return model


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the int8 model's tensors, shared ones once, with a checksum, as one safetensors file or not at all."""
    names = [name for name, module in _named(model) if isinstance(module, _Int8Weight)]
    save_tensors(path, saved_tensors(model), **{_METADATA: json.dumps(names)})


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Fill the float32 skeleton `model` from what `save` wrote: `apply`, then the file's tensors, in place.

    CheckpointError where the file is absent, altered, not one of `save`'s, or of another architecture.
    """
    tensors, notes = load_tensors(path, "save the model again")
    with reading(path):
        names = json.loads(notes.get(_METADATA, "null"))
    if not isinstance(names, list):
        raise CheckpointError(f"{path}: not written by labkit.compression.int8.save; use the model's own loader")
    for old in [f"{name}.weight" for name in names if f"{name}.integers" not in tensors]:  # as files once called them
        tensors |= {old.removesuffix("weight") + "integers": tensors.pop(old)} if old in tensors else {}
    left = [name for name, module in _named(model) if _is_plain(module) and name not in names]
    apply(model, skip=[f"re:^{re.escape(name)}$" for name in left])
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the shapes are another model's ({said:.300})") from error
    state = model.state_dict(keep_vars=True)
    filled = {state[key].data_ptr() for key in tensors if key in state}
    lost = [key for key in missing if state[key].data_ptr() not in filled]  # a tied tensor is stored under one name
    if lost or unexpected:
        raise CheckpointError(f"{path}: another architecture; missing {lost[:3]}, unexpected {unexpected[:3]}")
    return model


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every path to every module: a layer that is used in two places appears twice."""
    return model.named_modules(remove_duplicate=False)


def _is_plain(module: nn.Module) -> bool:
    """Linear and embedding layers themselves; a subclass computes something else and is left alone."""
    known = type(module) is nn.Linear or (type(module) is nn.Embedding and module.max_norm is None)
    return known and isinstance(module._parameters.get("weight"), nn.Parameter)


def _added(model: nn.Module) -> Iterator[nn.Module]:
    """What is not the model's own: what is marked so, and what `peft` says that it has added."""
    for module in model.modules():
        if keeps_float(module):
            yield module
        for name in getattr(module, "adapter_layer_names", ()):
            yield from module._modules[name].modules() if name in module._modules else ()


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies: equal for tensors that are shared."""
    return (tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride())
