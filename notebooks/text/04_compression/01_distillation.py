# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small model learns from a large one
#
# A large model is right more often, and costs more for every answer. In [distillation](../glossary.ipynb#distillation) it
# becomes the *teacher* of a small one, the *student*. What can a teacher tell that the labels do not, and which part of it
# helps most?
#
# **After this lesson you can** soften a distribution and say what that changes; write the loss of knowledge distillation and
# its gradient; make training texts without labels; and match layers of two models as TinyBERT does.
#
# **45 minutes.** Before it: [fine-tuning](../01_foundations/05_finetuning.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="04/01")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/reviews"  # @param {type:"string"}
SHOTS = 32  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Two readers, the same labels
#
# Both models learn from the same 64 labelled reviews (32 [shots](../glossary.ipynb#shot)). The teacher is the pre-trained
# model with its four layers. The student has two layers that are a quarter as wide. Its layers start at random; only its
# word [embeddings](../glossary.ipynb#embedding) are the teacher's, brought down to 40 numbers per word by an
# [SVD](../glossary.ipynb#svd).

# %%
from dataclasses import replace

from labkit.compression.shrink import shrink
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches

model, tokenizer = labkit.load_model(MODEL)
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
labelled, test = task.splits["train"], task.splits["test"][:400]
method = HeadClassifier(tokenizer, task.fields)
small = shrink(model, layers=2, hidden=40, seed=0)


def train(body, rows, loss, steps, lr, collate=method.collate):
    batches = Batches(method.read(rows), collate, 16, seed=0)
    labkit.fit(body, loss, batches, steps=steps, lr=lr, seed=0, progress=lab.progress)
    return body


# %%
def new_student():
    return add_head(small, task.labels, "mean", seed=0)


def share_right(body):
    return labkit.evaluate(body, method, replace(task, splits={"test": test}))["accuracy"]


teacher = train(add_head(model, task.labels, "mean", seed=0), labelled, method.loss, 80, 5e-4)
alone = train(new_student(), labelled, method.loss, 200, 3e-3)
said = {name: labkit.predict(body, method, test) for name, body in (("teacher", teacher), ("student", alone))}
gap = [said["teacher"][n][row["label"]] - said["student"][n][row["label"]] for n, row in enumerate(test)]
n = gap.index(max(gap))  # the review on which the teacher is most ahead
print(f"{test[n]['text']} ({task.labels[test[n]['label']]})")
print({name: f"positive {shares[n][1]:.0%}" for name, shares in said.items()})
results = {"teacher": share_right(teacher), "student, labels alone": share_right(alone)}
print("right:", {name: f"{one:.1%}" for name, one in results.items()})

# %% tags=["nbval-check-output"]
apart = 2 * (2 * 0.25 / len(test)) ** 0.5  # two standard errors of a difference, at most
print("the teacher is ahead, beyond two standard errors:", results["teacher"] - results["student, labels alone"] > apart)
print("parameters:", sum(p.numel() for p in teacher.parameters()), sum(p.numel() for p in alone.parameters()))

# %% [markdown]
# So there is something to learn from the teacher. (Where there is no such gap, there is nothing to distil. Look first.) The
# cause of the gap: most words that praise or blame stand in none of the 64 reviews. The teacher knows them from its
# [pre-training](../glossary.ipynb#pre-training), the student does not.
#
# ## 2 · Soft targets
#
# A label is one class. The teacher's answer is a share for *every* class, and these shares say how sure it is, and which
# wrong classes are nearly right. Three classes with [logits](../glossary.ipynb#logit) 4, 2 and 0, divided by a
# [temperature](../glossary.ipynb#temperature) before the [softmax](../glossary.ipynb#softmax):

# %% tags=["nbval-check-output"]
import torch

logits = torch.tensor([[4.0, 2.0, 0.0]])
for T in (1, 2, 4, 100):
    print(f"T = {T:>3}:", [round(one, 3) for one in (logits / T).softmax(-1)[0].tolist()])

