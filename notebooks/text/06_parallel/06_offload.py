# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Offloading: models larger than the card's memory
#
# A machine has a card with a little fast memory and a host with a lot of slow memory, and between them a slow link. What can stay
# on the host? In training, the optimizer's states. For answering, even most of the layers. This costs time where the card has to
# wait for the link, and nothing where bytes travel while the card computes.
#
# **After this lesson you can**
#
# - move the optimizer to the host, and read from a time line what overlap hides;
# - place the layers that take turns on the card, and compute how long a pass takes;
# - say how large a model runs in a given memory, and how slowly;
# - show why fetching on demand is worse than a plan.
#
# **45 minutes.** Before it: [06/01, memory](01_memory.ipynb). You need Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="06/06")

# %% [markdown]
# Here the link is simulated, because there may be no card: `SlowLink` really copies the bytes, in a thread of its own as a card's
# copy engine does, and then waits until a link of the stated bandwidth would be done. Layers are *paced* likewise, and so is the
# host's optimizer. So what overlaps truly overlaps, and the pictures do not depend on the machine. (On a GPU, `CudaLink` has the
# same verbs: pinned memory and a stream.)

# %%
BANDWIDTH = 30e6  # @param {type:"number"}
COMPUTE = 0.02  # @param {type:"number"}

# %% [markdown]
# ## 1 · The optimizer stays on the host
#
# Of mixed precision's 16 bytes per weight, 12 are the optimizer's, and it touches them once per step. *ZeRO-Offload* (Ren et al.
# 2021, [paper](https://arxiv.org/abs/2101.06840)) keeps them on the host. The card computes gradients; gradients travel to the
# host (2 bytes per weight); the host steps; weights travel back (2 bytes). In small:
#
# ```python
# loss.backward()                                   # card
# for weight, master in zip(weights, masters):
#     master.grad = weight.grad.to("cpu").float()   # link, 2 bytes
#     optimizer_of[master].step()                   # host, 12 bytes that never travel
#     weight.copy_(master)                          # link, 2 bytes
# ```
#
# So written, card, link and host wait for each other. But a gradient is ready long before the backward pass ends, and one
# weight can travel while the host computes the next. The library's version sends each gradient from a hook, the moment it is
# complete:

# %%
import inspect

from labkit.parallel.offload.optimizer import OffloadedOptimizer

for part in ("_arrived", "_send", "_update_and_return"):
    print(inspect.getsource(getattr(OffloadedOptimizer, part)))

# %% [markdown]
# First of all it must compute the same. The resident optimizer is `MixedPrecision` of lesson 06/01:

# %% tags=["nbval-check-output"]
import torch
from torch import nn

from labkit.parallel.memory.precision import MixedPrecision
from labkit.parallel.offload.link import Paced, SlowLink
from labkit.parallel.trace import Trace


def make_model(pace=0.0):
    torch.manual_seed(0)
    return nn.Sequential(*(Paced(nn.Linear(512, 512), pace) for _ in range(4)))


def adam(tensors):
    return torch.optim.Adam(tensors, lr=1e-3)


def train(model, way, steps=3):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 512, generator=draw).bfloat16()
        way.backward(model(x).float().square().mean())
        way.step()
    return [p.detach().clone() for p in model.parameters()]


resident = make_model()
wanted = train(resident, MixedPrecision(resident, adam))
weights = sum(p.numel() for p in resident.parameters())
for overlap in (False, True):
    model, trace = make_model(), Trace()
    with SlowLink(1e9, trace=trace) as link:
        found = train(model, OffloadedOptimizer(model, adam, link, overlap=overlap))
    same = all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    sent = sum(event.bytes for event in trace.events) / 3 / weights
    print(
        f"overlap {overlap!s:<5}: the resident's weights bit for bit, {same}; {sent:.0f} bytes per weight crossed in each step"
    )

# %% [markdown]
# Now the time line of one step, from recorded events, without overlap and with it:

# %%
import time

