# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Offloading: how large may a model be that does not fit?
#
# A card has a little fast memory, its host has a lot of slow memory, and between them is a slow link. If a model's layers stay on the host
# and come over the link when they are needed, how large may the model be? And how slow does it get?
#
# **After this lesson you can** plan which layers stay on the card, predict its peak in bytes and the time of a pass, and measure both; and
# say what of a training step can stay on the host.
#
# **45 minutes.** Before it: [06/01](01_memory.ipynb), where the bytes of a training step come from.

# %%
import labkit

lab = labkit.setup(lesson="06/06")

# %%
LAYERS = 12  # @param {type:"integer"}
CARD = 1_200_000  # @param {type:"integer"}
COMPUTE = 0.02  # @param {type:"number"}

# %% [markdown]
# ## 1 · A model that does not fit, and runs
#
# Here are twelve layers of a Transformer, and a card that has room for about half of them. `LayerScheduler` keeps some of the layers on the card,
# and fetches the others one after the other.
#
# (There may be no card where you are, so the link is simulated: `SlowLink` really copies the bytes, in a thread of its own as a card's
# copy engine does, and then waits until a link of the stated bandwidth would be done. On a GPU, `CudaLink` has the same verbs.)

# %%
import torch
from torch import nn

from labkit.measure import peak_memory
from labkit.parallel.memory.model import Layer
from labkit.parallel.memory.shape import ModelShape
from labkit.parallel.offload.link import Paced, SlowLink
from labkit.parallel.offload.scheduler import LayerScheduler, layer_bytes

torch.manual_seed(0)
shape = ModelShape(layers=LAYERS, width=64, heads=4, vocabulary=100, positions=32)
stack = [Layer(shape) for _ in range(LAYERS)]  # these stay on the host
x, each = torch.randn(2, 32, 64), layer_bytes(stack[0])
# %% tags=["nbval-check-output"]
with torch.no_grad(), SlowLink(1e9) as link:
    wanted = nn.Sequential(*stack)(x)
    small = LayerScheduler(stack, 5 * each, link)
    same = torch.equal(small(x), wanted)
    small.wait()
print(f"the layers: {LAYERS * each / 1e6:.2f} MB; held on the card: {small.budget.used / 1e6:.2f} MB; the same answer: {same}")

# %% [markdown]
# The answer is the same, bit for bit, from a card that holds five layers of twelve. *BMInf* (Han et al. 2022,
# [paper](https://aclanthology.org/2022.acl-demo.22/)) runs CPM-2 so: 11 billion weights, in 8 bits 11 GB in 48 layers, on a card of 6 GB.
# How does one plan this?
#
# ## 2 · What the card holds
#
# Layers are needed one after the other, in every pass in the same order. Two places are enough in principle: in one the present layer computes,
# and into the other the next one is loaded. Such a place is called a *slot*. But loading takes longer than computing. So if there is room for
# more than two layers, the others are **pinned**: they stay for good, and need no loading.
#
# Small: 4 layers of 100 bytes, and a card of 350 bytes of which a layer needs 30 to work with (its activations). That leaves room for 3
# layers, because (350 − 30) / 100 = 3.2. Two of the places are slots, so 1 layer is pinned and 3 *move*. The peak is 3 · 100 + 30 = 330 bytes.
#
# ### Exercise 1: plan the card
#
# *●●○ · 8 minutes*
#
# The number of layers, the card's bytes, a layer's bytes and the bytes to work with in; out three numbers: how many layers are pinned, how many
# move, and the peak. Where all layers fit, all are pinned and there are no slots. Where there is room for fewer than two, return `None`.
#
# ```python
# card_plan(4, 350, 100, 30)  # (1, 3, 330)
# card_plan(4, 430, 100, 30)  # (4, 0, 430)
# card_plan(4, 229, 100, 30)  # None
# ```

# %%
from labkit.checks import offload as check


def card_plan(layers, card, each, working): ...  # your turn


