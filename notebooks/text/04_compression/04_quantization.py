# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fewer bits per weight: how few are enough?
#
# A weight of a trained model usually takes 32 bits. *[Quantization](../glossary.ipynb#quantization)* stores it in eight
# bits, in two, or in one, so the file becomes 4, 16 or 32 times smaller. How few bits are enough, and what has to be done
# so that the answers stay right?
#
# **After this lesson you can** store a matrix in 8 bits and multiply with whole numbers; say what one large
# [activation](../glossary.ipynb#activation) does to them, and what helps; train a model whose weights are −α, 0 or α; turn it
# into one with two values per weight; and say what is lost at each step.
#
# **55 minutes.** Before it: [distillation](01_distillation.ipynb), whose losses are used here.

# %%
import labkit

lab = labkit.setup(lesson="04/04")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/news"  # @param {type:"string"}
STEPS = 80  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Fewer bits, and nothing else
#
# A model learns to say which of 15 topics a piece of news is about.

# %%
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

task = labkit.load_task(TASK)
body, tokenizer = labkit.load_model(MODEL)
method, train = HeadClassifier(tokenizer, task.fields), task.splits["train"]
model = add_head(body, task.labels, "mean", seed=0)
batches = Batches(train, method.collate, 16, seed=0)
labkit.fit(model, method.loss, batches, steps=STEPS, lr=5e-4, seed=0, progress=lab.progress).losses[-1]

# %% [markdown]
# Now its weights are rounded to the nearest numbers that can be written with fewer bits. Look at the answer to one row, at
# the share of right answers, and at the file.

# %%
import copy

from labkit.compression import binary, int8, ternary
from labkit.measure import bytes_on_disk

row, test = task.splits["test"][0], task.splits["test"][:200]


def right(model):
    found = labkit.predict(model, method, test).argmax(1)
    return sum(int(a) == row["label"] for a, row in zip(found, test, strict=True)) / len(test)


print(row[task.fields[0]], f"({task.labels[row['label']]})\n")
shares = {}
for name, form in (("32 bits", None), ("8 bits", int8), ("2 bits", ternary), ("1 bit", binary)):
    one = copy.deepcopy(model) if form is None else form.apply(copy.deepcopy(model))
    shares[name], answer = right(one), labkit.predict(one, method, [row])[0]
    said = f"{task.labels[answer.argmax()]} {answer.max():.0%}"
    print(f"{name:<8}{said:<15} right {shares[name]:.1%}  {bytes_on_disk(one) / 1e6:5.2f} MB")

# %% tags=["nbval-check-output"]
print("8 bits: within 2 points of 32 bits:", abs(shares["8 bits"] - shares["32 bits"]) <= 0.02)
print("1 bit: more than 20 points lost:", shares["1 bit"] < shares["32 bits"] - 0.2)

# %% [markdown]
# With eight bits nothing happens, with one bit the model is lost, and two bits are between. So there are two questions: why
# do eight bits not hurt, and how can fewer be made to serve?
#
# ## 2 · Eight bits
#
# A row of weights is written as whole numbers, its *codes*, times one number, its *scale*. The scale is chosen so that the
# largest weight gets the code 127 or −127. The [tokens](../glossary.ipynb#token) that come in are rounded in the same
# way. Then only whole numbers are multiplied and added:

# %% tags=["nbval-check-output"]
import torch

w, x = torch.tensor([0.50, -1.27, 0.02]), torch.tensor([2.54, -1.00, 0.50])
w_scale, x_scale = w.abs().max() / 127, x.abs().max() / 127
w_codes, x_codes = (w / w_scale).round().int(), (x / x_scale).round().int()
whole = int(w_codes @ x_codes)
print(f"w = {w_scale:.2f} · {w_codes.tolist()}   x = {x_scale:.2f} · {x_codes.tolist()}")
print(f"sum of products {whole}; times both scales {whole * w_scale * x_scale:.2f}; in floats {w @ x:.2f}")