from labkit.parallel.offload.optimizer import overlapped
from labkit.report.timeline import timeline

COLOURS = {
    "backward": "#0072B2",
    "gradient": "#E69F00",
    "update": "#009E73",
    "weight": "#CC79A7",
}


class PacedAdam(torch.optim.Adam):
    """Adam on a host that needs as long for a matrix as the card for half a layer."""

    def step(self, closure=None):
        super().step(closure)
        time.sleep(COMPUTE / 2 if self.param_groups[0]["params"][0].ndim == 2 else 0)


def paced_adam(tensors):
    return PacedAdam(tensors, lr=1e-3)


def one_step(overlap):
    model, trace = make_model(COMPUTE), Trace()
    with SlowLink(BANDWIDTH, trace=trace) as link:
        way = OffloadedOptimizer(model, paced_adam, link, overlap=overlap, trace=trace)
        train(model, way, steps=1)  # the first step makes the optimizer's states
        trace.events.clear()
        train(model, way, steps=1)
    return trace.events


apart, together = one_step(False), one_step(True)
timeline(apart, "one after the other", colours=COLOURS)

# %%
timeline(together, "overlapped", colours=COLOURS)

# %%
print(
    f"hidden of the link's time: {overlapped(apart):.2f}, with overlap {overlapped(together):.2f}"
)

# %% [markdown]
# In the first picture each part waits for the one before. In the second, gradients (the small ones are biases) leave while the
# backward pass goes on, and weights return while the host still updates. But no update may begin before the **last** gradient has
# arrived, because an overflow in it must leave the whole step out: that wait remains. Measured at three bandwidths, medians of six
# steps (`python benchmarks/offload.py`):

# %%
from labkit.report import Table, results

measured = results("offload")
cells, HIDDEN = {}, "share of the link's time hidden"
for row in measured.rows:
    if row.task.startswith("optimizer"):
        cells.setdefault((row.task, row.method), {})[row.metric] = row.value
Table(
    ("link and way", "of the link's time hidden", "time of a step, ratio"),
    tuple(
        (
            f"{task.partition(', ')[2]}, {way}",
            f"{of[HIDDEN]:.2f}",
            f"{of['time of a step, ratio']:.2f}",
        )
        for (task, way), of in cells.items()
    ),
)

# %% [markdown]
# When is the link fast enough? A step moves $4\,\Psi$ bytes for $\Psi$ weights, and computes $6\,\Psi$ operations for every token.
# So the model's size drops out: what counts is how many tokens a step has.

# %% tags=["nbval-check-output"]
bandwidth, speed = 12e9, 100e12  # bytes per second of a PCIe 3 slot; operations per second that a card sustains
print(f"with {4 / bandwidth * speed / 6:,.0f} tokens per step, any model computes as long as its bytes travel")

# %% [markdown]
# With gradient accumulation that is easy to reach. (The host's Adam takes time as well: ZeRO-Offload's authors wrote one for the
# processor's vector units, and can let it lag one step behind.)
#
# ## 2 · Layers that take turns
#
# To answer, a model needs no optimizer; but the model itself may not fit. *BMInf* (Han et al. 2022,
# [paper](https://aclanthology.org/2022.acl-demo.22/)) runs CPM-2, 11 billion weights, on a GTX 1060 of 6 GB. In 8 bits that is 11
# GB in 48 layers, 229 MB each: two layers take about half a gigabyte.
#
# Layers are needed one after the other. So two places on the card are enough in principle, *slots*: in one the present layer
# computes, into the other the next is loaded. But loading takes longer than computing. Therefore, if `room` layers fit,
# pin `room - 2` for good, and let only the others take turns. **Which** ones?
#
# ### Your turn: spread the moving layers
#
# *●●○ · 8 minutes*
#
# Return the numbers of the `moving` layers among `layers`, as evenly spread as whole numbers allow. Count over the end to the
# beginning, because the next token starts again at layer 0; and where gaps differ, let long and short ones alternate. For example:
#
# ```python
# spread(12, 4)  # → [0, 3, 6, 9]: each gap is 3
# spread(6, 4)   # → [0, 1, 3, 4]: gaps of 1, 2, 1, 2
# ```

