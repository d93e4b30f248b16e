# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts that are vectors
#
# PET's pattern, `it was ___ .`, is somebody's choice of words. But the model never reads words: it reads *vectors*, one per
# token, and nothing says that the best ones for a task are those of any word. So let them be free, and train them. Once
# they are, a second question follows: if a handful of vectors before the text can tell a model what to do, must the
# model change at all?
#
# **After this lesson you can**
#
# - turn a template's words into trained vectors (*P-tuning*), and say what its BiLSTM is for;
# - steer a **frozen** model by vectors before the text (*prompt tuning*), by keys and values in every layer (*prefix
#   tuning*), or by vectors in place of label words (*WARP*), and count what each of them trains;
# - pre-train a prompt without labels (*PPT*);
# - say from measurements what freezing costs on small models, and what the papers found on large ones.
#
# **45 minutes.** Before it: [PET](02_pet.ipynb), whose cloze and verbalizer are used all through. You need Python and a
# little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="03/03")

# %% [markdown]
# Everything below follows from these three strings. Try `"micro-bert-en"`, a hub model (`"bert-base-uncased"`), or
# a task such as `"world/news"`, and run all cells again.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/subj"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A prompt that nobody could write
#
# The task: does a text about a film mainly say what happened (*objective*), or what somebody thought of it (*subjective*)?
# About one sentence in seven is of the other kind. The task brings a pattern and one word per label.

# %%
from labkit.fewshot.pet import PET
from labkit.report import Table

task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
rows = task.splits["train"]
model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
pet = PET.for_task(task, tokenizer)

print(
    f"{len(rows)} labelled rows; pattern {str(pet.template)!r}; words {dict(pet.verbalizer.words)}"
)
Table(("label", "text"), tuple((task.labels[row["label"]], row["text"]) for row in rows[:4]))

# %% [markdown]
# Here is a model's input taken apart. `input_ids` become vectors by looking up rows of the embedding table, and from
# there on the ids are forgotten: `transformers` takes the vectors just as well (`inputs_embeds`). So we may put in
# whatever we like between them. Below, four vectors of random numbers stand behind [CLS], and the blank is read as
# before.

# %%
import torch

text = "the plot was so tedious to us ."
inputs = tokenizer(f"{text} that is [MASK] .", return_tensors="pt")
words = model.get_input_embeddings()(inputs["input_ids"]).detach()  # (1, tokens, d)


label_ids = tokenizer.convert_tokens_to_ids([some[0] for some in pet.verbalizer.words.values()])