# %% [markdown]
# Each code fits into one byte, so a matrix takes a quarter of its bytes, and a little for the scales. In symbols, for a row
# $w$ of weights and a token $x$:
#
# $$s_w = \tfrac{1}{127} \max_i |w_i|, \qquad q^w_i = \mathrm{round}(w_i / s_w), \qquad
#   w \cdot x \;\approx\; s_w\, s_x \sum_i q^w_i\, q^x_i .$$
#
# ### Exercise 1: codes and scales
#
# *●○○ · 5 minutes*
#
# Rows (rows, n) in; codes (rows, n) and a scale per row (rows, 1) out. A row of zeros has codes 0.
#
# ```python
# round_rows(torch.tensor([[0.50, -1.27, 0.02]]))  # codes [[50, -127, 2]], scale [[0.01]]
# ```

# %%
from labkit.checks import quantization as check


def round_rows(x): ...  # your turn


round_rows = check.round_rows(round_rows)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.abs().amax(1, keepdim=True)` is the largest |x| of each row, (rows, 1).
# </details>
#
# <details><summary>Hint 2</summary>
#
# In a row of zeros you would divide by 0. Divide by `scale.clamp(min=1e-30)` instead.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.round()` goes to the nearest whole number, `.to(torch.int8)` alone cuts off.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def round_rows(x):
#     scale = x.abs().amax(1, keepdim=True) / 127
#     return (x / scale.clamp(min=1e-30)).round().to(torch.int8), scale
# ```
# </details>
#
# How wrong can a product be? Rounding moves a weight by at most $s_w / 2$ and an activation by at most $s_x / 2$. So the
# product of $n$ pairs is wrong by at most
#
# $$\tfrac{1}{254} \Big( \max_i |x_i| \sum_i |w_i| + \max_i |w_i| \sum_i |x_i| \Big) +
#   \tfrac{n}{254^2} \max_i |x_i| \max_i |w_i| .$$
#
# Here are your codes on a real layer, and what really goes into it:

# %% tags=["nbval-check-output"]
layer, seen = model.bert.encoder.layer[0].intermediate.dense, []
handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].flatten(0, 1)))
labkit.predict(model, method, test[:16])
handle.remove()
W, X = layer.weight.detach(), seen[0].clone()


def whole_product(x, weight):
    (q, s), (w, w_scale) = round_rows(x), round_rows(weight)
    return (q.int() @ w.int().T) * s * w_scale.T


top, most = X.abs().amax(1)[:, None], W.abs().amax(1)
bound = (top * W.abs().sum(1) + most * X.abs().sum(1)[:, None]) / 254 + X.shape[1] * top * most / 254**2
off = (whole_product(X, W) - X @ W.T).abs()
ours = int8.apply(copy.deepcopy(layer))(X) - layer.bias
print("the same as labkit's int8 layer:", torch.allclose(whole_product(X, W), ours, atol=1e-5))
print(f"within the bound: {(off <= bound * 1.0001).all()}, and below a half of it: {(off < bound / 2).all()}")

# %% [markdown]
# The errors of many products have different signs, so most of them cancel, and the sum stays far below the bound.
#
# ## 3 · One large activation
#
# The bound holds a warning: $\max |x_i|$ stands in it. **Predict**: which codes do the first three numbers of this token get?

# %% tags=["nbval-check-output"]
x = torch.tensor([[0.5, -0.3, 0.2, 60.0]])
codes, scale = round_rows(x)
print("codes", codes.tolist(), " stand for", [round(v, 2) for v in (codes * scale)[0].tolist()])

# %% [markdown]
# One *outlier* has made the scale so large that all other numbers of its token are nearly lost. Large language models
# have such activations, and always in the same few columns. LLM.int8 (Dettmers et al. 2022,
# [paper](https://arxiv.org/abs/2208.07339)) multiplies the columns in which some $|x|$ is 6 or more in floating point,
# and all others as whole numbers. Both results are added.
#
# ### Exercise 2: two products in one
#
# *●●○ · 8 minutes*
#
# Tokens `x` (tokens, n), a `weight` (out, n) and a `limit` in; out (tokens, out): the columns of `x` in which *some*
# token has $|x| \ge$ `limit` are multiplied as they are, all others by way of `round_rows`.
#
# ```python
# x, weight = torch.tensor([[0.5, -0.3, 60.0], [0.2, 0.4, 1.0]]), torch.tensor([[1.0, 1.0, 0.5]])
# mixed_product(x, weight, 6)  # close to [[30.2], [1.1]]; the last column is an outlier column for both tokens
# ```