card_plan = check.card_plan(card_plan)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `room = (card - working) // each` layers fit.
# </details>
#
# <details><summary>Hint 2</summary>
#
# There are three cases: `room >= layers`, `room < 2`, and everything between them.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Between them `room - 2` layers are pinned, all others move, and `room` layers are on the card at once.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def card_plan(layers, card, each, working):
#     room = (card - working) // each
#     if room >= layers:
#         return layers, 0, layers * each + working
#     if room < 2:
#         return None
#     return room - 2, layers - (room - 2), room * each + working
# ```
# </details>
#
# Your plan says the peak first; then `peak_memory` counts all bytes that are alive while the card's layers are made and two passes run.
# `working` is measured on two layers alone. **Predict**: how small may the card be until nothing runs?

# %%
def run_on(card, passes=2):
    """Passes with at most `card` bytes of weights on the card."""
    with torch.no_grad(), SlowLink(1e9) as link:
        model = LayerScheduler(stack, card, link)
        for _ in range(passes):
            model(x)
        model.wait()

# %% tags=["nbval-check-output"]
with torch.no_grad():
    working = peak_memory(lambda: nn.Sequential(*stack[:2])(x))
for card in (3_000_000, CARD, 600_000, 300_000):
    plan = card_plan(LAYERS, card, each, working)
    if plan is None:
        print(f"a card of {card / 1e6:.1f} MB: no room for two layers")
        continue
    pinned, moving, peak = (int(one) for one in plan)
    found = peak_memory(lambda card=card: run_on(card - working))
    fits = f"fits: {found <= card}, predicted to within 2 %: {abs(peak / found - 1) < 0.02}"
    print(f"a card of {card / 1e6:.1f} MB: {pinned:>2} pinned, {moving:>2} move; peak {peak / 1e6:.2f} MB, {fits}")

# %% [markdown]
# The peak is what you have predicted. So every model runs of which two layers fit. The question is how slowly.
#
# ## 3 · Which layers move?
#
# Say there is room for 10 of 12 layers, so 8 are pinned and 4 move. Which four? A load goes on while the card computes other layers. So after
# a moving layer there should be much to compute until the next one is needed.
#
# ### Exercise 2: spread them
#
# *●●○ · 8 minutes*
#
# The number of layers and how many of them move in; the numbers of those that move out, as evenly spread as whole numbers allow. Count over
# the end to the beginning, because the next pass starts again at layer 0. Where gaps differ, let long and short ones alternate.
#
# ```python
# spread(12, 4)  # [0, 3, 6, 9]: each gap is 3
# spread(6, 4)   # [0, 1, 3, 4]: gaps of 1, 2, 1, 2
# ```

# %%
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
# The scheduler now takes its places from you. Each layer computes for 20 ms, and a load takes two and a half times as long. Here are two passes:

# %%
import statistics
import time

from labkit.parallel.offload import schedule
from labkit.parallel.trace import Trace
from labkit.report.timeline import timeline

LOOKS = {"compute": "#0072B2", "stall": "#D55E00", "load": "#E69F00"}


def place(layers, moving):
    """Your `spread`, as plain numbers in order."""
    return sorted(int(number) for number in spread(layers, moving))

# %%
def passes(place, load=2.5, skip=3, shown=2):
    """What card and link do in `shown` passes after `skip`, with room for all layers but two."""
    paced, trace = [Paced(layer, COMPUTE) for layer in stack], Trace()
    with SlowLink(each / (load * COMPUTE), trace=trace) as link:
        model = LayerScheduler(paced, (LAYERS - 2) * each, link, place=place, trace=trace)
        for number in range(skip + shown):
            if number == skip:
                begin = time.monotonic()
            model(x)
        end = time.monotonic()
    return [e for e in trace.events if e.start >= begin and e.end <= end and e.seconds > 5e-4]

# %%
def waiting(events):
    """The card's waiting, as a share of its computing."""
    stall, work = (sum(e.seconds for e in events if e.name.startswith(word)) for word in ("stall", "compute"))
    return f"waiting is {100 * stall / work:.0f} % of computing"


even = passes(place)
timeline(even, f"evenly spread: {waiting(even)}", colours=LOOKS)

# %% [markdown]
# Above is the card, below the link. The card never waits for long, because three layers are computed while one is loaded. **Predict**: now the
# four moving layers stand in a row, at the end. For which of them does the card wait, and why not for all four?