# %% [markdown]
# At $T = 1$ the second class has hardly a tenth. At $T = 4$ nobody can miss it, and the order is still the same. At
# $T = 100$ nearly all is lost: a third for each. In symbols, for logits $z$:
#
# $$q_i(T) = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}} .$$
#
# ### Exercise 1: soften
#
# *●○○ · 4 minutes*
#
# Logits (batch, classes) and a temperature in; shares (batch, classes) out.
#
# ```python
# soften(torch.tensor([[4.0, 2.0, 0.0]]), 2.0)  # [[0.665, 0.245, 0.090]]
# ```

# %%
from labkit.checks import distillation as check


def soften(logits, temperature): ...  # your turn


soften = check.soften(soften)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Divide first, then take the softmax.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The softmax runs over the classes, the last dimension.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `tensor.softmax(-1)` takes care of large logits too.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def soften(logits, temperature):
#     return (logits / temperature).softmax(-1)
# ```
# </details>
#
# With your function: the teacher's shares for four of its own training reviews.

# %%
from labkit.compression.distill import Distill, join_teacher, teacher_logits

answered = join_teacher(labelled, teacher_logits(teacher, method, labelled))
four = torch.tensor([row["teacher_logits"].tolist() for row in answered[:4]])
print("label   ", [task.labels[row["label"]] for row in answered[:4]])
for T in (1.0, 4.0):
    print(f"positive at T = {T:.0f}", [f"{share:.0%}" for share in soften(four, T)[:, 1]])

# %% [markdown]
# ## 3 · The loss
#
# The student shall say what the teacher says. How far two distributions are apart, the
# [Kullback–Leibler divergence](../glossary.ipynb#kl-divergence) measures: for each class, how much more share the teacher
# gives, as a logarithm, weighted by the teacher's share. Teacher $(0.8, 0.2)$, student $(0.5, 0.5)$:
#
# - first class: $0.8 \cdot \ln(0.8 / 0.5) = 0.376$
# - second class: $0.2 \cdot \ln(0.2 / 0.5) = -0.183$
# - together 0.193. If both say the same, every logarithm is 0.
#
# Where a row has a label, the [cross-entropy](../glossary.ipynb#cross-entropy) with it may count too. With the teacher's
# softened shares $q^t$ and the student's $q^s$, labels $y$, and a share $\alpha$ for the teacher (Hinton et al. 2015,
# [*Distilling the knowledge in a neural network*](https://arxiv.org/abs/1503.02531), §2):
#
# $$L = \alpha \, T^2 \, \frac{1}{n} \sum_{\text{rows}} \sum_i q^t_i \ln \frac{q^t_i}{q^s_i} \; + \;
#   (1 - \alpha) \, \mathrm{CE}(z^s, y) .$$
#
# Why $T^2$, you will see below.
#
# ### Exercise 2: the loss of distillation
#
# *●●○ · 8 minutes*
#
# Logits of student and teacher (batch, classes), labels (batch,), $T$ and $\alpha$ in; $L$, one number, out. With
# $\alpha = 1$ the labels are not looked at: they may all be −100, which means "unknown".
#
# ```python
# student, teacher_says = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.8, 0.2]]).log()
# kd_loss(student, teacher_says, torch.tensor([0]), 1.0, 1.0)  # 0.193, as above
# kd_loss(student, teacher_says, torch.tensor([0]), 1.0, 0.0)  # 0.693, the cross-entropy alone
# ```


# %%
def kd_loss(student, teacher, labels, temperature, alpha): ...  # your turn