# %%
def mixed_product(x, weight, limit): ...  # your turn


mixed_product = check.mixed_product(mixed_product)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `large = (x.abs() >= limit).any(0)` says of each column whether it is one, (n,).
# </details>
#
# <details><summary>Hint 2</summary>
#
# The outlier columns: `x[:, large] @ weight[:, large].T`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# For the others, set the outlier columns of `x` to 0 *before* `round_rows`: `x.masked_fill(large, 0)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mixed_product(x, weight, limit):
#     large = (x.abs() >= limit).any(0)
#     (q, s), (w, w_scale) = round_rows(x.masked_fill(large, 0)), round_rows(weight)
#     return x[:, large] @ weight[:, large].T + (q.int() @ w.int().T) * s * w_scale.T
# ```
# </details>
#
# Now the same real layer, with one column of its input made a hundred times larger, as large models have it:

# %% tags=["nbval-check-output"]
spiked = X.clone()
spiked[:, 5] *= 100
ways = {"no outlier": (X, 1e9), "outlier, all int8": (spiked, 1e9), "outlier, its column in floats": (spiked, 6.0)}
errors = {name: float((mixed_product(x, W, limit) - x @ W.T).abs().mean()) for name, (x, limit) in ways.items()}
clean = errors["no outlier"]
print("with the outlier more than 5 times the error without it:", errors["outlier, all int8"] > 5 * clean)
print("its column in floats, not a tenth above that:", errors["outlier, its column in floats"] < 1.1 * clean)
print("in this small model the largest |x| of a layer's input is below 20:", float(X.abs().max()) < 20)

# %% [markdown]
# The file does not change by this, because it is only another way to multiply. A real language model, Gemma 3 270M, has such
# columns: int8 alone raises its [perplexity](../glossary.ipynb#perplexity), and its outlier columns in floats take back two
# thirds of that ([the numbers](../../docs/results.md#outliers-in-a-real-language-model)).
#
# **Four bits** have 16 codes. Spread evenly, many of them would stand for large weights, of which there are few. *NF4*
# (Dettmers et al. 2023, [*QLoRA*](https://arxiv.org/abs/2305.14314)) puts them where normally distributed weights are dense,
# and has a scale for every 64 weights.
#
# ## 4 · Two bits: which weights become 0?
#
# *Ternary* weights are −α, 0 or α. Small weights become 0, all others get the same size. **TWN** (Li et al. 2016,
# [*Ternary weight networks*](https://arxiv.org/abs/1605.04711)) puts the threshold Δ at 0.7 times the mean $|w|$. By
# hand, for $w = (1, -0.2, 0.6, -0.2)$: the mean $|w|$ is 0.5, so Δ is 0.35. The codes are $(1, 0, 1, 0)$. What is the
# best α? The error $(1 - \alpha)^2 + 0.2^2 + (0.6 - \alpha)^2 + 0.2^2$ is smallest where α is the mean of 1 and 0.6, that
# is 0.8. In symbols:
#
# $$\Delta = 0.7 \cdot \tfrac{1}{n} \sum_i |w_i|, \qquad b_i = \mathrm{sign}(w_i)\,[\,|w_i| > \Delta\,], \qquad
#   \alpha = \text{mean of the } |w_i| \text{ with } b_i \ne 0 .$$
#
# ### Exercise 3: ternary codes
#
# *●○○ · 6 minutes*
#
# Rows (rows, n) in; codes (rows, n) of −1, 0 and 1, and α per row (rows, 1), out. A row of zeros has α = 0.
#
# ```python
# ternary_codes(torch.tensor([[1.0, -0.2, 0.6, -0.2]]))  # codes [[1, 0, 1, 0]], α [[0.8]]
# ```