# %%
from labkit.checks import offload as check


def spread(layers, moving): ...  # your turn


spread = check.spread(spread)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# On a line of 12 layers, 4 places stand 12 / 4 layers apart.
# </details>
#
# <details><summary>Hint 2</summary>
#
# With 4 of 10 the exact places would be 0, 2.5, 5, 7.5.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Round each place down: `number * layers // moving`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def spread(layers, moving):
#     return [number * layers // moving for number in range(moving)]
# ```
# </details>
#
# `LayerScheduler` pins all layers but those that `spread` names, makes two slots, and begins to load a slot's next layer as soon as
# the one in it has been computed. The answers are the resident model's:

# %% tags=["nbval-check-output"]
from labkit.parallel.memory.model import Layer
from labkit.parallel.memory.shape import ModelShape
from labkit.parallel.offload import schedule
from labkit.parallel.offload.scheduler import LayerScheduler, layer_bytes

shape = ModelShape(layers=12, width=64, heads=4, vocabulary=100, positions=32)
torch.manual_seed(0)
stack = [Layer(shape) for _ in range(12)]
each, x = layer_bytes(stack[0]), torch.randn(2, 32, 64)


def place(layers, moving):
    """Your `spread`, as plain numbers in order."""
    return sorted(int(number) for number in spread(layers, moving))


with torch.no_grad():
    wanted = nn.Sequential(*stack)(x)
for room in (2, 6, 10, 12):
    with SlowLink(1e9) as link:
        model = LayerScheduler(stack, room * each, link, place=place)
        same = all(torch.equal(model(x), wanted) for _ in range(2))
        model.wait()
    print(
        f"room for {room:>2}: {len(model.pinned):>2} pinned, {len(model.moving):>2} move; the same answers, {same}; "
        f"{model.budget.used:,} of {room * each:,} bytes used"
    )

# %% [markdown]
# Below, ten of twelve layers fit, so four move, and a load takes two and a half times as long as a layer computes. Two passes, the
# moving layers evenly spread:

# %%
LOOKS = {"compute": "#0072B2", "stall": "#D55E00", "load": "#E69F00"}


def passes(place, load=2.5, skip=3, shown=2):
    """Events of `shown` passes after `skip`, and the share of waiting in computing."""
    paced, trace = [Paced(layer, COMPUTE) for layer in stack], Trace()
    loading = each / (load * COMPUTE)  # bytes per second
    with SlowLink(loading, trace=trace) as link:
        model = LayerScheduler(paced, 10 * each, link, place=place, trace=trace)
        for number in range(skip + shown):
            if number == skip:
                start = max(event.end for event in trace.events)
            model(x)
        end = max(event.end for event in trace.events if event.lane == "device")
    events = [e for e in trace.events if e.start >= start and e.end <= end and e.seconds > 5e-4]
    device = [e for e in events if e.lane == "device"]
    stall = sum(e.seconds for e in device if e.name.startswith("stall"))
    return events, stall / sum(e.seconds for e in device if e.name.startswith("compute"))


even, waited = passes(place)
timeline(even, f"evenly spread: waiting is {100 * waited:.0f} % of computing", colours=LOOKS)

# %% [markdown]
# Now the same with the moving layers in a row, at the end. Predict which layers the device waits for, and why not for all four:

# %%
row, waited = passes(schedule.clumped)
timeline(row, f"in a row: waiting is {100 * waited:.0f} % of computing", colours=LOOKS)