kd_loss = check.kd_loss(kd_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `q = soften(teacher, temperature)`, and `(student / temperature).log_softmax(-1)` is $\ln q^s$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Sum over the classes, mean over the rows: `(q * (q.log() - log_student)).sum(-1).mean()`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# With $\alpha = 1$ return the first part alone: the cross-entropy of no label at all is NaN, and 0 · NaN is NaN.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def kd_loss(student, teacher, labels, temperature, alpha):
#     log_student, log_teacher = ((z / temperature).log_softmax(-1) for z in (student, teacher))
#     soft = temperature**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(-1).mean()
#     if alpha == 1:
#         return soft
#     return alpha * soft + (1 - alpha) * torch.nn.functional.cross_entropy(student, labels)
# ```
# </details>
#
# ### On paper: what the loss pulls at
#
# One row, its first part without $T^2$. The sum of $q^t_i \ln q^t_i$ is constant, so only $-\sum_i q^t_i \ln q^s_i$ has a
# gradient. That is a cross-entropy of the logits $u = z^s / T$, whose gradient you know: $\partial / \partial u = q^s - q^t$.
# The chain rule gives $\partial u / \partial z = 1 / T$, and with the factor $T^2$:
#
# $$\frac{\partial L}{\partial z^s} = T^2 \cdot \frac{1}{T} \, (q^s - q^t) = T \, (q^s - q^t) .$$
#
# For a high $T$, $e^{z/T} \approx 1 + z / T$, so $q^s - q^t$ itself shrinks like $1/T$, to $(z^s - z^t) / (N T)$ for $N$
# classes and logits of mean 0. Without $T^2$ the whole gradient would shrink like $1 / T^2$. With it, it stays:
# $(z^s - z^t) / N$.
#
# ### Exercise 3: the gradient
#
# *●○○ · 4 minutes*
#
# Logits of student and teacher (batch, classes) and $T$ in; the gradient of each row's $T^2 \cdot \mathrm{KL}$ out,
# (batch, classes).
#
# ```python
# kd_gradient(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.8, 0.2]]).log(), 1.0)  # [[-0.3, 0.3]]
# ```


# %%
def kd_gradient(student, teacher, temperature): ...  # your turn


kd_gradient = check.kd_gradient(kd_gradient)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Both shares come from your `soften`, at the same temperature.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Student minus teacher: where the student says too much, its logit must fall.
# </details>
#
# <details><summary>Hint 3</summary>
#
# $T^2$ from the loss, $1/T$ from the chain rule: one $T$ is left.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def kd_gradient(student, teacher, temperature):
#     return temperature * (soften(student, temperature) - soften(teacher, temperature))
# ```
# </details>
#
# Does it agree with your loss? Each logit is moved by a little, and the loss looked at. And how large is it at each $T$?

# %% tags=["nbval-check-output"]
z, v = torch.tensor([[1.0, -1.0, 0.0]]).double(), torch.tensor([[2.0, 0.5, -2.5]]).double()
step = 1e-5 * torch.eye(3, dtype=torch.float64)
for T in (1.0, 4.0, 16.0):
    moved = [(kd_loss(z + one, v, None, T, 1) - kd_loss(z - one, v, None, T, 1)) / 2e-5 for one in step]
    found = kd_gradient(z, v, T)[0]
    agree = bool(torch.allclose(torch.stack(moved), found, atol=1e-8))
    print(f"T = {T:>2.0f}: agree {agree}, length {found.norm():.2f}, without T² {found.norm() / T**2:.4f}")
print(f"(student − teacher) / classes: length {((z - v) / 3).norm():.2f}")

# %% [markdown]
# Without $T^2$ the length falls by far more than a tenth; with it, it comes near the limit.
#
# Now both parts of the loss, on two reviews that the teacher and the student of section 1 have answered. A *push* is minus the
# gradient: where a logit is moved to. In the second review the teacher is wrong, so its push and the label's have different
# signs. **Two questions that only moving can answer:** in the second review, at which alpha is the sum nearly 0? And must alpha
# rise or fall to keep it there when $T$ rises?

# %%
from labkit.widgets.soft_targets import Example, soft_targets

both = [teacher_logits(body, method, test[:100]) for body in (teacher, alone)]
all_of_them = [Example(row["text"], row["label"], *two) for row, *two in zip(test, *both, strict=False)]
right = next(one for one in all_of_them if one.teacher.argmax() == one.label)
wrong = next(one for one in all_of_them if (one.teacher - one.student).argmax() != one.label != one.teacher.argmax())
soft_targets([right, wrong], task.labels, temperature=2.0)

# %% [markdown]
# ## 4 · Train with it
#
# First on the 64 labelled reviews. The teacher's logits are computed once and travel with the rows, so a step costs no more
# than without a teacher. **Predict**: the teacher saw the very same reviews. Will its answers to them close the gap?

# %%
distil = Distill(method)  # joins "teacher_logits" and "labels" to the method's batch


def from_teacher(T, alpha):
    return lambda body, batch: kd_loss(method.logits(body, batch), batch["teacher_logits"], batch["labels"], T, alpha)


taught = train(new_student(), answered, from_teacher(2.0, 0.9), 200, 3e-3, distil.collate)
results["KD, labelled rows"] = share_right(taught)
print(f"KD on the labelled rows: {results['KD, labelled rows']:.1%}")

# %% [markdown]
# On its own training reviews the teacher says little more than the labels do. So ask it about *other* texts. A teacher
# needs no label, and texts without labels are cheap: 1 000 of them, with $\alpha = 1$.

# %%
unlabelled = [{"text": row["text"]} for row in task.splits["unlabelled"][:1000]]
many = join_teacher(unlabelled, teacher_logits(teacher, method, unlabelled))
taught = train(new_student(), many, from_teacher(1.0, 1.0), 200, 3e-3, distil.collate)
results["KD, unlabelled rows"] = share_right(taught)
print({name: f"{one:.1%}" for name, one in results.items()})

# %% tags=["nbval-check-output"]
gain = results["KD, unlabelled rows"] - results["student, labels alone"]
print("unlabelled rows help, beyond two standard errors:", gain > apart)

# %% [markdown]
# This is the phenomenon that the title promises. Not the softness of the targets closed the gap, but the texts: through its
# answers the teacher passes on words that no label ever touched.
#
# ### Where no other texts are
#
# TinyBERT (Jiao et al. 2020, [*TinyBERT*](https://arxiv.org/abs/1909.10351)) makes them. Each word of a labelled text is
# replaced with the chance 0.4. If it is one piece, BERT's masked language model says what could stand there; if it is several,
# the nearest word embeddings do. One of the 15 likeliest is drawn:

# %%
from labkit.compression.augmentation import Augmenter

masked, _ = labkit.load_model(MODEL, head="mlm")
made = Augmenter(masked, tokenizer, copies=3).rows(labelled[:16])  # three new texts for each
shares = labkit.predict(teacher, method, made)[:, 1].reshape(16, 3)
n = (shares.max(1) - shares.min(1)).argmax()
print(f"{task.labels[labelled[n]['label']]:<14} {labelled[n]['text']}")
for row, share in zip(made[3 * n : 3 * n + 3], shares[n], strict=True):
    print(f"positive {share:4.0%}  {row['text']}")

# %% [markdown]
# The new texts are hardly good English, and the old label need not hold: of these three, the teacher does not say the same.
# (The review was chosen to show this.) But the teacher can be asked again for each, so only its answer counts. The paper
# makes 20 new texts for each old one.
#
# ## 5 · Not only what it says, but how it gets there
#
# The teacher's last layer is not all that it knows. TinyBERT also matches what stands *inside*: embeddings, each layer's
# hidden states, and the attention scores before the softmax. Two problems have to be solved.
#
# **Other widths.** The student's states have 40 numbers per token, the teacher's 160. A matrix $W$, trained with the
# student, maps the one to the other. Small: a state $(1, 2)$, $W = \begin{pmatrix} 1 & 0 & 1 \\ 0 & 1 & 1 \end{pmatrix}$,
# the teacher's state $(1, 1, 0)$. Then $(1, 2) \, W = (1, 2, 3)$, the differences are $(0, 1, 3)$, and the mean of their squares
# is $10 / 3$. With $H^s$ and $H^t$ of all real tokens:
#
# $$L_\text{hidden} = \mathrm{MSE}(H^s W, H^t) .$$
#
# ### Exercise 4: the loss of hidden states
#
# *●●○ · 6 minutes*
#
# States (batch, tokens, d′) and (batch, tokens, d), mask (batch, tokens), $W$ (d′, d) in; one number per text out, (batch,): the
# mean over features and *real* tokens.
#
# ```python
# states, wanted = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]]), torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
# W = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
# hidden_loss(states, wanted, torch.tensor([[1, 0]]), W)  # [3.333]: the second token is padding
# ```


# %%
def hidden_loss(student, teacher, mask, weight): ...  # your turn


hidden_loss = check.hidden_loss(hidden_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `(student @ weight - teacher).square().mean(-1)` is one error per token, (batch, tokens).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Multiply by the mask, so that padding counts as 0.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Divide by the number of real tokens of each text, `mask.sum(1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def hidden_loss(student, teacher, mask, weight):
#     error = (student @ weight - teacher).square().mean(-1)
#     return (error * mask).sum(1) / mask.sum(1)
# ```
# </details>
#
# **Other depths.** Two layers learn from four: layer $m$ of the student from layer $g(m) = k \cdot m$ of the teacher, with
# $k = 4 / 2$. So layer 1 learns from layer 2, and the last from the last. $m = 0$ stands for the embeddings. Altogether
#
# $$L = \sum_{m=0}^{M} L_\text{hidden}\big(S_m, T_{g(m)}\big) + \sum_{m=1}^{M} L_\text{attention}\big(S_m, T_{g(m)}\big) ,$$
#
# and the attention's loss is the MSE of the scores $q \cdot k / \sqrt{d_\text{head}}$ of each pair of tokens, head by head.
# This is why both models must have as many heads.
#
# ### Exercise 5: all layers
#
# *●●● · 8 minutes*
#
# Two lists of states, `[0]` the embeddings and `[m]` layer $m$'s, the mask and $W$ in; one number out: the first sum,
# each term as the mean over the texts. The teacher's number of layers is a multiple of the student's.
#
# ```python
# layers_loss([s0, s1], [t0, t1, t2], mask, W)  # k = 2: hidden_loss(s0, t0, …).mean() + hidden_loss(s1, t2, …).mean()
# ```


# %%
def layers_loss(student, teacher, mask, weight): ...  # your turn


layers_loss = check.layers_loss(layers_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The lists hold the embeddings too: `len(student) - 1` layers.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `k = (len(teacher) - 1) // (len(student) - 1)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Loop over `m` and add up `hidden_loss(student[m], teacher[k * m], mask, weight).mean()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def layers_loss(student, teacher, mask, weight):
#     k = (len(teacher) - 1) // (len(student) - 1)
#     return sum(hidden_loss(s, teacher[k * m], mask, weight).mean() for m, s in enumerate(student))
# ```
# </details>
#
# A short training with your loss, and then the teacher's answers as before. `capture` reads the states of a forward pass by
# [hooks](../glossary.ipynb#hook); `attached` hangs $W$ on the student as long as it is trained.

# %%
from labkit.compression.tinybert import TinyBert, capture


def states(body, batch):
    with capture(body) as seen:
        method.logits(body, batch)
    return [seen.states[m] for m in sorted(seen.states)]


def inside(body, batch):
    with torch.no_grad():
        wanted = states(teacher, batch)
    return layers_loss(states(body, batch), wanted, batch["attention_mask"], tiny.projection.weight.T)


# %% tags=["nbval-check-output"]
tiny, pupil = TinyBert(None, teacher, prediction=0), new_student()
batch = method.collate(test[:32])
with tiny.attached(pupil):
    before = inside(pupil, batch).item()
    train(pupil, unlabelled, inside, 60, 3e-3)
    after = inside(pupil, batch).item()
    ends = [states(body, batch)[-1] for body in (pupil, teacher)]
    last = hidden_loss(*ends, batch["attention_mask"], tiny.projection.weight.T)  # one number per text
print("on texts that it has not seen, the loss fell to less than two thirds:", after < 2 / 3 * before)
print("its last layer makes less than half of it:", last.mean().item() < after / 2)

# %%
train(pupil, many, from_teacher(1.0, 1.0), 200, 3e-3, distil.collate)
results["layers, then KD"] = share_right(pupil)
for name, one in results.items():
    print(f"{name:<24}{one:.1%}")

# %% [markdown]
# With 1 000 real texts the layers change little: two standard errors of a difference are up to seven points here. Section 6 asks
# what they are worth where texts are few. First a check of the library's whole loss, which has the attention too: a student
# that *is* the teacher, with $W$ the identity, must lose nothing at all, and its prediction must be at a minimum.

# %% tags=["nbval-check-output"]
import copy

whole, twin = TinyBert(method, teacher), copy.deepcopy(teacher).eval()
with whole.attached(twin):
    for name, loss in whole.losses(twin, batch).items():
        print(f"{name:<10}", "0" if name != "prediction" else "the teacher's entropy", end="  ")
        told = soften(method.logits(teacher, batch), 1.0)
        print(bool(torch.allclose(loss, -(told * told.log()).sum(-1) if name == "prediction" else 0 * loss, atol=1e-5)))

# %% [markdown]
# ## 6 · What each part is worth
#
# TinyBERT in full has two stages. *General distillation*: the layers, on any text, from the teacher before fine-tuning. *Task
# distillation*: layers, then answers, on augmented rows, from the fine-tuned teacher. The picture leaves one part out at a
# time, with the 64 labelled reviews of this lesson. Beside ours are the paper's means over four real tasks.

# %%
from labkit.report.pages import page

page("distillation").plot()

# %% tags=["nbval-check-output"]
value = {row.method: row.value for row in page("distillation").report.rows}
noise = 2 * (2 * 0.25 / 1000) ** 0.5  # two standard errors of a difference on 1 000 reviews, at most
for one, other in (("KD on logits", "student, fine-tuned alone"), ("KD on augmented rows", "KD on logits"),
                   ("KD on unlabelled rows", "KD on augmented rows"), ("TinyBERT", "KD on augmented rows"),
                   *(("TinyBERT", f"without {part}") for part in ("augmentation", "task distillation", "general distillation",
                     "the hidden loss", "all three", "the prediction loss"))):  # fmt: skip
    points = 100 * (value[one] - value[other])
    print(f"{one} − {other}: {points:+.1f} points,", "beyond noise" if abs(points) > 100 * noise else "within noise")

# %% [markdown]
# - **The texts matter most.** On the labelled rows the teacher adds nothing beyond the noise. Its answers to augmented rows add
#   much, and those to real unlabelled reviews add as much again. So collect texts before you tune a loss.
# - **Layers help when texts are few.** The three intermediate losses together ("all three") are worth more than the noise, a
#   single one is not, or hardly: probably the others stand in for it. In the paper too, of the single ones the embeddings
#   cost least and the attention most.
# - **The task's own teacher is needed.** Without task distillation the student is no better than alone, although general
#   distillation taught it the layers of a model that knows the words. General distillation itself is worth less than the noise
#   here, 3.1 points in the paper, which spends far more on it than our 150 steps.
#
# The students with "two layers kept" are larger: two of the teacher's own layers, at its full width, over six times as many
# parameters. What they keep of the teacher's weights they need not be taught. This is one seed of a small world, and its 64
# labels are fewer than the paper's thousands. And what is gained? Both files and
# both speeds, in turns on this machine:

# %%
from labkit import measure

for _ in range(2):
    for name, body in (("teacher", teacher), ("student", taught)):
        times = [measure.latency(body, method, test[:32], size) for size in (1, 32)]
        print(f"{name}: {measure.bytes_on_disk(body) / 1e6:.2f} MB, {times[0]:.2f} ms alone, {times[1]:.2f} ms in a batch of 32")

# %% [markdown]
# ## 7 · So, what can a teacher tell?
#
# Its answers to texts that no label belongs to. A label says something about one text. A teacher says as much about every text
# that you can find or make, and in this way hands on words that it knows from pre-training. What stands inside it, layer by
# layer, helps in the same direction where such texts are few. How much of it is the softness, this lesson has not measured:
# with two classes and a teacher that is nearly always sure, little can be; many classes leave more in the wrong ones' shares.
#
# ## Read on
#
# - The papers linked above; Sanh et al. 2019, [*DistilBERT*](https://arxiv.org/abs/1910.01108), and Sun et al. 2019,
#   [*Patient knowledge distillation*](https://arxiv.org/abs/1908.09355), which keep the teacher's width: the last three rows of
#   [the table](../../docs/results.md#distillation).
# - [`distill.py`](../../labkit/compression/distill.py), [`tinybert.py`](../../labkit/compression/tinybert.py),
#   [`augmentation.py`](../../labkit/compression/augmentation.py), [`shrink.py`](../../labkit/compression/shrink.py). Teacher and
#   student may read a row in different ways (a cloze, a head), and have other tokenizers: only the shares pass between them.
# - To show others: `labkit demo compression`.
# - Next, [04/02](02_meta_kd.ipynb): one teacher for several domains, Meta-KD.
