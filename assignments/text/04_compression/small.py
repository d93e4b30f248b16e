# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     lesson: 04/03
#     points: 24
#     by_hand: 4
# ---

# %% [markdown]
# # Assignment 04: smaller models, by hand
#
# You know from lesson 04/01 how a student learns a teacher's answers, from 04/03 how heads leave a model, from 04/04 how
# weights become ternary and binary. Here you build the four machines behind these lessons, each a step further than there.
#
# | problem | what you write | lesson | points |
# |---|---|---|---|
# | 1 | `kd_loss`, `kd_slope`: distillation for any temperature, up to infinity, and its gradient | 04/01 | 5 |
# | 2 | `twn`, `best_scale`: ternary weights of tensors of any shape, and the best scale for given codes | 04/04 | 5 |
# | 3 | `binary`, `split`: two binary matrices whose sum is a ternary one | 04/04 | 5 |
# | 4 | `head_importance`, `remove_heads`: which attention heads a model can spare, and a model without them | 04/03 | 5 |
# | 5 | read what they do, in words (graded by hand) | all | 4 |
#
# **How it is graded.** Write between the lines of each answer cell; the cells marked *test* must stay as they are.
# A test that finds a mistake stops with a sentence that names it. Each test cell counts for itself, so a problem that
# is half right gets half its points. Besides the tests you see, there are hidden ones: their first line says what they
# ask. Problems do not build on one another. A cell may take 60 seconds; the reference takes less than 5 for everything.
#
# Write your own code from the formulas. You may use all of Python and torch, but nothing of `labkit` beyond what the cells
# import, and **autograd** (`backward`, `torch.autograd`, `torch.func`) only in problem 4. No function changes what it is given.

# %% locked="setup"
import copy
import math
import warnings

import torch
from torch import nn
from torch.nn import functional as F

import labkit

lab = labkit.setup()
warnings.simplefilter("ignore")  # the grader takes anything on standard error for a failure, a warning too
torch.set_num_threads(1)

# %% [markdown]
# ## Problem 1: a teacher at any temperature (5 points)
#
# The logits of a student $s$ and a teacher $t$ are (rows, classes); `labels` (rows,) holds class numbers, and −100 where a row
# has no label; it is `None` where no row has one. With the softened distributions
# $q^s = \text{softmax}(s / T)$, $q^t = \text{softmax}(t / T)$, for $n$ rows, of which the set $L$ has labels:
#
# $$\text{loss} = \alpha\, \frac{T^2}{n} \sum_{i=1}^{n} \sum_c q^t_{ic} \log \frac{q^t_{ic}}{q^s_{ic}} \;+\;
# (1 - \alpha)\, \frac{1}{|L|} \sum_{i \in L} -\log \text{softmax}(s_i)_{y_i}$$
#
# The second term knows no temperature. It is 0 where no row has a label.
#
# `kd_slope` gets the same arguments and returns the gradient with respect to the student's logits, (rows, classes). For one row of
# the first sum, without its factor $T^2$, it is $\frac 1T (q^s - q^t)$. **Derive the rest.**
#
# - **$T$ may be `math.inf`.** Then both return what the formulas approach as $T$ grows: put $e^{x/T} \approx 1 + x/T$ into the
#   gradient, and find the loss that has this gradient and is 0 where teacher and student agree.
# - A teacher may rule out a class: its logit is −∞, so $q^t = 0$, and the class adds 0 to the sum (only where $T$ is finite).
#   The student's logits are finite, but may be as large as $10^4$.
#
# Both raise `ValueError` where the logits have different shapes, where there is not one label a row, for a label that is no class
# and not −100, for $T$ not above 0, and for $\alpha$ outside $[0, 1]$.


# %% answer="kd_loss"
def kd_loss(student, teacher, labels, T=1.0, alpha=0.5):
    """Logits (rows, classes) twice, labels (rows,) or None -> the loss, a tensor of one number."""
    ### BEGIN SOLUTION
    labels = _known(student, teacher, labels, T, alpha)
    if T == math.inf:
        apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
        soft = apart.square().mean() / 2
    else:
        log_student, log_teacher = (student / T).log_softmax(1), (teacher / T).log_softmax(1)
        q = log_teacher.exp()
        # 0 · log 0 is 0 here, and NaN to a computer.
        soft = T * T * torch.where(q > 0, q * (log_teacher - log_student), 0.0).sum(1).mean()
    rows = (labels != -100).nonzero().flatten()
    hard = -student.log_softmax(1)[rows, labels[rows]].sum() / max(len(rows), 1)
    return alpha * soft + (1 - alpha) * hard


def _known(student, teacher, labels, T, alpha):
    if student.shape != teacher.shape or not T > 0 or not 0 <= alpha <= 1:
        raise ValueError("logits of one shape, a temperature above 0 and an alpha in [0, 1] are needed")
    if labels is None:
        return torch.full(student.shape[:1], -100)
    wrong = (labels != -100) & ((labels < 0) | (labels >= student.shape[1]))
    if labels.shape != student.shape[:1] or wrong.any():
        raise ValueError("one label a row is needed, a class or -100")
    return labels
    ### END SOLUTION


# %% answer="kd_slope"
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    """The gradient of kd_loss with respect to the student's logits, (rows, classes)."""
    ### BEGIN SOLUTION
    if student.shape != teacher.shape or not T > 0 or not 0 <= alpha <= 1:
        raise ValueError("logits of one shape, a temperature above 0 and an alpha in [0, 1] are needed")
    n, classes = student.shape
    if labels is None:
        labels = torch.full((n,), -100)
    if labels.shape != (n,) or ((labels != -100) & ((labels < 0) | (labels >= classes))).any():
        raise ValueError("one label a row is needed, a class or -100")
    if T == math.inf:
        apart = student - teacher
        soft = (apart - apart.mean(1, keepdim=True)) / classes
    else:
        soft = T * ((student / T).softmax(1) - (teacher / T).softmax(1))
    known = labels != -100
    hard = student.softmax(1) - F.one_hot(labels.clamp(min=0), classes)
    return alpha * soft / n + (1 - alpha) * hard * known[:, None] / max(int(known.sum()), 1)
    ### END SOLUTION