# %% [markdown]
# In a row, two layers can be loaded ahead, into the two slots, during the long pinned stretch; then the link stands idle although
# it will soon be needed, and the third and fourth have only one layer's time to come in.
#
# ## 3 · How long does a pass take?
#
# Card and link work side by side, so the slower one decides. A steady pass, $n$ layers, $k$ of them moving and evenly spread,
# $c$ seconds to compute a layer and $l$ to load one, takes
#
# $$T = \max(n\,c,\; k\,l) .$$
#
# No placement can be faster than either. In a row, the $k - 2$ layers that do not fit into the slots wait $l - c$ each.
#
# ### Your turn: the time of a pass
#
# *●○○ · 5 minutes*
#
# Evenly spread, with three or more layers moving. Return seconds. For example, 6 layers that take 1 s each, of which 3 move and
# take 3 s each to load: `pass_time(6, 3, 1.0, 3.0)` → `9.0`.


# %%
def pass_time(layers, moving, compute, load): ...  # your turn


pass_time = check.pass_time(pass_time)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How long does the card compute in a pass? How long does the link load?
# </details>
#
# <details><summary>Hint 2</summary>
#
# Both go on at the same time.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `max` of two products.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def pass_time(layers, moving, compute, load):
#     return max(layers * compute, moving * load)
# ```
# </details>
#
# Is evenly spread really best, and is your formula right? A small event model of card, link and two slots can try **every**
# placement:

# %% tags=["nbval-check-output"]
beaten = settings = 0
missed = []
for layers in range(3, 9):
    for moving in range(3, layers + 1):
        for load in (0.5, 1.3, 2.0, 3.0):
            fastest, _ = schedule.best(layers, moving, 1.0, load)
            even = schedule.steady_pass(layers, place(layers, moving), 1.0, load).total
            settings += 1
            beaten += even > fastest + 1e-9
            if fastest > pass_time(layers, moving, 1.0, load) + 1e-9:
                missed.append(load == 1.3 and layers < 2 * moving)
print(f"settings tried: {settings}; a placement beats the even one in {beaten}")
print(f"where even the best takes longer than pass_time: {len(missed)}")
print("all of those with a load of 1.3 and n < 2 k:", all(missed))

# %% [markdown]
# So it is best to spread the moving layers evenly. The formula promises a little too much where more than half of the layers move
# and a load takes a little longer than computing: then a slot is sometimes not yet free.
#
# Measured and modelled, twelve layers with room for ten (`python benchmarks/offload.py`); the model gets the measured means of
# computing and loading:

# %%
cells = {}
for row in measured.rows:
    if row.task.startswith("load"):
        cells.setdefault((row.task, row.method), {})[row.metric] = row.value
Table(
    ("a load takes", "moving layers", "waiting, measured", "waiting, model"),
    tuple(
        (
            task.removeprefix("load "),
            {"spread": "evenly spread", "clumped": "in a row"}[place],
            f"{100 * of['stall, share of computing']:.0f} % of computing",
            f"{100 * of['stall, model of the measured times']:.0f} %",
        )
        for (task, place), of in cells.items()
    ),
)

# %% [markdown]
# Move the sliders. If a load takes as long as three layers, for how few layers may there be room until an evenly spread model
# begins to wait? And which layer does the link load at the end of a pass, for which pass?

# %%
from labkit.widgets import memory_scheduler

memory_scheduler(12, room=10, load=2.5)

# %% [markdown]
# ## 4 · The largest model for a budget
#
# There must be room for two layers. With less, `LayerScheduler` refuses and says what it needs:

# %% tags=["nbval-check-output"]
from labkit.errors import LabkitError

try:
    LayerScheduler(stack, 2 * each - 1, link)
except LabkitError as error:
    print(error)

# %% [markdown]
# Above that, every model runs whose layers the host can hold; the question is how slowly. From $k\,l \le s\,n\,c$ with
# $k = n - \text{room} + 2$ follows the largest number of layers for a slowdown $s$. Take CPM-2's layers in 8 bits, a link of
# 12 GB/s, and 10 ms to compute a layer (half a second per token, over 48 layers):

