"""The way between the host's memory and the device's, and the device's budget.

Without a GPU both memories are this machine's, and the way is simulated: `SlowLink` really copies the bytes, in a
thread of its own as a copy engine would, and then waits until a link of the stated bandwidth would be done. What
overlaps then truly overlaps. `CudaLink` copies on a stream of its own between pinned memory and a GPU; it has the same
verbs, and has not been run by the tests, which have no GPU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.parallel.trace import Trace

Pairs = Sequence[tuple[Tensor, Tensor]]  # source, target


class SlowLink:
    """A simulated link of `bandwidth` bytes a second; copies queue, one at a time.

    Every copy is an event of lane "link". Close it, or use it as a context. UsageError for no bandwidth.
    """

    def __init__(self, bandwidth: float, trace: Trace | None = None) -> None:
        if not bandwidth > 0:
            raise UsageError(f"a link needs a bandwidth above 0, not {bandwidth}")
        self.bandwidth, self.trace = bandwidth, trace or Trace()
        self.engine = ThreadPoolExecutor(1, thread_name_prefix="link")

    def copy(self, source: Tensor, target: Tensor, name: str = "copy") -> Future[None]:
        """Begin to copy `source` into `target`; the future's `result()` waits for it. Neither may change until then."""
        return self.copies([(source, target)], name)

    def copies(self, pairs: Pairs, name: str = "copy") -> Future[None]:
        """The same for several tensors, as one copy and one event."""
        return self.engine.submit(self._copies, [(a.detach(), b.detach()) for a, b in pairs], name)

    def _copies(self, pairs: Pairs, name: str) -> None:
        start, size = time.monotonic(), sum(source.nbytes for source, _ in pairs)
        for source, target in pairs:
            target.copy_(source)
        time.sleep(max(0.0, start + size / self.bandwidth - time.monotonic()))
        self.trace.add(name, start, time.monotonic(), "link", size)

    def host(self, like: Tensor) -> Tensor:
        """An empty tensor of the same shape and type."""
        return torch.empty_like(like, device="cpu", requires_grad=False)

    def close(self) -> None:
        """End the thread, after the copies under way."""
        self.engine.shutdown()

    def __enter__(self) -> SlowLink:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Paced(nn.Module):
    """A layer that takes `seconds` at least, and twice that backward, as on a device of that speed.

    It computes, and waits for the rest: so time lines look the same on a busy machine.
    """

    def __init__(self, layer: nn.Module, seconds: float) -> None:
        super().__init__()
        self.layer, self.seconds = layer, seconds

    def forward(self, x: Tensor) -> Tensor:
        """What the layer gives."""
        start = time.monotonic()
        out = self.layer(x)
        time.sleep(max(0.0, start + self.seconds - time.monotonic()))
        if out.requires_grad:
            out.register_hook(lambda gradient: time.sleep(2 * self.seconds))  # just before the layer's own backward
        return out


class _Recorded:
    """A copy on a stream: whoever needs it makes the current stream wait, not the host."""

    def __init__(self, event: Any) -> None:
        self.event = event

    def result(self) -> None:
        """Let what the GPU is told next wait for the copy; and the host too, as it may read the target."""
        torch.cuda.current_stream().wait_event(self.event)
        self.event.synchronize()


class CudaLink:
    """Copies on a CUDA stream of their own, to and from pinned host memory. UsageError without a GPU."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UsageError("CudaLink: torch sees no GPU here; use SlowLink, which simulates one")
        self.stream = torch.cuda.Stream()

    def copy(self, source: Tensor, target: Tensor, name: str = "copy") -> _Recorded:
        """Begin to copy, once what the current stream was told before is done."""
        return self.copies([(source, target)], name)

    def copies(self, pairs: Pairs, name: str = "copy") -> _Recorded:
        """The same for several tensors, as one."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for source, target in pairs:
                target.detach().copy_(source.detach(), non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        for tensor in (tensor for pair in pairs for tensor in pair):
            if tensor.is_cuda:
                tensor.record_stream(self.stream)  # its memory is not given away before the copy is done
        return _Recorded(event)

    def host(self, like: Tensor) -> Tensor:
        """An empty pinned tensor of the same shape and type."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


Link = SlowLink | CudaLink
Pending = Future[None] | _Recorded  # a copy under way: `result()` waits for it


class Budget:
    """A device memory of `size` bytes: `take` before you use them. UsageError where more is wanted than is left."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0

    def take(self, amount: int, what: str) -> None:
        """Set bytes aside for `what`."""
        if self.used + amount > self.size:
            raise UsageError(
                f"{what} needs {amount:,} bytes, and {self.size - self.used:,} of the device's {self.size:,} are left"
            )
        self.used += amount