# %%
row = passes(schedule.clumped)
timeline(row, f"in a row: {waiting(row)}", colours=LOOKS)

# %% [markdown]
# Two of the four are loaded ahead, into the two slots, during the long pinned stretch. Then the link is idle, although it will soon be
# needed, and the third and the fourth layer have only one layer's time to come in.
#
# ## 4 · How long does a pass take?
#
# Card and link work side by side, so the slower one decides. In the picture: 12 layers of 1 unit are 12 units of computing, 4 loads of
# 2.5 units are 10 units of loading, so a pass takes 12. If a load took 4 units, the link would need 16, and the card would wait for
# 4 of these.
#
# ### Exercise 3: the time of a pass
#
# *●○○ · 4 minutes*
#
# The layers, how many of them move (three or more, evenly spread), the seconds to compute one and to load one in; the seconds of a pass out.
#
# ```python
# pass_time(12, 4, 1.0, 2.5)  # 12.0
# pass_time(12, 4, 1.0, 4.0)  # 16.0
# ```

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
# Three links: your prediction from the mean times of computing and loading, and beside it how long the card really waited.

# %%
def mean(events, word):
    return statistics.fmean(e.seconds for e in events if e.name.startswith(word))


for load in (1.0, 2.5, 4.0):
    events = passes(place, load)
    compute = mean(events, "compute")
    said = pass_time(LAYERS, 4, compute, mean(events, "load")) / (LAYERS * compute) - 1
    print(f"a load takes {load} layers: predicted waiting {100 * said:3.0f} %; measured: {waiting(events)}")

# %% [markdown]
# And is evenly spread really the best? A small model of card, link and slots can try **every** placement of up to eight layers:

# %% tags=["nbval-check-output"]
settings = beaten = 0
for layers in range(3, 9):
    for moving in range(3, layers + 1):
        for load in (0.5, 1.3, 2.0, 3.0):
            fastest, _ = schedule.best(layers, moving, 1.0, load)
            settings += 1
            beaten += schedule.steady_pass(layers, place(layers, moving), 1.0, load).total > fastest + 1e-9
print(f"{settings} settings; in {beaten} of them some placement is faster than your spread")

# %% [markdown]
# Move the sliders. If a load takes as long as three layers, for how few layers may there be room until an evenly spread model begins to wait? And
# which layer does the link load at the end of a pass, for which pass?

# %%
from labkit.widgets import memory_scheduler

memory_scheduler(12, room=10, load=2.5)

# %% [markdown]
# ## 5 · CPM-2 on small cards
#
# Now your plan and your time for the paper's model: 48 layers of 229 MB, a link of 12 GB/s, 10 ms to compute a layer. **Predict**: how
# much slower is a card of 6 GB than one that holds everything?

# %% tags=["nbval-check-output"]
each_of_48, compute = 229_000_000, 0.010
for budget in (500_000_000, 2_000_000_000, 6_000_000_000, 11_500_000_000):
    pinned, moving, peak = (int(one) for one in card_plan(48, budget, each_of_48, working=20_000_000))
    slower = pass_time(48, moving, compute, each_of_48 / 12e9) / (48 * compute)
    print(f"{budget / 1e9:4.1f} GB: {pinned:>2} pinned, {moving:>2} move; {slower:.2f} × the time of a card that holds all")

# %% [markdown]
# On 6 GB half of the layers move, and by this arithmetic no time is lost: a load takes not quite twice as long as computing a layer, and
# only every second layer is loaded. With the two slots alone it takes nearly twice the time. (A faster card begins to wait sooner, because
# what counts is the ratio of the two times.)
#
# ## 6 · Without a plan
#
# *Unified memory* makes the host's memory look like the card's. What is touched is fetched, and what was not used for the longest time makes
# room for it (*least recently used*, LRU). No program needs to be changed for that. But take 3 layers with 2 places: 0 and 1 are
# fetched; 2 throws out 0; now 0 is needed and throws out 1, which is needed next.
#
# ### Exercise 4: count the faults
#
# *●●○ · 7 minutes*
#
# The layers, touched in order, the places (`frames`) and the number of passes in; how often a layer is fetched in all, from an empty start, out.
#
# ```python
# lru_faults(3, 3, 4)  # 3
# lru_faults(3, 2, 4)  # 12
# ```