# %%
def ternary_codes(w): ...  # your turn


ternary_codes = check.ternary_codes(ternary_codes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `kept = w.abs() > delta`, with Δ of each row, (rows, 1).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `w.sign() * kept` are the codes.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The mean of the kept ones is their sum divided by their number. `kept.sum(1, keepdim=True).clamp(min=1)` is never 0.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ternary_codes(w):
#     size = w.abs()
#     kept = size > 0.7 * size.mean(1, keepdim=True)
#     alpha = (size * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
#     return w.sign() * kept, alpha
# ```
# </details>
#
# TWN's 0.7 is a rule of thumb. But the exact optimum is not hard to find: whichever threshold is taken, the $k$ largest $|w|$
# are kept, and their mean is the best α. So it is enough to try all $k$. Below are the trained model's matrices. Move the
# slider:
#
# 1. Where is the error smallest, and how many weights are 0 there?
# 2. Choose other matrices. Does TWN's threshold (the square) ever lie far from the optimum (the star)?

# %%
from labkit.widgets import ternary_threshold

encoder = model.bert.encoder
ternary_threshold({name: one.weight for name, one in encoder.named_modules() if isinstance(one, torch.nn.Linear)})

# %% tags=["nbval-check-output"]
gaps, least = [], []
for one in encoder.modules():
    if isinstance(one, torch.nn.Linear):
        flat = one.weight.detach().double().reshape(1, -1)
        (codes, alpha), (b, a) = ternary_codes(flat), ternary.nearest(flat)
        off, best = ((flat - c * s).square().sum() / flat.square().sum() for c, s in ((codes, alpha), (b, a)))
        gaps.append(float(off - best))
        least.append(float(best))
print(f"{len(gaps)} matrices; TWN is never better than the optimum: {min(gaps) > -1e-12}, ", end="")
print(f"and its error is at most 0.01 above: {max(gaps) < 0.01}")
print(f"the optimum itself is off by more than a tenth everywhere: {min(least) > 0.1}")

# %% [markdown]
# So a better threshold would not help. Three values cannot come nearer to these weights: in every matrix even the best choice
# is off by more than a tenth of $\sum w^2$. What helps is to let the model *learn* weights that lie well in three values.
#
# ## 5 · Training with codes
#
# The codes jump: a small change of a weight changes nothing, or everything. So the gradient through them is 0 nearly
# everywhere, and nothing would be learned. The *[straight-through](../glossary.ipynb#straight-through-estimator)* way
# out: keep the full weights, compute with what their codes stand for, and pass the gradient on to the full weights as if
# there had been no rounding.
#
# ### Exercise 4: through the rounding
#
# *●●○ · 5 minutes*
#
# The full weights `w` and what their codes stand for, `shown` (both of one shape), in; out a tensor with the *values* of
# `shown`, whose *gradient* goes to `w` unchanged. `shown` gets none.
#
# ```python
# w = torch.tensor([[0.9, 0.1]], requires_grad=True)
# seen = through(w, torch.tensor([[0.8, 0.0]]))  # tensor([[0.8, 0.0]])
# (seen * torch.tensor([[3.0, 5.0]])).sum().backward()
# w.grad  # [[3, 5]]
# ```


# %%
def through(w, shown): ...  # your turn


through = check.through(through)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A sum of two parts: one has the gradient, the other only changes the value.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `w + (…)` has the gradient of `w`. What must be added so that its value is `shown`?
# </details>
#
# <details><summary>Hint 3</summary>
#
# The difference `shown - w`, with `.detach()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def through(w, shown):
#     return w + (shown - w).detach()
# ```
# </details>
#
# First small: six weights that begin at random, and data that were made with $(1, 0, -1, 1, 0, -1)$. **Predict**: will
# the codes find them?

# %% tags=["nbval-check-output"]
rng = torch.Generator().manual_seed(1)
data, wanted = torch.randn(64, 6, generator=rng), torch.tensor([[1.0, 0, -1, 1, 0, -1]])
w = torch.randn(1, 6, generator=rng).requires_grad_()
for step in range(61):
    codes, alpha = ternary_codes(w.detach())
    if step % 20 == 0:
        print(f"step {step:2}: codes {codes.int().tolist()[0]}, α {float(alpha):.1f}")
    loss = ((data @ through(w, codes * alpha).T - data @ wanted.T) ** 2).mean()
    (grad,) = torch.autograd.grad(loss, w)
    w.data -= 0.1 * grad

# %% [markdown]
# Now the whole model. The student is a copy of the trained model that computes with *your* codes: one α for each matrix
# of a layer, one for each row of embeddings, and activations in 8 bits. The original is its teacher: the student learns
# the teacher's hidden states, attention scores and [logits](../glossary.ipynb#logit). This is **TernaryBERT** (Zhang et
# al. 2020, [paper](https://arxiv.org/abs/2009.12812)).

# %%
from labkit.compression import aware
from labkit.compression.tinybert import TinyBert


def rule(weight, rows):
    codes, alpha = ternary_codes(weight if rows else weight.reshape(1, -1))
    return codes.view_as(weight), alpha


def teach(student, steps, seed=0):
    tiny = TinyBert(method, model)
    with tiny.attached(student):
        batches = Batches(train, method.collate, 16, seed=seed)
        labkit.fit(student, tiny, batches, steps=steps, lr=5e-4, seed=seed, progress=lab.progress)
    return student


student = teach(aware.prepare(copy.deepcopy(model), rule), STEPS)
packed = ternary.apply(aware.finish(copy.deepcopy(student)))
results = {"32 bits": shares["32 bits"], "ternary, rounded": shares["2 bits"], "ternary, trained": right(packed)}
print({name: f"{share:.1%}" for name, share in results.items()})

# %% tags=["nbval-check-output"]
print("ternary and trained, within 4 points of 32 bits:", results["ternary, trained"] > results["32 bits"] - 0.04)

# %% [markdown]
# Compare the last two numbers: the training has brought back what the rounding had cost, or nearly so. (200 answers have a
# [standard error](../glossary.ipynb#standard-error) of about 3 points.)
#
# There are finer ways to choose the codes. **LAT**, *loss-aware ternarization*, weighs the error of each weight by how
# much the loss depends on it, which it reads off Adam's average of squared gradients. [The results](../../docs/results.md#bits-per-weight)
# have both.
#
# ## 6 · One bit, by way of two
#
# With one bit a weight is $-\alpha$ or $\alpha$. The nearest such matrix has the signs of $w$, and α is the mean $|w|$.
# It is far from the model, because no weight can be small, so a training that begins there begins at a high loss.
# **BinaryBERT** (Bai et al. 2021, [paper](https://arxiv.org/abs/2012.15701)) begins elsewhere: a ternary matrix is the
# *sum of two binary ones*.
#
# $$\alpha = \tfrac{\alpha}{2} + \tfrac{\alpha}{2}, \qquad -\alpha = -\tfrac{\alpha}{2} - \tfrac{\alpha}{2}, \qquad
#   0 = \tfrac{\alpha}{2} - \tfrac{\alpha}{2} .$$
#
# So a trained ternary model can be split into two binary halves that give *the same answers*, and training goes on from
# there. But training needs full weights behind the halves. They must add up to $w$, and their signs and mean sizes must
# give the halves above. With $I$ the places whose code is not 0, $J$ those with code 0 and $w > 0$, and $K$ those with
# code 0 and $w \le 0$:
#
# | | on $I$ | on $J$ | on $K$ |
# |---|---|---|---|
# | $w_1$ | $a\,w$ | $w + b$ | $b$ |
# | $w_2$ | $(1 - a)\,w$ | $-b$ | $w - b$ |
#
# On each set the two add up to $w$. On $I$ both have the sign of $w$, on $J$ and $K$ they have opposite signs, if $0 < a < 1$
# and $b > 0$. Only the sizes remain: the mean $|w_1|$ and the mean $|w_2|$ must both be $\alpha / 2$. These are two
# equations for $a$ and $b$, and their solution is
#
# $$a = \frac{\sum_I |w| + \sum_K |w| - \sum_J |w|}{2 \sum_I |w|}, \qquad b = \frac{n\,\alpha - \sum |w|}{2\,(|J| + |K|)} .$$
#
# For $w = (1, -0.2, 0.6, -0.2)$: $I$ has 1 and 0.6, $K$ has both −0.2, $J$ is empty. So $a = (1.6 + 0.4) / 3.2 = 0.625$ and
# $b = (4 \cdot 0.8 - 2) / 4 = 0.3$. That gives $w_1 = (0.625, 0.3, 0.375, 0.3)$ and $w_2 = (0.375, -0.5, 0.225, -0.5)$.
# Both have the mean size 0.4, which is $\alpha / 2$.
#
# ### Exercise 5: the split
#
# *●●● · 12 minutes*
#
# Full weights (rows, n) in; $w_1$ and $w_2$, both (rows, n), out. Each row has its own α, $a$ and $b$. A row of zeros
# stays one: do not divide by 0.
#
# ```python
# split(torch.tensor([[1.0, -0.2, 0.6, -0.2]]))  # [[0.625, 0.3, 0.375, 0.3]] and [[0.375, -0.5, 0.225, -0.5]]
# ```


# %%
def split(w): ...  # your turn


split = check.split(split)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `codes, alpha = ternary_codes(w)`, then `I = codes != 0`, `J = ~I & (w > 0)`, `K = ~I & (w <= 0)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# $\sum_I |w|$ of each row is `(w.abs() * I).sum(1, keepdim=True)`, and $|J| + |K|$ is `(~I).sum(1, keepdim=True)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.where(I, a * w, torch.where(J, w + b, b))` is $w_1$. And $w_2$ is `w - w1`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def split(w):
#     codes, alpha = ternary_codes(w)
#     I = codes != 0
#     J, K = ~I & (w > 0), ~I & (w <= 0)
#     on_I, on_J, on_K = ((w.abs() * some).sum(1, keepdim=True) for some in (I, J, K))
#     a = (on_I + on_K - on_J) / (2 * on_I.clamp(min=1e-30))
#     b = (w.shape[1] * alpha - w.abs().sum(1, keepdim=True)) / (2 * (~I).sum(1, keepdim=True))
#     first = torch.where(I, a * w, torch.where(J, w + b, b))
#     return first, w - first
# ```
# </details>
#
# On a real matrix, in 64 bits:

# %% tags=["nbval-check-output"]
flat = student.bert.encoder.layer[1].output.dense.weight.detach().double().reshape(1, -1)
halves, (codes, alpha) = split(flat), ternary_codes(flat)
both = sum(c * s for c, s in (binary.bwn(half) for half in halves))
print("w₁ + w₂ = w to 1e-12:", bool((halves[0] + halves[1] - flat).abs().max() < 1e-12))
print("bin(w₁) + bin(w₂) = tern(w) to 1e-12:", bool((both - codes * alpha).abs().max() < 1e-12))

# %% [markdown]
# Now the whole student is split with your function and trained a little more. **Predict** its share of right answers
# *before* that.

# %%
full = aware.finish(student, full=True)  # the full weights behind the codes
names = [name for name, one in full.named_modules() if type(one) in (torch.nn.Linear, torch.nn.Embedding)]


def halve(weight, rows):
    first, second = split(weight if rows else weight.reshape(1, -1))
    return first.view_as(weight), second.view_as(weight)


pair = aware.prepare(binary.split_layers(copy.deepcopy(full), names, halve), binary.bwn)
results["split, not trained"] = right(pair)
results["split, trained on"] = right(teach(pair, STEPS // 3, seed=1))
print({name: f"{share:.1%}" for name, share in results.items()})

# %% tags=["nbval-check-output"]
difference = abs(results["split, not trained"] - results["ternary, trained"])
print("split, not trained: within one point of the ternary model:", difference < 0.011)

# %% [markdown]
# What do codes change for the training? Here all matrices are moved along one random direction, and the loss is taken.
# Look at the middle, where training goes on, and at how the lines leave it.

# %%
from labkit.compression.landscape import landscape, losses_along

batch, distances = method.collate(test[:64]), [step / 4 for step in range(-2, 3)]
others = {"32 bits": model, "ternary, trained": aware.prepare(copy.deepcopy(full), rule), "two halves, trained": pair,
          "binary, rounded": aware.prepare(copy.deepcopy(model), binary.bwn)}  # fmt: skip
losses = {name: losses_along(one, lambda model: method.loss(model, batch), distances) for name, one in others.items()}
rise = {name: (found[1] + found[3]) / 2 - found[2] for name, found in losses.items()}  # at ±0.25, above that at 0
print("a small move costs the ternary model more than the original:", rise["ternary, trained"] > rise["32 bits"])
landscape(losses, distances)

# %% [markdown]
# The original lies in a wide valley: a small move costs little. With codes even a small move costs something, because some
# codes jump. The rounded binary model is high above them all and on a plain, so there is little that shows a training the
# way. That is why the way by ternary weights is taken: the split begins down in the valley.
#
# ## 7 · Bits, bytes and right answers
#
# Four ternary codes are packed into one byte, or eight binary ones. A file also holds scales, biases and names, so a ternary
# file is not quite 16 times smaller. The table was measured on another task, whether a sentence answers a question, on which
# the papers report BERT-base. Two halves cost twice as many bits as one binary matrix, so compare them with the other rows of
# two bits. ([All rows and how they were made](../../docs/results.md#bits-per-weight).)

# %%
from labkit.report import Table
from labkit.report.pages import page

measured = page("quantization")
left_out = ("TernaryBERT (LAT)", "TernaryBERT (TWN), activations of 32 bits", "TernaryBERT (TWN), no distillation",
            "a small model on the labels")  # fmt: skip
runs, lines = {}, []
for row in measured.report.rows:
    runs.setdefault(row.method, []).append(row)
for name, rows in runs.items():
    if name not in left_out:
        right_share = 100 * sum(row.value for row in rows) / len(rows)
        lines.append((name, rows[0]["bits"], f"{rows[0].bytes / 1e6:.2f}", f"{right_share:.1f}",
                      str(measured.paper.get(name, ""))))  # fmt: skip
Table(("method", "bits of W-E-A", "MB", "right, %", "paper, %"), tuple(lines))

# %% [markdown]
# W, E and A are the weights of the layers, the embeddings and the activations. The shares are means of three runs with 1 000 test
# rows, so a difference of one point says nothing. (The split model and two binary matrices that were trained from the start differ by
# less, so the way by ternary weights has not paid here.) Read the rows from the top: which of those that are not trained lose nothing, which
# lose some points, and which come down to guessing (50 %)? In the paper, with the 12 layers of BERT-base, ternary weights
# are about one point below full precision after training.
#
# ## 8 · So, how few bits are enough?
#
# **Eight, without any training**: rounding moves each weight so little that the answers stay, as long as no activation is far
# larger than the others of its token. **Two, with training**: rounding alone costs points, and a model that computes with its
# codes while it learns from the original gets them back. **One is too few for rounding**: the model then knows hardly
# anything. The way there is a ternary model, whose halves begin with its answers. But two halves of one bit are two bits again.
# So BinaryBERT takes a ternary model of half the width: its halves together are as large as one binary model of full width.
#
# ## Read on
#
# - Dettmers et al. 2022 and 2023, Zhang et al. 2020, Bai et al. 2021, linked above; Hou & Kwok 2018,
#   [*Loss-aware weight quantization of deep networks*](https://arxiv.org/abs/1802.08635), for LAT.
# - [`benchmarks/int8.py`](../../benchmarks/int8.py): int8 and packed ternary layers beside other libraries.
# - [`int8.py`](../../labkit/compression/int8.py), [`ternary.py`](../../labkit/compression/ternary.py) and
#   [`binary.py`](../../labkit/compression/binary.py): your functions, with files that are checked when they are read.
# - Next, [04/05](05_elastic.ipynb): one model that can be cut to many sizes.