# %% tags=["nbval-check-output"]
layer, load, compute = 229e6, 229e6 / 12e9, 0.010
rows = []
for budget in (0.5e9, 2e9, 4e9, 6e9, 8e9, 11e9):
    room = int(budget // layer)
    moving = schedule.moving_layers(48, int(layer), int(budget))
    total = pass_time(48, moving, compute, load) if moving else 48 * compute
    most = [schedule.largest(room, compute, load, slowdown) for slowdown in (1, 1.5, 2)]
    shown = [f"{n} ({n * layer / 1e9:.2g} GB)" if n else "any" for n in most]
    rows.append((f"{budget / 1e9:g} GB", str(room), str(moving), f"{1 / total:.2f}", *shown))
Table(
    (
        "budget",
        "layers that fit",
        "CPM-2: moving",
        "tokens per second",
        "most layers, in the same time",
        "in 1.5 times the time",
        "in twice the time",
    ),
    tuple(rows),
)

# %% [markdown]
# At 6 GB, which the GTX 1060 has, half of the layers move and by this arithmetic no time is lost: a load takes not quite twice as
# long as computing a layer, and only every second layer is loaded. With room for two layers alone it takes nearly twice the time.
# (A faster card has to wait sooner: what counts is $l / c$. Weights beside the layers, such as embeddings, are left out here.)
#
# ## 5 · Without a plan
#
# *Unified memory* makes the host's memory look like the card's: what is touched is fetched, and what was not used for the longest
# time (*LRU*) makes room. It needs no change to a program. But a model's layers are touched in the same order again and again, and
# then LRU is the worst choice.
#
# ### Your turn: count the faults
#
# *●●○ · 8 minutes*
#
# `layers` are touched in order, `passes` times, with `frames` places. How many fetches in all, from an empty start? For example,
# `lru_faults(3, 3, 4)` → `3` and `lru_faults(3, 2, 4)` → `12`.


# %%
def lru_faults(layers, frames, passes): ...  # your turn


lru_faults = check.lru_faults(lru_faults)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Play 3 layers in 2 frames on paper: 0, 1, then 2 throws out … which is needed next.
# </details>
#
# <details><summary>Hint 2</summary>
#
# There are two cases: all layers fit, or not.
# </details>
#
# <details><summary>Hint 3</summary>
#
# If all fit, the first pass fetches each once. If one frame is missing, every touch is a fault.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def lru_faults(layers, frames, passes):
#     return layers if frames >= layers else layers * passes
# ```
# </details>

# %% tags=["nbval-check-output"]
from labkit.parallel.offload import paging

rows = []
for frames in (2, 12, 24, 36, 46, 47, 48):
    lru = (lru_faults(48, frames, 40) - lru_faults(48, frames, 1)) / 39
    wise = sum(paging.best_faults(48, frames, 40)[1:]) / 39
    rows.append((str(frames), f"{lru:.0f}", f"{wise:.1f}", str(paging.scheduled_loads(48, frames))))
Table(
    ("places for 48 layers", "LRU, fetches per pass", "the best on demand", "planned, loads per pass"),
    tuple(rows),
)

# %% [markdown]
# Look at 47 places: with one too few, LRU fetches all 48 layers in every pass. The best choice on demand throws out what was just
# used, because it is needed latest (Belady 1966), and fetches little more than what is missing. The plan loads one or two more
# than that, because no layer stays in its two slots; but its loads go on **while** the card computes, whereas the card waits for
# each fault.
#
# ## Read on
#
# - Han et al. 2022, [*BMInf*](https://aclanthology.org/2022.acl-demo.22/); Ren et al. 2021,
#   [*ZeRO-Offload*](https://arxiv.org/abs/2101.06840); Rajbhandari et al. 2021,
#   [*ZeRO-Infinity*](https://arxiv.org/abs/2104.07857), which goes on to disks.
# - `labkit/parallel/offload/`: [`scheduler.py`](../../labkit/parallel/offload/scheduler.py) runs,
#   [`schedule.py`](../../labkit/parallel/offload/schedule.py) calculates,
#   [`optimizer.py`](../../labkit/parallel/offload/optimizer.py) trains.
# - Next: [06/07](07_deepspeed.ipynb), where one argument turns offloading on.