# %%
def lru_faults(layers, frames, passes): ...  # your turn


lru_faults = check.lru_faults(lru_faults)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Play 3 layers in 2 places on paper, for two passes.
# </details>
#
# <details><summary>Hint 2</summary>
#
# There are two cases: all layers fit, or not.
# </details>
#
# <details><summary>Hint 3</summary>
#
# If all fit, the first pass fetches each once. If one place is missing, every touch is a fault.
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
for frames in (24, 46, 47, 48):
    _, moving, _ = card_plan(48, frames, 1, 0)  # in units of a layer
    unplanned = lru_faults(48, frames, 2) - lru_faults(48, frames, 1)
    print(f"{frames} places for 48 layers: {int(unplanned):>2} fetches per pass on demand, {int(moving):>2} loads by plan")

# %% [markdown]
# Look at 47 places: with one too few, LRU fetches every layer in every pass. The plan loads three. (It gives two places away as slots.)
# And its loads go on **while** the card computes, whereas on demand the card waits for each.
#
# ## 7 · What of training can stay on the host?
#
# Of the 16 bytes per weight, 12 are the optimizer's, and it needs them once per step. *ZeRO-Offload* (Ren et al. 2021,
# [paper](https://arxiv.org/abs/2101.06840)) leaves them on the host. Gradients travel there (2 bytes per weight), the host makes the step, and new weights
# travel back (2 bytes). **Predict**: how many bytes per weight are left on the card, and is the result another one?

# %%
from labkit.measure import storage_bytes
from labkit.parallel.memory.precision import MixedPrecision
from labkit.parallel.offload.optimizer import OffloadedOptimizer


def trained(way_of, steps=3):
    """The weights after some steps, bytes per weight on the card, and where the optimizer's numbers are."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(128, 128) for _ in range(4)))
    way, data = way_of(model, lambda tensors: torch.optim.Adam(tensors, lr=1e-3)), torch.randn(16, 128).bfloat16()
    for _ in range(steps):
        way.backward(model(data).float().square().mean())
        card = [*way.weights, *(weight.grad for weight in way.weights)]
        way.step()
    states = [state[key] for one in way.optimizers for state in one.state.values() for key in ("exp_avg", "exp_avg_sq")]
    card += [] if isinstance(way, OffloadedOptimizer) else [*way.masters, *states]
    return [weight.detach() for weight in way.weights], storage_bytes(card) / sum(w.numel() for w in way.weights)

# %% tags=["nbval-check-output"]
with SlowLink(1e9) as link:
    (here, kept), (there, left) = trained(MixedPrecision), trained(lambda model, make: OffloadedOptimizer(model, make, link))
print(f"on the card: {kept:.0f} bytes per weight, with the optimizer on the host {left:.0f}")
print("the same weights, bit for bit:", all(torch.equal(a, b) for a, b in zip(here, there, strict=True)))

# %% [markdown]
# So a card trains a model four times as large, before activations. It costs nothing if the bytes travel while the card computes. A gradient can leave as
# soon as it is complete, long before the backward pass ends ([what this hides](../../docs/results.md#offloading) of the link's time).
#
# ## 8 · So, how large, and how slow?
#
# **To answer**: as large as the host's memory, if two layers fit on the card. A pass takes the longer of computing all layers and loading those that
# move, if these are evenly spread. **To train**: four times as large as without, because 12 of 16 bytes per weight stay on the host.
#
# ## Read on
#
# - Han et al. 2022 and Ren et al. 2021, linked above; Rajbhandari et al. 2021, [*ZeRO-Infinity*](https://arxiv.org/abs/2104.07857), which goes
#   on to disks.
# - [`scheduler.py`](../../labkit/parallel/offload/scheduler.py) runs what you planned,
#   [`optimizer.py`](../../labkit/parallel/offload/optimizer.py) trains, and
#   [`paging.py`](../../labkit/parallel/offload/paging.py) has the best that fetching on demand could do.
# - Next, [06/07](07_deepspeed.ipynb), where one argument turns offloading on.