def log_answer(vectors: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the label words in the blank, which is the third token from the end: (labels,)."""
    return model(inputs_embeds=vectors).logits[0, -3, label_ids].log_softmax(0)


@torch.no_grad()
def answer(vectors: torch.Tensor) -> dict[str, float]:
    """The answer in plain numbers."""
    chances = log_answer(vectors).exp().tolist()
    return {label: round(p, 3) for label, p in zip(task.labels, chances, strict=True)}


print("the words alone      ", answer(words))
for seed in range(3):
    noise = torch.randn(1, 4, words.shape[2], generator=torch.Generator().manual_seed(seed))
    print("with 4 random vectors", answer(torch.cat([words[:, :1], noise, words[:, 1:]], 1)))

# %% [markdown]
# Random vectors move the answer, each set by another amount, and here all three the wrong way. A gradient will find out which
# directions are useful.
#
# ### Your turn: put a prompt into a text
#
# *●●○ · 8 minutes*
#
# Word vectors $(\text{batch}, \text{tokens}, d)$ and a prompt $(n, d)$ in; $(\text{batch}, \text{tokens} + n, d)$ out, with
# the prompt behind the first token of each row. It is the same prompt for all rows, and it must stay trainable: a gradient
# of the result has to reach it.
#
# For example, one text of three tokens with $d = 1$, `word_vectors = [[[1], [2], [3]]]`, and `prompt = [[8], [9]]` give
# `[[[1], [8], [9], [2], [3]]]`.

# %%
from labkit.checks import soft_prompts as check


def splice(word_vectors, prompt): ...  # your turn


splice = check.splice(splice)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three pieces side by side: the first token, the prompt, the rest. `torch.cat` joins tensors along one dimension.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cat` needs the same batch size everywhere: `prompt.expand(len(word_vectors), -1, -1)` is the prompt once a row,
# without copying it.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `word_vectors[:, :1]` keeps the dimension of the tokens, `word_vectors[:, 0]` loses it. Join along dimension 1.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def splice(word_vectors, prompt):
#     rows = prompt.expand(len(word_vectors), -1, -1)
#     return torch.cat([word_vectors[:, :1], rows, word_vectors[:, 1:]], 1)
# ```
# </details>
#
# With it, a gradient can move the prompt. Here are five steps, from the first of the three random prompts and for this one
# text, whose label is *subjective*; the model is not changed:

# %%
start = torch.Generator().manual_seed(0)
vectors = torch.randn(4, words.shape[2], generator=start).requires_grad_()
optimizer = torch.optim.Adam([vectors], lr=0.1)
for step in range(6):
    print(f"steps: {step}", answer(splice(words, vectors)))
    loss = -log_answer(splice(words, vectors))[-1]  # of the last label, "subjective"
    (vectors.grad,) = torch.autograd.grad(loss, vectors)
    optimizer.step()

# %% [markdown]
# After five steps the model is sure of the right answer, and nothing but the four vectors has changed. Section 3 does the same
# with all labelled texts of the task.
#
# ## 2 · P-tuning: let the template's words go
#
# *P-tuning* (Liu et al. 2021, [*GPT understands, too*](https://arxiv.org/abs/2103.10385)) keeps PET as it is and frees the
# words of its pattern. Where `that is` stood, there are now two vectors $h_1, h_2$, which train **together with the whole
# model**. They may start as the words' own vectors, so training starts where PET does.
#
# The authors saw that free vectors are hard to train: each gets its own gradient, and they begin wherever they begin.
# They let a small network produce them, so that the tokens of one prompt depend on one another (§3.2):
#
# $$h_i = \mathrm{MLP}\big([\overrightarrow{h_i} : \overleftarrow{h_i}]\big), \qquad
# \overrightarrow{h_i} = \overrightarrow{\mathrm{LSTM}}(e_1, \dots, e_i), \quad
# \overleftarrow{h_i} = \overleftarrow{\mathrm{LSTM}}(e_i, \dots, e_n).$$
#
# After training the network is run once, its outputs are kept, and it is thrown away.
#
# In labkit a template says `{soft:that is}`, and the model's embedding gets a second, trained table behind its own.

# %%
import copy
import inspect

from labkit.fewshot.soft_prompts import PTuning

p_tuning = PTuning.for_task(task, tokenizer)
soft_model = p_tuning.attach(copy.deepcopy(model))
print(p_tuning.template)
print(soft_model.get_input_embeddings())

# %% tags=["nbval-check-output"]
some = task.splits["test"][:200]
by_pet, by_p_tuning = labkit.predict(model, pet, some), labkit.predict(soft_model, p_tuning, some)
print("untrained, P-tuning answers as PET does, bit for bit:", bool((by_pet == by_p_tuning).all()))

# %%
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.measure import trainable
from labkit.training import Batches


def trained(model, method, lr, steps=50, seed=0, on_step=None):
    """`model` after `steps` steps of the method's loss on the labelled rows."""
    batches = Batches(rows, method.collate, min(16, len(rows)), seed=seed)
    labkit.fit(
        model,
        method.loss,
        batches,
        steps=steps,
        lr=lr,
        seed=seed,
        on_step=on_step,
        progress=lab.progress,
    )
    return model


report = labkit.Report()


def measure(name, model, method, weights=None):
    """Score the model on the test set, and note how many of its weights were trained."""
    value = labkit.evaluate(model, method, task, "test", progress=lab.progress)[task.metric]
    report.add(name, task, value, trainable=trainable(model) if weights is None else weights)


head = HeadClassifier(tokenizer, task.fields)
measure("cloze, untrained", model, pet, weights=0)
measure("fine-tune [mean]", trained(add_head(model, task.labels, "mean", seed=0), head, 3e-4), head)
measure("PET", trained(copy.deepcopy(model), pet, 3e-5), pet)
measure("P-tuning", trained(soft_model, p_tuning, 3e-5), p_tuning)
with_lstm = PTuning.for_task(task, tokenizer, encoder="lstm")
measure(
    "P-tuning [LSTM]", trained(with_lstm.attach(copy.deepcopy(model)), with_lstm, 1e-4), with_lstm
)
report.table()

# %% [markdown]
# Each of the trained ones trains and stores a whole model for one task. That is no hardship at a few megabytes. It is one at
# hundreds of gigabytes and a hundred tasks.
#
# ## 3 · Prompt tuning: the model stays as it is
#
# *Prompt tuning* (Lester et al. 2021, [*The power of scale*](https://arxiv.org/abs/2104.08691)) freezes every weight and trains
# only the vectors: $n \cdot d$ numbers per task. The model is loaded once; a task is a file of a few kilobytes, and a batch
# may hold rows of several tasks, each with its own prompt.
#
# `PromptTuning` hangs the vectors below the encoder and hooks two functions into its forward pass. You have just written
# the first of them:

# %%
from labkit.fewshot.soft_prompts import PromptTuning
from labkit.fewshot.soft_prompts.prompt import SoftPrompt

print(inspect.getsource(SoftPrompt.insert))

# %% [markdown]
# The second takes the $n$ positions out of the encoder's result, so that blanks and heads find the text's own tokens where
# they were. Who calls the model need not know that there is a prompt: PET's method works on it unchanged.

# %%
from labkit.widgets.soft_prompt_neighbours import Recorder

prompt = PromptTuning(tokens=4)
prompted = prompt.attach(copy.deepcopy(model))
before = {name: tensor.clone() for name, tensor in prompted.state_dict().items()}
recorder = Recorder(prompted, every=5)
trained(prompted, pet, 0.1, on_step=recorder)
measure("prompt tuning [4]", prompted, pet)
report.table()

# %% tags=["nbval-check-output"]
changed = [
    name for name, tensor in prompted.state_dict().items() if not torch.equal(tensor, before[name])
]
print(
    f"tensors that changed: {changed}, {trainable(prompted)} numbers of {sum(p.numel() for p in model.parameters())}"
)

prompt.detach(prompted)
same = all(
    torch.equal(a, b) for a, b in zip(prompted.parameters(), model.parameters(), strict=True)
)
print("without its prompt the model is the old one, bit for bit:", same)

# %% [markdown]
# ### What did the prompt become?
#
# A prompt's vectors started as those of four words drawn at random. The bars show which words they are nearest to now; move
# the slider to go through the training. Look for two things: how far each vector goes from its start, and whether its
# neighbours *mean* anything for this task.

# %%
from labkit.widgets import soft_prompt_neighbours

soft_prompt_neighbours(recorder, tokenizer)

# %%
from labkit.widgets.soft_prompt_neighbours import compute

unrelated = torch.randn(4, words.shape[2], generator=torch.Generator().manual_seed(0))
for name, vectors in (
    ("before training", recorder.rows[0]),
    ("after training", recorder.rows[-1]),
    ("random directions", unrelated),
):
    found = compute(vectors, vectors, recorder.words, tokenizer, top=1)
    print(f"{name:<18} cosine to the nearest word:", [round(one.nearest[0][1], 2) for one in found])

# %% [markdown]
# In fifty steps the vectors leave the words where they started, and they come close to no other: their nearest words have a
# cosine of about a third, where those of directions drawn at random have a fifth. So do not read the neighbours as a hidden
# sentence. The prompt has gone where no word is, which is the very thing that a template cannot do. (Lester et al. found clusters
# of related words around prompts of T5, but no instruction that a person could read, §7.)
#
# ## 4 · Prefix tuning: vectors in every layer
#
# A prompt stands below the first layer only, so the higher layers see just what the lower ones have made of it. *Prefix
# tuning* (Li & Liang 2021, [paper](https://arxiv.org/abs/2101.00190)), and for understanding tasks *P-tuning v2* (Liu et al.
# 2022, [paper](https://arxiv.org/abs/2110.07602)), gives **each layer** $n$ keys and values of its own. The text's tokens
# attend to them as to any others:
#
# $$\mathrm{Attn}(Q) = \mathrm{softmax}\!\left(\frac{Q\,[P_k ; K]^\top}{\sqrt{d}}\right) [P_v ; V], \qquad
# P_k, P_v \in \mathbb{R}^{n \times d} \text{ for each layer.}$$
#
# There are no queries in a prefix, because nothing is computed at its own positions. It is exactly what a generating model
# keeps in its cache of earlier keys and values, which is how it gets in. As prefix and text share one softmax, the result is
# a mixture, $(1-\lambda)\,\mathrm{Attn}(Q; K, V) + \lambda\,\mathrm{Attn}(Q; P_k, P_v)$, where each token's $\lambda$ is the
# weight that its query gives to the prefix (He et al. 2022, [*Towards a unified view*](https://arxiv.org/abs/2110.04366),
# §3.1).
#
# ### Your turn: attention with a prefix
#
# *●●○ · 10 minutes*
#
# Queries, keys and values $(\text{tokens}, d)$, prefix keys and values $(n, d)$ in, for one head; what attention gives,
# $(\text{tokens}, d)$, out. Every token sees the whole text and the whole prefix.
#
# For example, one token, $n = 1$ and $d = 1$: `queries = [[1.1]]`, `keys = [[1]]`, `values = [[2]]`, `prefix_keys = [[0]]`,
# `prefix_values = [[4]]`. The scores are 0 for the prefix and 1.1 for the token itself, the weights 0.25 and 0.75, and the
# result is $0.25 \cdot 4 + 0.75 \cdot 2$: `[[2.5]]`. ($\lambda$ is 0.25 here.)


# %%
def prefix_attention(queries, keys, values, prefix_keys, prefix_values): ...  # your turn


prefix_attention = check.prefix_attention(prefix_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First make the keys and the values longer, then compute attention as ever. `torch.cat([a, b])` puts rows below rows.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Scores: `queries @ all_keys.T / queries.shape[1] ** 0.5`, of shape (tokens, n + tokens).
# </details>
#
# <details><summary>Hint 3</summary>
#
# Softmax over the last dimension, so that each query's weights sum to 1; then `weights @ all_values`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def prefix_attention(queries, keys, values, prefix_keys, prefix_values):
#     all_keys = torch.cat([prefix_keys, keys])
#     all_values = torch.cat([prefix_values, values])
#     scores = queries @ all_keys.T / queries.shape[1] ** 0.5
#     return scores.softmax(-1) @ all_values
# ```
# </details>
#
# In labkit a hook hands each layer's attention its prefix as a cache, and widens the mask so that every token sees it. The text
# keeps all its positions: unlike a prompt, a prefix takes none.

# %%
from labkit.fewshot.soft_prompts import Prefix
from labkit.fewshot.soft_prompts.prefix import PrefixStates

print(inspect.getsource(PrefixStates.prepend))

# %%
prefixed = Prefix(tokens=8).attach(copy.deepcopy(model))
measure("prefix [8]", trained(prefixed, pet, 0.03), pet)
report.table()

# %% [markdown]
# Is that what you wrote? We compare the first head of the first layer in the trained model:

# %% tags=["nbval-check-output"]
module = prefixed.eval().base_model.encoder.layer[0].attention.self
size = module.attention_head_size
with torch.no_grad():
    by_model = module(words)[0][0, :, :size]  # (tokens, d_head)
    own = [linear(words)[0, :, :size] for linear in (module.query, module.key, module.value)]
    prefix = [some[0] for some in prefixed.base_model.prefix.layer(0)]  # keys and values of the first head
    by_hand = prefix_attention(*own, *prefix)
print("largest difference below 1e-5:", bool((by_hand - by_model).abs().max() < 1e-5))

# %% [markdown]
# `Prefix(tokens=8, reparametrise=True)` computes keys and values by an MLP from fewer numbers while it trains, as Li & Liang
# did; P-tuning v2 found that this helps on some tasks and hurts on others.
#
# ## 5 · WARP: label words may go, too
#
# The verbalizer is the other half of the prompt. *WARP* (Hambardzumyan et al. 2021,
# [paper](https://arxiv.org/abs/2101.00121)) freezes the model, trains a soft template, and replaces the label words by trained
# vectors. PET compares the blank's state $f(h)$ with the embedding of "fact"; WARP compares it with a vector $\theta_c$ of the
# class's own:
#
# $$s_c = \theta_c \cdot f(h_{\text{[MASK]}}), \qquad q(c \mid x) = \mathrm{softmax}(s)_c .$$
#
# Start each $\theta_c$ as its label word's embedding, and an untrained WARP answers (but for the head's bias) as PET does.

# %%
from labkit.fewshot.soft_prompts import WARP

warp = WARP.for_task(task, tokenizer)
measure("WARP", trained(warp.attach(copy.deepcopy(model)), warp, 0.01), warp)
alone = WARP.for_task(task, tokenizer, soften=False)  # the template stays words
measure("label vectors alone", trained(alone.attach(copy.deepcopy(model)), alone, 0.01), alone)
report.table()

# %% [markdown]
# Class vectors alone, 320 numbers, do as well in this draw as with the soft template. But one draw of one task says little.
# Section 7 has eight tasks and five draws.

# %% [markdown]
# ### Your turn: what trains?
#
# *●○○ · 5 minutes*
#
# For $n$ prompt tokens, a model of $L$ layers and width $d$, and $C$ classes, how many numbers do prompt tuning, prefix tuning
# (without the MLP) and WARP train? Return a dictionary with the keys "prompt tuning", "prefix", "WARP".
#
# For example, $n = 2$, $L = 3$, $d = 4$ and $C = 5$ give `{"prompt tuning": 8, "prefix": 48, "WARP": 28}`.


# %%
def trained_weights(n, layers, d, classes): ...  # your turn


trained_weights = check.trained_weights(trained_weights)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Count vectors, then multiply by their length $d$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A prefix has two vectors (key and value) per token in each layer. Heads divide a vector among themselves; they do not add to it.
# </details>
#
# <details><summary>Hint 3</summary>
#
# WARP has $n$ vectors before the text and one per class.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def trained_weights(n, layers, d, classes):
#     return {"prompt tuning": n * d, "prefix": 2 * layers * n * d, "WARP": (n + classes) * d}
# ```
# </details>

# %% tags=["nbval-check-output"]
layers, d = model.config.num_hidden_layers, model.config.hidden_size
print(f"{layers} layers, d = {d}")
for name, n, kind in (
    ("prompt tuning", 4, PromptTuning(tokens=4)),
    ("prefix", 8, Prefix(tokens=8)),
    ("WARP", 3, warp),
):
    made, counted = kind.attach(copy.deepcopy(model)), trained_weights(n, layers, d, len(task.labels))
    every = sum(p.numel() for p in model.parameters())
    print(f"{name + f', {n} tokens:':<24}{trainable(made):>7,} of {every:,} train; by your formula {counted[name]:,}")

# %% [markdown]
# ## 6 · PPT: a prompt that is pre-trained
#
# A prompt of random words has to learn from thirty-two sentences not only the task but what a prompt is for. *PPT* (Gu et al.
# 2022, [*Pre-trained prompt tuning*](https://arxiv.org/abs/2109.04332)) lets it learn the second part before, from text without
# labels, in a task of the same form as those to come. For pairs of sentences it is this: cut texts in two, pair each first half
# with its own second half or with another's, and ask `first ___ second` for "yes" or "no". The model stays frozen; only the
# prompt is trained.

# %%
import numpy as np

from labkit.fewshot.soft_prompts.ppt import halves

texts = [row["text"] for row in task.splits["unlabelled"][:2]]
shown = halves(texts, np.random.default_rng(0))
Table(
    ("first", "blank", "second"),
    tuple((row["first"], ("no", "yes")[row["label"]], row["second"]) for row in shown),
)

# %% [markdown]
# `PPT(tokens=16)` attaches like `PromptTuning`; `.pretrain(model, tokenizer, texts)` trains the prompt on such pairs, and
# afterwards it is tuned as any other. Its authors pre-trained prompts of models of eleven billion weights on 10 GB of text.
#
# ## 7 · What freezing costs
#
# One draw of one task says little. Here are eight tasks with 16 examples per class, five draws of each, a hundred steps for every
# method, and learning rates chosen on other draws (`python benchmarks/fewshot.py`; its rows: `labkit results fewshot_bert`). PET
# and a new head train the whole model; *P-tuning* trains it too, with the BiLSTM of section 2; *WARP* freezes it. The last column
# is what Xu et al. (2022, CP-Tuning) report for eight English tasks of the same shapes. Before you look: how many points do
# you expect to lose when the model is frozen?

# %%
measured = labkit.report.results("fewshot_bert")
theirs = {"fine-tune [CLS]": 69.51, "PET": 78.01, "P-tuning": 78.43, "WARP": 59.89}
names = sorted({row.task for row in measured.rows})


def line(method):
    """Trained weights on the task of this page, the mean of eight tasks, the lowest and highest, the paper's mean."""
    rows = [row for row in measured.rows if row.method == method]
    means = [np.mean([100 * row.value for row in rows if row.task == name]) for name in names]
    count = next(row.trainable for row in rows if row.task == "world/subj")
    spread = f"{min(means):.1f} to {max(means):.1f}"
    return method, f"{count:,}", f"{np.mean(means):.1f}", spread, f"{theirs[method]:.1f}"


Table(
    ("method", "trained weights", "mean of 8 tasks", "lowest to highest", "Xu et al., RoBERTa"),
    tuple(map(line, theirs)),
)


# %% tags=["nbval-check-output"]
def verdict(difference):
    """Whether the 95 % interval of a paired difference leaves 0 out, and on which side."""
    points = f"{100 * difference.difference:+5.1f} points"
    if difference.low > 0:
        return f"{points}, ahead"
    return f"{points}, behind" if difference.high < 0 else f"{points}, no difference beyond noise"


for method in ("WARP", "P-tuning"):
    print(f"{method} against PET, on the same five draws")
    for name in names:
        print(f"    {name:<12} {verdict(measured.compare(method, 'PET', task=name))}")

# %% [markdown]
# **Freezing costs something, but not much.** WARP is behind PET on every task, and on seven of them beyond noise. But the mean
# loss is four points, for 800 trained numbers beside 1.5 million, and in the mean WARP is nine points ahead of a new head that
# trains the whole model. The loss is largest on this page's task, where that head is ahead of it. The authors of CP-Tuning found
# another order: with RoBERTa, WARP comes last, behind fine-tuning. A likely reason is where the training starts: our model has
# read this world's text and nothing else, so the label words are close to right before the first step.
#
# **P-tuning, with its BiLSTM, is behind PET on every task**, and its draws are far apart (a loss of twelve points that is not
# beyond noise says so). Section 2 suggests a reason: without the network it starts where PET does, bit for bit; with it, the
# template starts as random vectors, and a few examples have to teach the model to read them. (In the paper's table P-tuning and
# PET are level with RoBERTa, and PET is ahead by two points with ALBERT.)
#
# **Fifteen topics.** What can a frozen model learn, and which part of the prompt learns it? Here are news in fifteen topics: the
# cloze as it is, sixteen trained vectors before the text, and WARP, each on **its own** training rows and on 300 test rows:

# %%
news = labkit.load_task("world/news").few_shot(16, seed=0).limited("test", 300)
news_pet, news_warp = (kind.for_task(news, tokenizer) for kind in (PET, WARP))
frozen = {
    "cloze, untrained": (copy.deepcopy(model), news_pet, 0),
    "prompt tuning [16]": (PromptTuning(tokens=16).attach(copy.deepcopy(model)), news_pet, 0.1),
    "WARP": (news_warp.attach(copy.deepcopy(model)), news_warp, 0.01),
}
for name, (one, method, lr) in frozen.items():
    if lr:
        batches = Batches(news.splits["train"], method.collate, 16, seed=0)
        labkit.fit(one, method.loss, batches, steps=100, lr=lr, progress=lab.progress)
    found = [
        labkit.evaluate(one, method, news, split, progress=lab.progress)[news.metric]
        for split in ("train", "test")
    ]
    print(f"{name:<19} train {100 * found[0]:.0f} %, test {100 * found[1]:.0f} %")

# %% [markdown]
# The untrained cloze is right in three of four test texts, so there is little that a prompt has to teach. The sixteen
# vectors do learn their 240 training rows, but on the test set they are no better than nothing: 2,560 free numbers fit the rows
# and not the topics. WARP learns nearly all of its rows by heart, and the few points that it gains, in one draw and on 300 texts, may be noise. So it is not
# the freezing that limits a method here. A frozen model *can* be steered; what 16 examples per class do not give is a direction
# that also holds for other texts.
#
# **What the papers found on large models.** On SuperGLUE, Lester et al. saw prompt tuning far behind for the small T5, and level
# with model tuning when models have billions of weights, where five tokens are 20,480 numbers beside eleven billion. Before
# you praise a prompt, look at the first line of the last cell, the untrained cloze: a prompt can only bring out what the frozen
# model knows, and a larger model knows more.
#
# ## 8 · Keep the result
#
# `fold_soft_tokens` writes soft tokens (and WARP's class vectors) behind the last row of a plain, longer embedding table: a
# model that any program using `transformers` loads. As an *app* it is served and run like every other.

# %%
from labkit.apps import load_app, save_app
from labkit.fewshot.prompts.soft_tokens import fold_soft_tokens

folded = fold_soft_tokens(soft_model)
save_app("artefacts/03_03_p_tuning", folded, tokenizer, p_tuning, task)
load_app("artefacts/03_03_p_tuning").predict("one night a nervous pilot steals a map near cairo .")

# %% [markdown]
# ## Read on
#
# - Lester et al. 2021, [*The power of scale for parameter-efficient prompt tuning*](https://arxiv.org/abs/2104.08691); Liu et al.
#   2022, [*P-tuning v2*](https://arxiv.org/abs/2110.07602), which answers it for small models.
# - `labkit/fewshot/soft_prompts/`: [`prompt.py`](../../labkit/fewshot/soft_prompts/prompt.py),
#   [`prefix.py`](../../labkit/fewshot/soft_prompts/prefix.py), [`ptuning.py`](../../labkit/fewshot/soft_prompts/ptuning.py),
#   [`warp.py`](../../labkit/fewshot/soft_prompts/warp.py), [`ppt.py`](../../labkit/fewshot/soft_prompts/ppt.py): each shorter than
#   this page.
# - Next, 03/04, CP-Tuning: a soft template that serves every task, and no label words at all. Prompts and
#   prefixes come back in 03/06, among the other ways to change a little of a model and keep the rest.