# %% test="kd_loss_visible" points=1
# Test (1 point): two rows, T = 2.5. The mean KL is 0.05657 there, the mean cross-entropy 0.32358.
student = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
teacher = torch.tensor([[1.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
labels, kl, ce = torch.tensor([0, 1]), 0.056573, 0.323575
loss = kd_loss(student, teacher, labels, 2.5, 0.75)
assert loss is not None, "kd_loss returns None: is the `return` missing?"
assert torch.is_tensor(loss) and loss.ndim == 0, "a tensor of one number is wanted"
loss, right = loss.item(), 0.75 * 6.25 * kl + 0.25 * ce
for wrong, why in [
    (0.75 * kl + 0.25 * ce, "the factor T² is missing"),
    (0.75 * 2.5 * kl + 0.25 * ce, "the first term is multiplied by T: it is T²"),
    (0.25 * 6.25 * kl + 0.75 * ce, "alpha is the teacher's share, 1 - alpha that of the labels"),
    (6.25 * (0.75 * kl + 0.25 * ce), "T² belongs to the first term alone"),
    (2 * right, "the means over the rows: you summed"),
    (0.75 * 6.25 * kl / 3 + 0.25 * ce, "the KL is summed over the classes: the mean is over rows alone"),
    (0.75 * 6.25 * 0.057547 + 0.25 * ce, "the KL is the wrong way round: the teacher's probabilities weigh the logs"),
    (0.75 * 6.25 * kl + 0.25 * 0.696199, "the cross-entropy knows no temperature: take softmax(s), not softmax(s / T)"),
]:
    assert abs(loss - wrong) > 3e-4, why
assert abs(loss - right) < 3e-4, f"0.75 · 6.25 · 0.05657 + 0.25 · 0.32358 = {right:.4f} is wanted, not {loss:.4f}"

# %% test="kd_slope_visible" points=1
# Test (1 point): the same; the gradients of the mean KL and of the mean cross-entropy, each alone.
student = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
teacher, labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), torch.tensor([0, 1])
of_kl = torch.tensor([[0.03044, -0.02757, -0.00287], [0.02566, -0.03046, 0.0048]])
of_ce = torch.tensor([[-0.10651, 0.05325, 0.05325], [0.12236, -0.16738, 0.04502]])
with torch.inference_mode():
    try:
        slope = kd_slope(student.clone(), teacher.clone(), labels.clone(), 2.5, 0.75)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise AssertionError(f"is this autograd? Write the formula instead ({error})") from error
assert slope is not None, "kd_slope returns None: is the `return` missing?"
assert tuple(slope.shape) == (2, 3), f"a slope for each logit, (2, 3), not {tuple(slope.shape)}"
right = 0.75 * 6.25 * of_kl + 0.25 * of_ce
for wrong, why in [
    (2 * right, "the loss is a mean over rows: divide by n"),
    (0.75 * 12.5 * of_kl + 0.25 * of_ce, "the first term is a mean over rows too: divide by n"),
    (-right, "the sign is wrong: q of the student minus q of the teacher"),
    (0.75 * of_kl + 0.25 * of_ce, "T² is missing"),
    (0.75 * 2.5 * of_kl + 0.25 * of_ce, "one T too few: T² times 1/T is T"),
    (0.75 * 15.625 * of_kl + 0.25 * of_ce, "1/T is missing: the logits are divided by T before the softmax"),
    (0.75 * 6.25 * of_kl, "the labels' part is missing"),
    (0.25 * 6.25 * of_kl + 0.75 * of_ce, "alpha is the teacher's share"),
]:
    assert not torch.allclose(slope, wrong, atol=1e-3), why
assert torch.allclose(slope, right, atol=1e-3), f"{right} is wanted, not {slope}"

# %% test="kd_limits" points=1
# Hidden test (1 point): alpha = 0 and 1; temperatures of 0.1, 1 000 and infinity.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(1)
for n, classes in ((1, 2), (5, 3), (4, 7)):
    s, t = (torch.randn(n, classes, generator=generator, dtype=torch.float64) * 2 for _ in range(2))
    y = torch.randint(classes, (n,), generator=generator)
    case = f"{n} rows, {classes} classes"
    ce, ones = F.cross_entropy(s, y).item(), F.one_hot(y, classes)
    for T in (0.1, 1.0, 1000.0, math.inf):
        assert abs(kd_loss(s, t, y, T, 0.0).item() - ce) < 1e-9, (
            f"{case}, T = {T}: alpha = 0 is the cross-entropy alone"
        )
        gap = abs(kd_slope(s, t, y, T, 0.0) - (s.softmax(1) - ones) / n).max().item()
        assert gap < 1e-9, f"{case}, T = {T}: with alpha = 0 the gradient is that of the cross-entropy alone"
        if T < math.inf:
            q, p = (t / T).softmax(1), (s / T).softmax(1)
            right = T * T * (q * (q.log() - p.log())).sum(1).mean().item()
            slope = T * (p - q) / n
        else:
            apart = (s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
            right, slope = apart.square().mean().item() / 2, apart / classes / n
        for labels in (y, None):
            found, given = kd_loss(s, t, labels, T, 1.0).item(), kd_slope(s, t, labels, T, 1.0)
            assert math.isfinite(found) and bool(given.isfinite().all()), f"{case}, T = {T}: not finite"
            told = (
                "the limit of the loss: half the mean square of the centred differences"
                if T == math.inf
                else "the loss"
            )
            assert abs(found - right) < 1e-5, f"{case}, T = {T}, alpha = 1: {told} is {right:.4f}, not {found:.4f}"
            told = (
                "the limit of the gradient: s - t less its mean, over n · classes" if T == math.inf else "the gradient"
            )
            assert abs(given - slope).max().item() < 1e-7, f"{case}, T = {T}, alpha = 1: {told}; yours is another"
### END HIDDEN TESTS

# %% test="kd_rows" points=1
# Hidden test (1 point): rows without labels, classes that a teacher rules out, logits of 10 000; nothing given is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(2)
s, t = (torch.randn(6, 4, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
y, T, alpha = torch.tensor([1, -100, 3, -100, -100, 0]), 3.0, 0.4
before = [one.tolist() for one in (s, t, y)]


def by_autograd(s, t, y):
    """The loss in float64, and its gradient, by autograd."""
    s = s.double().requires_grad_()
    log_q, q = (s / T).log_softmax(1), (t.double() / T).softmax(1)
    loss = alpha * T * T * (torch.xlogy(q, q) - q * log_q).sum() / len(s)
    if (y != -100).any():
        loss = loss + (1 - alpha) * F.cross_entropy(s, y)
    return loss.item(), torch.autograd.grad(loss, s)[0]


ruled = t.clone()
ruled[1, 2] = ruled[3, 0] = ruled[3, 1] = -math.inf
large = torch.tensor([[1e4, 0.0, -1e4, 5e3]], dtype=torch.float64).repeat(6, 1)
for given, case in [
    ((s, t, y), "three of six rows have labels: the second mean is over these, the first over all"),
    ((s, t, torch.full((6,), -100)), "no row has a label: the second term is 0"),
    ((s, ruled, y), "a class that the teacher rules out adds 0"),
    ((large, large.flip(1), torch.tensor([0, 1, 2, 3, -100, 0])), "logits of 10 000: stay in logs"),
]:
    right, wanted = by_autograd(*given)
    loss, slope = kd_loss(*given, T, alpha).item(), kd_slope(*given, T, alpha)
    assert math.isfinite(loss), f"{case}; the loss is {loss}"
    assert abs(loss - right) < 1e-6 * max(1.0, right), f"{case}; {right:.4f} is wanted, not {loss:.4f}"
    assert bool(slope.isfinite().all()), f"{case}; the gradient is not finite"
    assert abs(slope - wanted).max().item() < 1e-5, f"{case}; the gradient is another"
    if (given[2] == -100).all():
        alone = kd_loss(*given[:2], None, T, alpha).item()
        assert abs(alone - right) < 1e-6, "labels of None are as none at all"
assert [one.tolist() for one in (s, t, y)] == before, "a tensor that was given has been changed"
### END HIDDEN TESTS

# %% test="kd_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError, in both functions.
### BEGIN HIDDEN TESTS
fits = {
    "student": torch.ones(2, 3),
    "teacher": torch.ones(2, 3),
    "labels": torch.tensor([0, 2]),
    "T": 2.0,
    "alpha": 0.5,
}
for name, value, what in [
    ("teacher", torch.ones(2, 4), "a teacher with other classes"),
    ("teacher", torch.ones(1, 3), "a teacher with one row for two"),
    ("labels", torch.tensor([1]), "one label for two rows"),
    ("labels", torch.tensor([0, 3]), "a label that is no class"),
    ("labels", torch.tensor([0, -1]), "a label of -1"),
    ("T", 0.0, "a temperature of 0"),
    ("T", -2.0, "a temperature below 0"),
    ("alpha", 1.5, "an alpha above 1"),
    ("alpha", -0.1, "an alpha below 0"),
]:
    for function in (kd_loss, kd_slope):
        try:
            function(**(fits | {name: value}))
        except ValueError:
            continue
        raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert kd_slope(**fits).shape == (2, 3) and kd_loss(**fits).ndim == 0
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 2: ternary weights (5 points)
#
# `twn(w, rows)` makes weights ternary: codes $b$ of −1, 0 and 1, and a scale $\alpha$, with $w \approx \alpha b$.
#
# $$\Delta = 0.7 \cdot \text{mean}\, |w| \qquad b = \begin{cases} \text{sign}(w) & |w| > \Delta \\ 0 & \text{else} \end{cases} \qquad
# \alpha = \text{mean of } |w| \text{ over the weights with } b \ne 0$$
#
# `w` has two dimensions or more (a convolution has three). With `rows=False` all its numbers share one $\Delta$ and one
# $\alpha$; with `rows=True` each `w[i]` has its own. It returns the codes, of `w`'s shape, and the scales, with **as many dimensions
# as `w`**, so that `alpha * codes` works: (1, 1, 1) or (rows, 1, 1) for a convolution. Both are of `w`'s type. Where all weights
# are 0, all codes are 0, and so is $\alpha$.
#
# `best_scale(w, codes, rows)` is for codes that come from anywhere: it returns the scales for which $\sum (w - \alpha b)^2$
# is least, in the same shape. **Derive it.** A code may have another sign than its weight, and $\alpha$ may be below 0. Where all codes
# are 0, every $\alpha$ is as good: return 0.
#
# `ValueError` for `w` of fewer than two dimensions, for no numbers at all, for numbers that are not finite, for codes of
# another shape than `w`, and for codes other than −1, 0, 1.


# %% answer="twn"
def twn(w, rows=False):
    """Weights (rows, …) -> codes of their shape, and scales (rows, 1, …) or (1, 1, …)."""
    ### BEGIN SOLUTION
    if w.ndim < 2 or not w.numel() or not bool(w.isfinite().all()):
        raise ValueError("finite weights of two dimensions or more are needed")
    size = w.abs()
    shared = tuple(range(1 if rows else 0, w.ndim))
    kept = size > 0.7 * size.mean(shared, keepdim=True)
    alpha = (size * kept).sum(shared, keepdim=True) / kept.sum(shared, keepdim=True).clamp(min=1)
    return w.sign() * kept, alpha
    ### END SOLUTION


# %% answer="best_scale"
def best_scale(w, codes, rows=False):
    """Weights (rows, …) and codes of their shape -> the scales (rows, 1, …) or (1, 1, …) of the least squared error."""
    ### BEGIN SOLUTION
    if w.ndim < 2 or not w.numel() or not bool(w.isfinite().all()):
        raise ValueError("finite weights of two dimensions or more are needed")
    if codes.shape != w.shape or not bool(((codes == 0) | (codes == 1) | (codes == -1)).all()):
        raise ValueError("a code of -1, 0 or 1 for each weight is needed")
    shared = tuple(range(1 if rows else 0, w.ndim))
    b = codes.to(w.dtype)
    return (b * w).sum(shared, keepdim=True) / b.square().sum(shared, keepdim=True).clamp(min=1)
    ### END SOLUTION


# %% test="twn_visible" points=1
# Test (1 point): a row of four, then two rows, as one and each for itself.
answer = twn(torch.tensor([[1.0, -0.2, 0.6, -0.2]]))
assert isinstance(answer, tuple) and len(answer) == 2, "codes and scales are wanted: is the `return` missing?"
codes, alpha = answer
assert codes.shape == (1, 4) and tuple(alpha.shape) == (1, 1), (
    f"shapes (1, 4) and (1, 1), not {codes.shape}, {alpha.shape}"
)
assert codes.tolist() != [[1, -1, 1, -1]], "the threshold is not used: 0.7 · mean |w| = 0.35 here"
assert codes.tolist() == [[1, 0, 1, 0]], f"the threshold is 0.7 · 0.5 = 0.35: [1, 0, 1, 0], not {codes.tolist()[0]}"
assert abs(alpha.item() - 0.5) > 1e-3, "alpha is the mean over the weights that are kept, not over all"
assert abs(alpha.item() - 0.8) < 1e-3, f"alpha: 0.8 is wanted, not {alpha.item():.4f}"
w = torch.tensor([[4.0, -3.0, 0.5], [0.3, -0.1, 0.4]])
codes, alpha = twn(w)
assert codes.tolist() == [[1, -1, 0], [0, 0, 0]], f"one threshold for all, 0.97: {codes.tolist()}; mean |w| takes sizes"
assert abs(alpha.item() - 3.5) < 1e-3, f"one scale for all, 3.5, not {alpha.tolist()}"
codes, alpha = twn(w, rows=True)
assert codes.tolist() != [[1, -1, 0], [0, 0, 0]], "rows=True: each row has a threshold of its own"
assert codes.tolist() == [[1, -1, 0], [1, 0, 1]], f"row by row: [[1, -1, 0], [1, 0, 1]], not {codes.tolist()}"
assert tuple(alpha.shape) == (2, 1), f"rows=True: a scale a row, (2, 1), not {tuple(alpha.shape)}"
assert torch.allclose(alpha, torch.tensor([[3.5], [0.35]])), (
    f"the scales are 3.5 and 0.35, not {alpha.flatten().tolist()}"
)

# %% test="scale_visible" points=1
# Test (1 point): the best scale for twn's codes, and for two other choices of zeros.
w = torch.tensor([[1.0, -0.2, 0.6, -0.2]])
alpha = best_scale(w, torch.tensor([[1, 0, 1, 0]]))
assert alpha is not None, "best_scale returns None: is the `return` missing?"
assert tuple(alpha.shape) == (1, 1), f"the shape should be (1, 1), not {tuple(alpha.shape)}"
assert abs(alpha.item() - 0.8) < 1e-3, (
    f"the mean of 1 and 0.6, not {alpha.item():.4f}: divide by the number of codes that are not 0"
)
alpha = best_scale(w, torch.tensor([[1, -1, 1, -1]])).item()
assert abs(alpha - 0.5) < 1e-3, f"no code is 0: 0.5, not {alpha:.4f}"
alpha = best_scale(torch.tensor([[3.0, 1.0], [2.0, -4.0]]), torch.tensor([[1, 0], [1, -1]]), rows=True)
assert tuple(alpha.shape) == (2, 1), f"rows=True: a scale a row, (2, 1), not {tuple(alpha.shape)}"
assert torch.allclose(alpha, torch.tensor([[3.0], [3.0]])), f"3 and 3 are wanted, not {alpha.flatten().tolist()}"

# %% test="twn_shapes" points=1
# Hidden test (1 point): three and four dimensions, rows of very different sizes, rows of zeros, types; nothing is changed.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(3)
for shape in ((1, 1), (5, 8), (3, 40), (4, 3, 5), (2, 2, 3, 4)):
    for dtype in (torch.float32, torch.float64):
        w = torch.randn(shape, generator=generator, dtype=dtype)
        w = w * 10.0 ** torch.arange(len(w), dtype=dtype).reshape(-1, *[1] * (w.ndim - 1))
        if len(w) > 2:
            w[1] = 0.0
        before = w.tolist()
        for rows in (False, True):
            case = f"weights {shape}, rows={rows}"
            codes, alpha = twn(w, rows)
            assert w.tolist() == before, f"{case}: the weights have been changed"
            wanted = (len(w) if rows else 1, *[1] * (w.ndim - 1))
            assert codes.shape == w.shape, f"{case}: codes of the shape {tuple(codes.shape)}"
            assert tuple(alpha.shape) == wanted, f"{case}: scales {wanted} are wanted, not {tuple(alpha.shape)}"
            assert codes.dtype == alpha.dtype == dtype, f"{case}: codes and scales of the weights' type are wanted"
            flat = w.reshape(len(w) if rows else 1, -1)
            for row, code, scale in zip(flat, codes.reshape(flat.shape), alpha.flatten().tolist(), strict=True):
                sizes = [abs(number) for number in row.tolist()]
                kept = [size > 0.7 * sum(sizes) / len(sizes) for size in sizes]
                right = [math.copysign(1.0, number) * keep for number, keep in zip(row.tolist(), kept, strict=True)]
                best = sum(size for size, keep in zip(sizes, kept, strict=True) if keep) / max(sum(kept), 1)
                assert math.isfinite(scale), f"{case}: a scale is {scale}: a row of zeros has the scale 0"
                assert code.tolist() == right, f"{case}: other codes than by the formula: what shares a threshold?"
                assert abs(scale - best) < 1e-5 * max(best, 1.0), (
                    f"{case}: a scale of {best:.4f} is wanted, not {scale:.4f}"
                )
### END HIDDEN TESTS

# %% test="scale_holds" points=1
# Hidden test (1 point): codes drawn at random, also against the sign of their weights; no scale near by is better.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
generator = torch.Generator().manual_seed(4)
for shape in ((1, 6), (4, 9), (3, 2, 5)):
    for integers in (True, False):
        w = torch.randn(shape, generator=generator, dtype=torch.float64) + 0.3
        codes = torch.randint(-1, 2, shape, generator=generator)
        codes[0], codes[-1] = w[0].sign().long(), -w[-1].sign().long()
        if len(w) > 2:
            codes[1] = 0
        codes = codes if integers else codes.double()
        for rows in (False, True):
            case, dims = f"weights {shape}, rows={rows}", tuple(range(1 if rows else 0, w.ndim))
            alpha = best_scale(w, codes, rows)
            wanted = (len(w) if rows else 1, *[1] * (w.ndim - 1))
            assert tuple(alpha.shape) == wanted, f"{case}: scales {wanted} are wanted, not {tuple(alpha.shape)}"
            assert bool(alpha.isfinite().all()), f"{case}: not finite: where all codes are 0, the scale is 0"
            least = (w - alpha * codes).square().sum(dims)
            for step in (-0.01, 0.01):
                near = (w - (alpha + step) * codes).square().sum(dims)
                assert bool((near >= least - 1e-12).all()), (
                    f"{case}: a scale {step:+} away has a smaller error: a code against its weight's sign lowers the best scale"
                )
            empty = (codes == 0).all() if not rows else (codes == 0).flatten(1).all(1)
            assert not alpha.flatten()[empty.reshape(-1)].any(), f"{case}: where all codes are 0, return 0"
### END HIDDEN TESTS

# %% test="twn_refuses" points=1
# Hidden test (1 point): what does not fit is a ValueError.
### BEGIN HIDDEN TESTS
w, codes = torch.ones(2, 3), torch.ones(2, 3)
calls = [(twn, (bad,), what) for bad, what in [
    (torch.ones(3), "weights of one dimension"),
    (torch.ones(2, 0), "no numbers at all"),
    (torch.tensor([[1.0, math.nan]]), "a weight that is NaN"),
    (torch.tensor([[1.0, -math.inf]]), "an infinite weight"),
]]  # fmt: skip
calls += [(best_scale, (bad, torch.ones_like(bad)), what) for _, (bad,), what in calls]
calls += [
    (best_scale, (w, torch.ones(3, 2)), "codes of another shape"),
    (best_scale, (w, torch.ones(1, 3)), "codes of one row for two"),
    (best_scale, (w, codes * 2), "a code of 2"),
    (best_scale, (w, codes * 0.5), "a code of 0.5"),
]
for function, given, what in calls:
    try:
        function(*given)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError in {function.__name__}")
assert twn(w)[0].tolist() == codes.tolist() and best_scale(w, codes).item() == 1.0
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 3: a ternary matrix is the sum of two binary ones (5 points)
#
# `binary(w, rows)` is the nearest binary matrix: codes 1 where $w \ge 0$ (**also where $w = 0$**) and −1 elsewhere, and the
# scale mean $|w|$, of the whole matrix (1, 1) or of each row (rows, 1). Both are of `w`'s type. $\text{bin}(w)$ is their product.
#
# `split(w, codes, alpha)` gets a matrix, its ternary codes and their scale, (1, 1) for the whole matrix or (rows, 1) row by row.
# A code that is not 0 has its weight's sign; $\alpha$ need not be the mean of the kept weights. It returns two
# matrices with
#
# $$w_1 + w_2 = w \qquad \text{bin}(w_1) + \text{bin}(w_2) = \alpha\, b \qquad \text{(bin with scales as } \alpha \text{'s)}$$
#
# So a binary network of two halves begins with the ternary network's answers. The halves are, with numbers $p$ and $r$ of each
# row (or of the matrix):
#
# | where | $w_1$ | $w_2$ |
# |---|---|---|
# | $I$: $b \ne 0$ | $p\,w$ | $(1 - p)\,w$ |
# | $J$: $b = 0$, $w > 0$ | $w + r$ | $-r$ |
# | $K$: $b = 0$, $w \le 0$ | $r$ | $w - r$ |
#
# **Derive $p$ and $r$** from the scales: the mean of $|w_1|$ and that of $|w_2|$ must both be $\alpha / 2$. (Write both means with
# $\sum_I |w|$, $\sum_J |w|$ and $\sum_K |w|$; subtract them for $p$, add them for $r$.)
#
# Where all weights are 0, with a scale of 0, both halves are 0. Else there is no split, and `ValueError` is raised, where no
# code is 0, or $p$ is not between 0 and 1, or $r$ is not above 0. So it is for codes of another shape than `w`, and for scales
# of another shape than (1, 1) or (rows, 1).


# %% answer="binary"
def binary(w, rows=False):
    """A matrix (rows, columns) -> codes of its shape, and scales (rows, 1) or (1, 1)."""
    ### BEGIN SOLUTION
    scale = w.abs().mean(1 if rows else (0, 1), keepdim=True)
    return torch.where(w >= 0, torch.ones_like(w), -torch.ones_like(w)), scale
    ### END SOLUTION


# %% answer="split"
def split(w, codes, alpha):
    """A matrix (rows, columns), its ternary codes and scales -> two matrices of its shape."""
    ### BEGIN SOLUTION
    if codes.shape != w.shape or alpha.shape not in ((1, 1), (len(w), 1)):
        raise ValueError("codes of the weights' shape, and a scale a row or one for all are needed")
    flat = w if len(alpha) == len(w) else w.reshape(1, -1)
    on = codes.reshape(flat.shape) != 0
    above, below, size = ~on & (flat > 0), ~on & (flat <= 0), flat.abs()
    inside, up, down = ((size * where).sum(1, keepdim=True) for where in (on, above, below))
    empty = (size.sum(1, keepdim=True) == 0) & (alpha == 0) & ~on.any(1, keepdim=True)
    p = (inside + down - up) / (2 * inside)
    r = (flat.shape[1] * alpha - inside - up - down) / (2 * (~on).sum(1, keepdim=True))
    p, r = p.masked_fill(empty, 0.5), r.masked_fill(empty, 0.0)
    if not bool(((p > 0) & (p < 1) & r.isfinite() & ((r > 0) | empty)).all()):
        raise ValueError("there is no split: no code is 0, or the scale does not fit")
    first = torch.where(on, p * flat, torch.where(above, flat + r, r.expand_as(flat)))
    return first.reshape(w.shape), (flat - first).reshape(w.shape)
    ### END SOLUTION


# %% test="binary_visible" points=1
# Test (1 point): two rows, one with a 0.
w = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
answer = binary(w)
assert isinstance(answer, tuple) and len(answer) == 2, "codes and scales are wanted: is the `return` missing?"
codes, scale = answer
assert codes.shape == (2, 2) and tuple(scale.shape) == (1, 1), (
    f"shapes (2, 2) and (1, 1), not {codes.shape}, {scale.shape}"
)
assert codes[1, 0].item() != 0, "the code of 0 is 1: a binary matrix has no 0"
assert codes.tolist() == [[1, -1], [1, 1]], f"[[1, -1], [1, 1]] is wanted, not {codes.tolist()}"
assert abs(scale.item() - 2.0) > 1e-6, "the mean is over all weights, the 0 among them"
assert abs(scale.item() - 1.5) < 1e-6, f"the scale is mean |w| = 1.5, not {scale.item():.4f}"
codes, scale = binary(w.double(), rows=True)
assert tuple(scale.shape) == (2, 1), f"rows=True: a scale a row, (2, 1), not {tuple(scale.shape)}"
assert scale.tolist() == [[2.0], [1.0]], f"rows=True: the scales 2 and 1, not {scale.flatten().tolist()}"
assert codes.dtype == scale.dtype == torch.float64, "codes and scales of the weights' type are wanted"

# %% test="split_visible" points=1
# Test (1 point): four weights, two of which have the code 0.
w, codes, alpha = torch.tensor([[1.2, -0.8, 0.3, -0.1]]), torch.tensor([[1.0, -1.0, 0.0, 0.0]]), torch.tensor([[1.0]])
answer = split(w, codes, alpha)
assert isinstance(answer, tuple) and len(answer) == 2, "two matrices are wanted: is the `return` missing?"
first, second = answer
assert first.shape == second.shape == w.shape, "both halves have the matrix's shape"
assert torch.allclose(first + second, w, atol=1e-6), f"the halves should sum to w, not to {(first + second).tolist()}"
assert bool(((first[:, :2] * codes[:, :2] > 0) & (second[:, :2] * codes[:, :2] > 0)).all()), (
    "where the code is not 0, both halves have its sign"
)
assert bool(((first[:, 2:] >= 0) != (second[:, 2:] >= 0)).all()), (
    "where the code is 0, the halves have different signs, so that their codes cancel; the code of 0 is 1"
)
sizes = [first.abs().mean().item(), second.abs().mean().item()]
assert abs(sum(sizes) - 1.0) < 1e-4, f"r: the means of both halves should sum to alpha = 1, not to {sum(sizes):.4f}"
assert abs(sizes[0] - sizes[1]) < 1e-4, (
    f"p: both halves should have one mean size, not {sizes[0]:.4f} and {sizes[1]:.4f}"
)


# %% locked="bin_of"
def bin_of(w, rows):
    """bin(w) = scale · codes, in float64."""
    w = w.double()
    scale = w.abs().mean(1, keepdim=True) if rows else w.abs().mean()
    return scale * (2.0 * (w >= 0).double() - 1.0)


# %% test="split_holds" points=1
# Hidden test (1 point): both identities to 1e-10, for matrices whole and row by row.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
assert bin_of(torch.tensor([[0.0, -3.0]]), True).tolist() == [[1.5, -1.5]], "bin_of itself has been changed"
generator = torch.Generator().manual_seed(5)
for shape in ((1, 12), (3, 20), (8, 16), (5, 64)):
    for rows in (False, True):
        case = f"a matrix {shape}, scales {'row by row' if rows else 'of the whole'}"
        w = torch.randn(shape, generator=generator, dtype=torch.float64)
        w = w * torch.linspace(0.5, 3.0, len(w), dtype=torch.float64)[:, None]
        size = w.abs() if rows else w.abs().reshape(1, -1)
        kept = size > 0.7 * size.mean(1, keepdim=True)
        alpha = (size * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
        codes = w.sign() * kept.reshape(shape)
        before = [one.tolist() for one in (w, codes, alpha)]
        first, second = split(w, codes, alpha)
        assert [one.tolist() for one in (w, codes, alpha)] == before, f"{case}: something given has been changed"
        assert abs(first + second - w).max().item() < 1e-10, f"{case}: w1 + w2 is not w"
        gap = abs(bin_of(first, rows) + bin_of(second, rows) - alpha * codes)
        assert gap.max().item() < 1e-10, (
            f"{case}: bin(w1) + bin(w2) is {gap.max().item():.2g} away from alpha · b: do p and r belong to each row (or to all)?"
        )
### END HIDDEN TESTS

# %% test="split_edges" points=1
# Hidden test (1 point): weights of exactly 0, rows of zeros, a single code of 0, scales that are no mean; float32 stays.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"
assert bin_of(torch.tensor([[0.0, -3.0]]), True).tolist() == [[1.5, -1.5]], "bin_of itself has been changed"
number = torch.tensor
for w, codes, alpha, what in [
    (number([[2.0, -2.0, 0.0, 0.0]]), number([[1.0, -1, 0, 0]]), number([[2.0]]), "weights of exactly 0"),
    (number([[2.0, -1.0, 3.0, 0.5]]), number([[1.0, -1, 1, 0]]), number([[2.0]]), "a single code of 0"),
    (number([[1.0, -2.0, 0.3, -0.2, 0.1]]), number([[1.0, -1, 0, 0, 0]]), number([[1.9]]), "a scale that is no mean"),
    (
        number([[1.0, 0.2, -1.5], [0.0, 0.0, 0.0]]),
        number([[1.0, 0, -1], [0, 0, 0]]),
        number([[1.25], [0.0]]),
        "a row of zeros",
    ),
    (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 1), "a matrix of zeros"),
    (number([[1.0, -0.1], [-0.1, -1.2]]), number([[1.0, 0], [0, -1]]), number([[1.1]]), "one scale for two rows"),
]:
    for dtype in (torch.float32, torch.float64):
        w, codes, alpha = (one.to(dtype) for one in (w, codes, alpha))
        first, second = split(w, codes, alpha)
        assert first.dtype == second.dtype == dtype, f"{what}: the halves should be of the weights' type, {dtype}"
        assert bool(first.isfinite().all() and second.isfinite().all()), f"{what}: a half is not finite"
        assert abs(first + second - w).max().item() < 1e-6, f"{what}: w1 + w2 is not w"
        rows = len(alpha) > 1 or len(w) == 1
        gap = abs(bin_of(first, rows) + bin_of(second, rows) - alpha * codes).max().item()
        assert gap < 1e-5, f"{what}: bin(w1) + bin(w2) is {gap:.2g} away from alpha · b"
### END HIDDEN TESTS

# %% test="split_refuses" points=1
# Hidden test (1 point): where there is no split, and where something does not fit, a ValueError.
### BEGIN HIDDEN TESTS
number = torch.tensor
for w, codes, alpha, what in [
    (number([[1.0, -2.0]]), number([[1.0, -1.0]]), number([[1.5]]), "a matrix without a code of 0"),
    (
        number([[1.0, 0.2], [3.0, -2.0]]),
        number([[1.0, 0], [1, -1]]),
        number([[1.0], [2.5]]),
        "a row without a code of 0",
    ),
    (number([[1.0, 0.9, 0.9]]), number([[1.0, 0, 0]]), number([[1.0]]), "p below 0"),
    (number([[1.0, -0.9, -0.9]]), number([[1.0, 0, 0]]), number([[1.0]]), "p above 1"),
    (number([[1.0, 0.5]]), number([[1.0, 0]]), number([[0.7]]), "r below 0"),
    (number([[0.0, 0.5]]), number([[0.0, 0]]), number([[1.0]]), "no code but 0 for weights that are not 0"),
    (number([[1.0, 0.5]]), number([[1.0], [0]]), number([[1.0]]), "codes of another shape"),
    (number([[1.0, 0.5]]), number([[1.0, 0.0]]), number([1.0]), "a scale of one dimension"),
    (torch.ones(3, 2), torch.eye(3)[:, :2], torch.ones(2, 1), "two scales for three rows"),
]:
    try:
        split(w, codes, alpha)
    except ValueError:
        continue
    raise AssertionError(f"{what} should be a ValueError")
assert torch.allclose(sum(split(number([[1.0, 0.5]]), number([[1.0, 0.0]]), number([[1.0]]))), number([[1.0, 0.5]]))
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 4: heads that a model can spare (5 points)
#
# `Small` below is a small Transformer: `model.layers` are layers with an `attention`, whose `query`, `key` and `value` map $d$ numbers
# to `heads · size` (head $h$ has the numbers from $h \cdot$ `size` on), and whose `out` maps the heads, side by side, back to $d$.
#
# **Which heads matter?** Multiply what head $h$ of a layer gives, before `out`, by a number $m_h$. At $m = 1$ nothing changes. The
# importance of the head is how much the loss would change, to first order, summed over batches:
#
# $$I_h = \sum_{\text{batches}} \left| \frac{\partial L}{\partial m_h} \right|_{m = 1}$$
#
# Write `head_importance(model, loss, batches)`: a list with a tensor (heads,) for each layer. `loss(model, batch)` gives a scalar.
# Autograd is allowed here. The model must come back as it was: no hook, no gradient in `.grad`, nothing replaced, train or
# evaluation mode as before. Its weights may be frozen (`requires_grad` is False); then they stay so. `Small` must not be rewritten; a
# forward hook or pre-hook (`register_forward_pre_hook`) reaches what stands before `out`.
#
# **Take them out.** Write `remove_heads(model, gone)`, which returns a **new model** without the heads that `gone` names, such as
# `{0: [1, 3]}`: heads 1 and 3 of layer 0, all counted from 0. The given model stays as it is, and shares no memory with the new
# one.
#
# - The new model answers as the given one with these heads multiplied by 0, and has **fewer weights**: it holds none of the
#   removed heads' any more. `heads` tells the new number. The type of the numbers stays.
# - A head may stand twice in a list. All heads of a layer may go: `nn.Linear(0, d)` gives its bias.
# - Heads can be removed again from a model that has lost some: numbers are those of the model that is given.
#
# `ValueError` for a layer or a head that is not there (−1 is not there).


# %% locked="Small"
class Attention(nn.Module):
    """Self-attention of `heads` heads, each of `size` numbers."""

    def __init__(self, d, heads, size):
        super().__init__()
        self.heads, self.size = heads, size
        self.query, self.key, self.value = (nn.Linear(d, heads * size) for _ in range(3))
        self.out = nn.Linear(heads * size, d)

    def forward(self, x, seen):  # (batch, tokens, d) and (batch, tokens), True for tokens that are no padding
        batch, tokens, _ = x.shape
        parts = (layer(x).view(batch, tokens, self.heads, self.size) for layer in (self.query, self.key, self.value))
        q, k, v = (part.transpose(1, 2) for part in parts)
        scores = (q @ k.mT / math.sqrt(self.size)).masked_fill(~seen[:, None, None], -1e9)
        heads = (scores.softmax(-1) @ v).transpose(1, 2)  # (batch, tokens, heads, size)
        return self.out(heads.flatten(2))


class Layer(nn.Module):
    """Attention, then a small network; each is added to what it reads."""

    def __init__(self, d, heads, size):
        super().__init__()
        self.attention, self.first, self.second = Attention(d, heads, size), nn.LayerNorm(d), nn.LayerNorm(d)
        self.feed = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x, seen):
        x = x + self.attention(self.first(x), seen)
        return x + self.feed(self.second(x))


class Small(nn.Module):
    """Tokens (batch, tokens), 0 for padding -> logits (batch, 3)."""

    def __init__(self, layers=2, d=12, heads=4, size=3):
        super().__init__()
        self.embed, self.read = nn.Embedding(20, d), nn.Linear(d, 3)
        self.layers = nn.ModuleList(Layer(d, heads, size) for _ in range(layers))
        for number, weight in enumerate(self.parameters()):  # the same on every machine
            weight.data = torch.sin(torch.arange(weight.numel()) * (1.7 + 0.1 * number)).view_as(weight) * 0.9

    def forward(self, tokens):
        seen = tokens != 0
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, seen)
        return self.read((x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True))


def cost(model, batch):
    """The cross-entropy of a batch: tokens and labels."""
    return F.cross_entropy(model(batch[0]), batch[1])


BATCHES = [
    (torch.tensor([[3, 7, 1, 0], [5, 2, 9, 4]]), torch.tensor([0, 2])),
    (torch.tensor([[8, 6, 11], [13, 1, 0], [2, 19, 17]]), torch.tensor([1, 1, 0])),
]


# %% answer="head_importance"
def head_importance(model, loss, batches):
    """A tensor (heads,) for each layer: the sum over the batches of |∂loss/∂m| at m = 1."""
    ### BEGIN SOLUTION
    attentions = [layer.attention for layer in model.layers]
    masks = [torch.ones(one.heads, dtype=one.out.weight.dtype, requires_grad=True) for one in attentions]
    total = [torch.zeros_like(mask) for mask in masks]
    handles = []
    for one, mask in zip(attentions, masks, strict=True):

        def multiplied(_, given, mask=mask, size=one.size):
            return (given[0] * mask.repeat_interleave(size),)

        handles.append(one.out.register_forward_pre_hook(multiplied))
    try:
        for batch in batches:
            for sum_, slope in zip(total, torch.autograd.grad(loss(model, batch), masks), strict=True):
                sum_ += slope.abs()
    finally:
        for handle in handles:
            handle.remove()
    return total
    ### END SOLUTION


# %% answer="remove_heads"
def remove_heads(model, gone):
    """A new model without the heads in `gone`, which maps layers to lists of heads, all counted from 0."""
    ### BEGIN SOLUTION
    for number, heads in gone.items():
        if number not in range(len(model.layers)) or not set(heads) <= set(range(model.layers[number].attention.heads)):
            raise ValueError(f"layer {number}, heads {list(heads)}: there are no such heads")
    new = copy.deepcopy(model)
    for number, heads in gone.items():
        attention = new.layers[number].attention
        kept = [head for head in range(attention.heads) if head not in heads]
        places = [head * attention.size + at for head in kept for at in range(attention.size)]
        for linear in (attention.query, attention.key, attention.value):
            linear.weight, linear.bias = (
                nn.Parameter(linear.weight.data[places]),
                nn.Parameter(linear.bias.data[places]),
            )
            linear.out_features = len(places)
        attention.out.weight = nn.Parameter(attention.out.weight.data[:, places])
        attention.out.in_features, attention.heads = len(places), len(kept)
    return new
    ### END SOLUTION


# %% test="importance_visible" points=1
# Test (1 point): two layers of four heads, two batches.
found = head_importance(Small(), cost, BATCHES)
assert found is not None, "head_importance returns None: is the `return` missing?"
assert len(found) == 2 and all(tuple(one.shape) == (4,) for one in found), (
    "a tensor (4,) for each of the two layers is wanted"
)
found = torch.stack([torch.as_tensor(one).detach() for one in found])
right = torch.tensor([[0.1633, 0.3393, 0.1426, 0.1077], [0.3338, 0.5256, 0.6629, 0.5114]])
summed = torch.tensor([[-0.1633, -0.3393, -0.0787, 0.1077], [-0.0268, 0.0638, 0.2428, 0.2654]])
assert not torch.allclose(found, summed, atol=1e-3), "the sign is still there: the absolute value of each batch's slope"
assert not torch.allclose(found, summed.abs(), atol=1e-3), (
    "you took the absolute value of the sum: slopes of different batches cancel; take it batch by batch"
)
assert not torch.allclose(found, right / 2, atol=1e-3), "the batches are summed, not averaged"
assert not torch.allclose(found, right.square(), atol=1e-3), "the absolute value is wanted, not the square"
assert torch.allclose(found, right, atol=1e-3), f"{right} is wanted, not {found}"

# %% test="removed_visible" points=1
# Test (1 point): a head of each layer leaves: the weights fall, the answers are those of the masked model.
model, tokens = Small(), BATCHES[0][0]
before = model(tokens).detach()
new = remove_heads(model, {0: [1], 1: [3]})
assert isinstance(new, Small), "a new model is wanted: is the `return` missing?"
assert new is not model, "a new model is wanted, and the given one is to stay as it is: copy.deepcopy"
assert [layer.attention.heads for layer in new.layers] == [3, 3], "`heads` should be 3 in both layers of the new model"
shapes = {name: tuple(getattr(new.layers[0].attention, name).weight.shape) for name in ("query", "key", "value", "out")}
assert shapes["out"] != (12, 12), "`out` still reads four heads: it has columns of the removed one"
assert shapes == {"query": (9, 12), "key": (9, 12), "value": (9, 12), "out": (12, 9)}, (
    f"three rows leave query, key and value, three columns leave out: {shapes}"
)
assert all(tuple(getattr(new.layers[1].attention, name).bias.shape) == (9,) for name in ("query", "key", "value")), (
    "the biases of the removed rows leave too"
)
found = new(tokens).detach()
assert torch.allclose(model(tokens), before), "the given model has changed"
assert not torch.allclose(found, before, atol=1e-3), "the answers have not changed"
right = torch.tensor([[-2.3452, 1.5900, 0.4293], [0.8373, 0.2140, -0.2090]])
assert torch.allclose(found, right, atol=1e-3), (
    f"with these heads at 0 the model answers {right}, not {found}: were rows h · size to (h + 1) · size taken?"
)

# %% test="importance_holds" points=1
# Hidden test (1 point): batches of many sizes against differences, frozen weights; the model comes back as it was.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"


def by_differences(model, batches):
    """Σ |(L(m = 1 + e) − L(m = 1 − e)) / 2e|, by columns of `out` that are multiplied."""
    found = []
    for number, layer in enumerate(model.layers):
        row = []
        for head in range(layer.attention.heads):
            costs = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                other = copy.deepcopy(model)
                size = layer.attention.size
                other.layers[number].attention.out.weight.data[:, head * size : (head + 1) * size] *= factor
                costs.append([cost(other, batch).item() for batch in batches])
            row.append(sum(abs(up - down) / 2e-5 for up, down in zip(*costs, strict=True)))
        found.append(row)
    return found


generator = torch.Generator().manual_seed(6)
many = [
    (torch.randint(1, 20, (n, m), generator=generator), torch.randint(3, (n,), generator=generator))
    for n, m in ((1, 5), (4, 2), (2, 7), (3, 1))
]
for layers, d, heads, size, frozen in ((1, 6, 1, 4, False), (3, 8, 2, 4, False), (2, 10, 5, 3, True)):
    case = f"{layers} layers, {heads} heads of {size}{', frozen' if frozen else ''}"
    model = Small(layers, d, heads, size).double().requires_grad_(not frozen)
    model.train(not frozen)
    modules, state = dict(model.named_modules()), {name: one.tolist() for name, one in model.state_dict().items()}
    found = head_importance(model, cost, many)
    wanted = by_differences(model, many)
    gap = max(
        abs(a - b) for one, row in zip(found, wanted, strict=True) for a, b in zip(one.tolist(), row, strict=True)
    )
    assert gap < 1e-6, f"{case}: the importance differs by {gap:.2g} from |ΔL / Δm|, summed over {len(many)} batches"
    assert dict(model.named_modules()) == modules, f"{case}: a module of the model was replaced"
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules()), f"{case}: a hook was left"
    assert all(one.grad is None for one in model.parameters()), f"{case}: gradients were left in `.grad`"
    assert all(one.requires_grad is not frozen for one in model.parameters()), f"{case}: frozen weights are to stay so"
    assert model.training is not frozen, f"{case}: train or evaluation mode has changed"
    assert {name: one.tolist() for name, one in model.state_dict().items()} == state, f"{case}: weights have changed"
    assert not any(one.requires_grad for one in found), f"{case}: the importance still carries its graph: detach it"
### END HIDDEN TESTS

# %% test="removed_holds" points=1
# Hidden test (1 point): other sizes, all heads of a layer, a head named twice, removed again; the given model stays.
### BEGIN HIDDEN TESTS
assert not torch.allclose(torch.zeros(2), torch.ones(2)), "the comparison itself has been changed"


def with_zeros(model, gone):
    """A copy in which the columns of `out` for these heads are 0."""
    other = copy.deepcopy(model)
    for number, heads in gone.items():
        attention = other.layers[number].attention
        for head in heads:
            attention.out.weight.data[:, head * attention.size : (head + 1) * attention.size] = 0
    return other


tokens = torch.tensor([[4, 9, 15, 2, 7], [11, 3, 0, 0, 0]])
for (layers, d, heads, size), gone in [
    ((2, 12, 4, 3), {1: [0, 2]}),
    ((3, 8, 5, 2), {0: [4], 2: [0, 1, 3]}),
    ((2, 6, 3, 4), {0: [2, 2, 0]}),
    ((2, 6, 3, 4), {1: [0, 1, 2]}),
    ((1, 6, 1, 2), {0: [0]}),
    ((2, 6, 3, 4), {0: []}),
    ((2, 6, 3, 4), {}),
]:
    for dtype in (torch.float64, torch.float32):
        case = f"{layers} layers of {heads} heads of {size}, gone {gone}"
        model = Small(layers, d, heads, size).to(dtype)
        state = {name: one.tolist() for name, one in model.state_dict().items()}
        new = remove_heads(model, {number: list(some) for number, some in gone.items()})
        assert {name: one.tolist() for name, one in model.state_dict().items()} == state, (
            f"{case}: the given model changed"
        )
        counted = [heads - len(set(gone.get(number, []))) for number in range(layers)]
        told = [layer.attention.heads for layer in new.layers]
        assert told == counted, f"{case}: `heads` should be {counted}, not {told}; a head that stands twice is one head"
        left = sum(len(set(some)) for some in gone.values())
        counts = [sum(one.numel() for one in every.parameters()) for every in (model, new)]
        fewer = left * (4 * d * size + 3 * size)
        assert counts[0] - counts[1] == fewer, f"{case}: {fewer} weights should leave, not {counts[0] - counts[1]}"
        assert all(one.dtype == dtype for one in new.parameters()), (
            f"{case}: the type of the numbers should stay {dtype}"
        )
        gap = abs(new(tokens) - with_zeros(model, gone)(tokens)).max().item()
        assert gap < 1e-4, f"{case}: the answers differ by {gap:.2g} from those of the masked model"
        for one in new.parameters():
            one.data.fill_(0.5)
        assert {name: one.tolist() for name, one in model.state_dict().items()} == state, (
            f"{case}: the two share memory"
        )
model = Small(2, 8, 4, 2).double()
new = remove_heads(remove_heads(model, {0: [1], 1: [0]}), {0: [1, 2]})
gap = abs(new(tokens) - with_zeros(model, {0: [1, 2, 3], 1: [0]})(tokens)).max().item()
assert gap < 1e-8, f"removed again: the numbers are those of the model that is given; the answers differ by {gap:.2g}"
assert [layer.attention.heads for layer in new.layers] == [1, 3], "removed again: `heads` should be 1 and 3"
### END HIDDEN TESTS

# %% test="removed_refuses" points=1
# Hidden test (1 point): layers and heads that are not there are a ValueError, and change nothing.
### BEGIN HIDDEN TESTS
model = Small()
state = {name: one.tolist() for name, one in model.state_dict().items()}
for gone, what in [
    ({2: [0]}, "a layer that is not there"),
    ({-1: [0]}, "layer -1"),
    ({0: [4]}, "a head that is not there"),
    ({0: [-1]}, "head -1"),
    ({0: [0], 1: [9]}, "a second layer's head that is not there"),
    ({5: []}, "a layer that is not there, without heads"),
]:
    try:
        remove_heads(model, gone)
    except ValueError:
        assert {name: one.tolist() for name, one in model.state_dict().items()} == state, (
            f"{what}: the model has changed"
        )
        continue
    raise AssertionError(f"{what} should be a ValueError")
assert remove_heads(model, {0: [0]}).layers[0].attention.heads == 3
### END HIDDEN TESTS

# %% [markdown]
# ## Problem 5: what it costs (4 points, graded by hand)
#
# Answer in one to three sentences each, with numbers.
#
# 1. Why is the first term of the distillation loss multiplied by $T^2$: how large is its gradient without it, for $T = 10$ against
#    $T = 1$? Which loss is it at $T = \infty$, and how much does a class count there that the teacher holds for nearly impossible?
# 2. Use your own `twn` and `binary` on `torch.randn(1000, 1000)`: which share of $\sum w^2$ is left in $\sum (w - \alpha b)^2$ for each of
#    the two? How many bytes do the codes (2 bits and 1 bit) and the scales of the rows (float32) take, against float32 weights?
# 3. Two binary matrices in place of one ternary: how many bits a weight is that in the end? What is then gained by the split,
#    if the answers are the same and the bytes are not fewer?
# 4. A layer of BERT-base ($d = 768$, 12 heads of 64, a feed-forward network of 3072; 7.09 million weights) loses half of its heads: how
#    many weights leave, which share of the layer is that? Why does the importance take $|\cdot|$ of each batch, and not of
#    the sum over all batches?

# %% [markdown] manual="reading" points=4
# 1. Without it the gradient is (q_s − q_t)/T, and q_s − q_t itself falls as 1/T: for T = 10 about 1/100 of that for T = 1, while
#    the labels' part stays as large. At infinity it is half the mean square of the differences of the centred logits: a class of
#    probability 10⁻⁶ counts as much there as the likeliest. (At T = 1 its gradient is about as small as its probability.)
# 2. Left: 19 % (ternary) and 36 % (binary; 1 − 2/π). 250 000 + 4 000 bytes and 125 000 + 4 000 against 4 000 000: 15.7 and 31 times
#    smaller.
# 3. 1 + 1 = 2 bits, as many as the ternary takes. Gained: the binary network begins with the ternary's answers and not from an error of
#    36 % or from nothing, and then trains twice as many weights. If the ternary network had half of the weights, the result
#    takes the bytes of a full binary network.
# 4. 3 · (768 · 384 + 384) + 384 · 768 = 1.18 million, 17 % of the layer (all of it is attention's). Slopes of different batches have
#    different signs: for head 0 of layer 1 in the visible test −0.18 and 0.15, whose sum, −0.03, says that nobody needs it; 0.33 is right.
