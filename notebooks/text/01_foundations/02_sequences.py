# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reading one word after another
#
# The mean of a text's word vectors does not depend on the order of the words, but the meaning of the text does. How can a
# network with a fixed number of weights read texts of any length in order, and how far back does it remember?
#
# **After this lesson you can** write a step of a recurrent network and of an LSTM; compute how far a
# [gradient](../glossary.ipynb#backward-pass) reaches, and say what the LSTM's gates change; read a padded batch; train a
# language model with your own step and let it write; say what a convolution cannot see, and what attention adds.
#
# **45 minutes.** Before it: [words as vectors](01_words.ipynb). You need Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="01/02")

MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/mr"  # @param {type:"string"}

# %% [markdown]
# ## 1 · The same words in another order
#
# Two classifiers learn from the same film reviews. The *bag* takes the mean of the word vectors. The other one is an
# *LSTM*, which you will write below. (Of the model in `MODEL` only the [tokenizer](../glossary.ipynb#tokenizer) is used.)

# %%
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.sequences.classifier import classifier
from labkit.training import Batches

_, tokenizer = labkit.load_model(MODEL, head="mlm")
task = labkit.load_task(TASK)
method = HeadClassifier(tokenizer, task.fields, max_length=64)
rows = method.read(task.splits["train"])


def trained(reader, steps=250):
    model = classifier(reader, len(tokenizer), task.labels)
    batches = Batches(rows, method.collate, 64, seed=0, lengths=[len(row["text"]) for row in rows])
    labkit.fit(model, method.loss, batches, steps=steps, lr=5e-3, seed=0, progress=lab.progress)
    return model


bag, lstm = trained("bag"), trained("lstm")

# %%
GOOD, BAD = "superb wonderful great excellent amazing lovely".split(), "awful terrible bad dreadful boring horrible".split()


def positive(model, texts):
    return labkit.predict(model, method, [{"text": text} for text in texts])[:, 1]


form = "the {} was not {} , it was {} ."
pairs = [(form.format(noun, bad, good), form.format(noun, good, bad))
         for noun in ("plot", "script", "ending", "song") for good, bad in zip(GOOD, BAD, strict=True)]  # fmt: skip
for text in pairs[0]:
    print(f"{text}   positive: bag {positive(bag, [text])[0]:.0%}, LSTM {positive(lstm, [text])[0]:.0%}")

# %% [markdown]
# Look at one column after the other. The bag gives both sentences the same number, because they consist of the same words. The
# LSTM gives two numbers. Is that so for all of the pairs, and does the LSTM find the right one positive?

# %% tags=["nbval-check-output"]
first, second = zip(*pairs, strict=True)
same = abs(positive(bag, first) - positive(bag, second)).max() < 1e-5
right = (positive(lstm, first) > positive(lstm, second)).mean()
print(f"{len(pairs)} pairs. The bag's two answers are always the same: {same}")
print(f"The LSTM finds the right sentence more positive in at least nine pairs of ten: {right >= 0.9}")

# %% [markdown]
# ## 2 · One step
#
# A [recurrent network](../glossary.ipynb#rnn) (RNN) keeps a vector $h$, its [state](../glossary.ipynb#hidden-state), while it reads. At each word it
# makes a new state of the word's vector $x$ and the old state. Here is one with two units, small enough for a pencil: $W$ lets
# the word in as it is, and $U$ mixes the old state. Follow the numbers from line to line.

# %% tags=["nbval-check-output"]
import torch

W, U, b = torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.zeros(2)
vectors = {"not": torch.tensor([1.0, 0.0]), "bad": torch.tensor([0.0, 1.0])}
for text in ("not bad", "bad not"):
    h = torch.zeros(2)
    for word in text.split():
        inside = W @ vectors[word] + U @ h + b
        h = torch.tanh(inside)
        print(f"{word}:  W x + U h + b = ({inside[0]:5.2f}, {inside[1]:5.2f})   new h = ({h[0]:5.2f}, {h[1]:5.2f})")
    print()

# %% [markdown]
# The same two words end in two different states, because the second word is added to what the first has left. In symbols
# (Elman 1990, [*Finding structure in time*](https://doi.org/10.1207/s15516709cog1402_1)):
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b) .$$
#
# The weights $W$, $U$ and $b$ are the same at every word, so their number does not grow with the text.
#
# ### Exercise 1: one step
#
# *●○○ · 4 minutes*
#
# A batch of words `x` (batch, inputs) and of states `h` (batch, size), `W` (size, inputs), `U` (size, size), `b` (size,) in;
# the new states (batch, size) out.
#
# ```python
# rnn_step(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.76, 0.0]]), W, U, b)  # [[0.00, 0.94]], as in line 2 above
# ```

# %%
from labkit.checks import sequences as check


def rnn_step(x, h, W, U, b): ...  # your turn


rnn_step = check.rnn_step(rnn_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A batch stands in rows, so $W x$ for every row is `x @ W.T`, (batch, size).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Likewise `h @ U.T`. The bias is added to each row by itself.
# </details>
#
# <details><summary>Hint 3</summary>
#
# One `torch.tanh(…)` around the sum of the three.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def rnn_step(x, h, W, U, b):
#     return torch.tanh(x @ W.T + h @ U.T + b)
# ```
# </details>
#
# ## 3 · How far back does it learn?
#
# The network learns that "not" matters only if the [loss](../glossary.ipynb#cross-entropy) at the end of the text has a gradient
# with respect to the state after "not". So ask: if an early state changed a little, how much would the last one change?
#
# One step first. $\tanh$ has the slope $1 - h^2$ where its result is $h$, so unit $i$ of the new state changes by $(1 - h_i^2)\,
# U_{ij}$ times the change of unit $j$. As a matrix that is $\mathrm{diag}(1 - h_t^2)\, U$: row $i$ of $U$ times the slope of unit
# $i$. Two steps, with the states $h_1 = (0.6, 0)$ and $h_2 = (0, 0.8)$ and the $U$ from above:

# %% tags=["nbval-check-output"]
states = torch.tensor([[0.6, 0.0], [0.0, 0.8]])
for t, h in enumerate(states, start=1):
    print(f"step {t}: slopes {1 - h**2}, matrix\n{(1 - h**2)[:, None] * U}")

# %% [markdown]
# The change goes through step 1, and what comes out goes through step 2. For $T$ steps:
#
# $$\frac{\partial h_T}{\partial h_0} = \mathrm{diag}(1 - h_T^2)\, U \;\cdots\; \mathrm{diag}(1 - h_2^2)\, U \;\; \mathrm{diag}(1 - h_1^2)\, U .$$
#
# ### Exercise 2: the product
#
# *●●○ · 7 minutes*
#
# The states $h_1 \dots h_T$ of one text, (steps, size), and $U$ in; $\partial h_T / \partial h_0$, (size, size), out.
#
# ```python
# reach(torch.tensor([[0.6, 0.0], [0.0, 0.8]]), U)  # [[-1.0000, 0.0000], [0.0000, -0.2304]]
# ```


# %%
def reach(states, U): ...  # your turn


reach = check.reach(reach)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with `product = torch.eye(len(U))`, which changes nothing, and loop over the states.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(1 - h**2)[:, None] * U` multiplies row $i$ of $U$ by the slope of unit $i$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A later step stands on the left: `product = step @ product`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def reach(states, U):
#     product = torch.eye(len(U))
#     for h in states:
#         product = (1 - h**2)[:, None] * U @ product
#     return product
# ```
# </details>
#
# **Predict** before you run the next cell: an RNN of 64 units with random weights reads 40 random words. How much of a small
# change of the first state is left at the end: about a half, about a hundredth, or less than a millionth?


# %%
def left_after(steps, scale, words):
    """The largest factor by which a change of h_0 has grown or shrunk after so many steps."""
    torch.manual_seed(0)
    W, U, b = torch.randn(64, 64) / 8, scale * torch.randn(64, 64) / 8, torch.zeros(64)
    h, states = torch.zeros(1, 64), []
    for _ in range(steps):
        h = rnn_step(torch.randn(1, 64) * words, h, W, U, b)
        states.append(h[0])
    return float(torch.linalg.matrix_norm(reach(torch.stack(states), U), 2))


for name, scale, words in (("small U", 0.5, 1), ("U", 1, 1), ("twice U", 2, 1), ("twice U, all words 0", 2, 0)):
    print(f"{name:<22}", *(f"{steps} steps: {left_after(steps, scale, words):8.1e}  " for steps in (1, 10, 40)))

# %% [markdown]
# Read each line from left to right. In the first two nearly nothing is left after 40 steps. With twice the weights the change grows, but
# slowly, because the words bring the units to states where the slope of tanh is small. In the last line all states are 0 and all slopes
# 1, and the change explodes. Both happen because one factor per step is multiplied: this is the problem of
# [**vanishing and exploding gradients**](../glossary.ipynb#vanishing-gradient) (Bengio et al. 1994,
# [*Learning long-term dependencies with gradient descent is difficult*](https://doi.org/10.1109/72.279181)). To cut the length of a
# gradient that is too long helps against explosion, and `labkit.fit` does it. Against vanishing it does not help.
#
# ## 4 · Gates
#
# An [LSTM](../glossary.ipynb#lstm) (*long short-term memory*) has a second vector, the *cell* $c$, that is not multiplied by a matrix on its way. It is only
# multiplied by a *forget gate* $f$ between 0 and 1, and the network computes $f$ anew at each word. What is left of a cell after 20
# words, if the gate is always the same?

# %% tags=["nbval-check-output"]
for bias in (0.0, 1.0, 3.0):
    f = torch.sigmoid(torch.tensor(bias))
    print(f"forget gate σ({bias:.0f}) = {f:.2f}:   after 20 words {f**20:.6f}")

# %% [markdown]
# A gate near 1 keeps nearly everything; a gate of one half is no better than the RNN. In full, with the sigmoid $\sigma$ and the
# four sums $i$, $f$, $g$, $o$ of one matrix product (Hochreiter & Schmidhuber 1997,
# [*Long short-term memory*](https://doi.org/10.1162/neco.1997.9.8.1735); the forget gate is from Gers et al. 2000):
#
# $$(i, f, g, o) = W x_t + U h_{t-1} + b ,$$
# $$c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad h_t = \sigma(o) \odot \tanh(c_t) .$$
#
# $\sigma(f)$ says how much of the cell is kept, $\sigma(i)$ how much of the candidate $\tanh(g)$ is written, and $\sigma(o)$ how much of
# the cell is shown in the state. The *GRU* does with two gates and without a cell; [`recurrent.py`](../../labkit/foundations/sequences/recurrent.py)
# has all three steps.
#
# ### Exercise 3: a step of an LSTM
#
# *●●○ · 8 minutes*
#
# `x` (batch, inputs), `h` and `c` (batch, size), `W` (4 · size, inputs), `U` (4 · size, size), `b` (4 · size,) in, with the rows in the
# order $i$, $f$, $g$, $o$; the new `h` and `c` out. With all weights 0 every gate is 0.5 and the candidate is 0:
#
# ```python
# zeros = torch.zeros(4, 1)
# lstm_step(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), zeros, zeros, torch.zeros(4))  # h [[0.2311]], c [[0.5]]
# ```


# %%
def lstm_step(x, h, c, W, U, b): ...  # your turn


lstm_step = check.lstm_step(lstm_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The sums are as in `rnn_step`, without tanh: (batch, 4 · size).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `i, f, g, o = sums.chunk(4, dim=1)` cuts them into four parts of (batch, size).
# </details>
#
# <details><summary>Hint 3</summary>
#
# First the new `c`, then `h` of the new `c`; `*` is the product entry by entry, $\odot$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def lstm_step(x, h, c, W, U, b):
#     i, f, g, o = (x @ W.T + h @ U.T + b).chunk(4, dim=1)
#     c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
#     return torch.sigmoid(o) * torch.tanh(c), c
# ```
# </details>
#
# Does it reach farther? Here are untrained layers of 64 units ([the numbers](../../docs/results.md#how-far-back-a-gradient-reaches)):
# the gradient at a word so many words before the last one, beside that at the last one, as a power of ten.

# %%
from labkit.report.pages import page

cell = torch.nn.LSTMCell(3, 5)
x, h, c = torch.randn(2, 3), torch.randn(2, 5), torch.randn(2, 5)
own = lstm_step(x, h, c, cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh)
agree = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(own, cell(x, (h, c)), strict=True))
print("your step is also torch's:", agree)

measured = page("sequences_reach").report
measured.lines("words", label="words before the last one")

# %% [markdown]
# The RNN's line falls steepest. But as it comes from the random generator the LSTM is hardly better, because its forget gates are
# near one half. Only with a bias of 1 or 3 in the forget gates does the line stay up (Jozefowicz et al. 2015,
# [*An empirical exploration of recurrent network architectures*](https://proceedings.mlr.press/v37/jozefowicz15.html)).
# **Predict**: the same five layers learn to tell which of four words a text began with, so many random words ago. From which
# distance on is each of them no better than guessing (25 %)? Use the figure above.

# %%
labkit.Report([row for row in measured.rows if row.metric == "accuracy"]).lines("words", label="words after the first one")

# %% [markdown]
# Compare the two figures. Where less than a thousandth of the gradient arrives (−3 in the first), 300 steps of training were not enough.
#
# Now look into the LSTM of section 1. The picture shows one unit; "unit by weight" goes from the unit that moves the answer most
# to the one that moves it least. At the bottom is the answer, if the text ended at that word.
#
# 1. At which word does the answer change for good: at "not", or later?
# 2. At which word does the forget gate of the first unit open least, so that most of its cell is lost? Exchange "awful" and "superb" in the
#    text: is it still the same place? Which of the first five units have a cell of the other colour at the end now?

# %%
from labkit.widgets import lstm_gates

lstm_gates(lstm, tokenizer, pairs[0][0])

# %% [markdown]
# ## 5 · A batch of texts, both ways
#
# A batch holds texts of different lengths, so the shorter ones are filled up with padding. After its last word a text's state is
# complete; what the network makes of the padding behind it must not count:
#
# | | word 1 | word 2 | word 3 | last |
# |---|---|---|---|---|
# | text A, 3 words | $h_1$ | $h_2$ | $h_3$ | $h_3$ |
# | text B, 2 words | $h_1$ | $h_2$ | (padding) | $h_2$ |
#
# A state knows only the words to its left. A *bidirectional* network has a second layer that reads each text from its last word to
# its first, and puts both states side by side. (ELMo, Peters et al. 2018, [*Deep contextualized word
# representations*](https://arxiv.org/abs/1802.05365), took the states of such a pair of language models as word vectors that depend
# on the sentence.)
#
# ### Exercise 4: reading a batch
#
# *●●○ · 8 minutes*
#
# Word vectors (batch, tokens, inputs), `lengths` (batch,) and an LSTM's weights in; out `states` (batch, tokens, size), the state
# after each word, and `last` (batch, size), each text's state after its own last word. The memory is 0 before the first word.
#
# ```python
# states, last = read(torch.randn(2, 3, 4), torch.tensor([3, 2]), W, U, b)
# last  # states[0, 2] and states[1, 1]
# ```


# %%
def read(vectors, lengths, W, U, b): ...  # your turn


read = check.read(read)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Loop over the places `t`, and let all texts take the step together: `lstm_step(vectors[:, t], h, c, W, U, b)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The size is `U.shape[1]`. Collect each `h` in a list, then `torch.stack(…, 1)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `states[torch.arange(len(vectors)), lengths - 1]` takes one place of each text.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def read(vectors, lengths, W, U, b):
#     h = c = torch.zeros(len(vectors), U.shape[1])
#     states = []
#     for t in range(vectors.shape[1]):
#         h, c = lstm_step(vectors[:, t], h, c, W, U, b)
#         states.append(h)
#     states = torch.stack(states, 1)
#     return states, states[torch.arange(len(vectors)), lengths - 1]
# ```
# </details>
#
# ## 6 · A language model of your own
#
# A [language model](../glossary.ipynb#causal-language-model) gives each word of the vocabulary a probability to be the next one. Yours reads
# short sentences from reviews with your `read`, and a linear layer makes [logits](../glossary.ipynb#logit) of each state.

# %% tags=["idea"]
from collections import Counter

from labkit.world import World, corpus

texts = corpus(World(), "en", 8000, genres=["reviews"])
sentences = [s.split() for text in texts for s in text.split(" .") if 4 <= len(s.split()) <= 9]
known = {word for word, _ in Counter(word for s in sentences for word in s).most_common(500)}
sentences = [s for s in sentences if known.issuperset(s)]
words = ["(padding)", "(start)", "(end)", *sorted({word for s in sentences for word in s})]
number = {word: n for n, word in enumerate(words)}
print(len(sentences), "sentences,", len(words), "words, such as:", " ".join(sentences[0]))


class NextWord(torch.nn.Module):
    """Word → vector → your LSTM → the logits of the next word."""

    def __init__(self, words, size=48):
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(words, size), torch.nn.Linear(size, words)
        start = torch.nn.LSTM(size, size)  # for its first weights alone
        self.W, self.U, self.b = start.weight_ih_l0, start.weight_hh_l0, start.bias_ih_l0


def collate(some, rng):
    ids = [torch.tensor([1, *(number[word] for word in sentence), 2]) for sentence in some]
    lengths = torch.tensor([len(one) - 1 for one in ids])
    return {"ids": torch.nn.utils.rnn.pad_sequence(ids, batch_first=True), "lengths": lengths}


def next_word_loss(model, batch):
    before, after = batch["ids"][:, :-1], batch["ids"][:, 1:]
    states, _ = read(model.embed(before), batch["lengths"], model.W, model.U, model.b)
    return torch.nn.functional.cross_entropy(model.out(states).flatten(0, 1), after.flatten(), ignore_index=0)


torch.manual_seed(0)
writer = NextWord(len(words))
history = labkit.fit(writer, next_word_loss, Batches(sentences, collate, 32, seed=0), steps=300, lr=1e-2, progress=lab.progress)
losses = history.losses
print(f"loss: at first {losses[0]:.2f} (guessing: log {len(words)} = {torch.tensor(len(words)).log():.2f}), "
      f"at last {sum(losses[-20:]) / 20:.2f}")  # fmt: skip

# %% [markdown]
# $e^{\text{loss}}$ is the [*perplexity*](../glossary.ipynb#perplexity): the model is as unsure as if it guessed among so many words. Let it write now. It reads the start,
# chooses a word, reads that word, chooses the next one, and so on. The memory $(h, c)$ is all that it keeps of the sentence.
#
# ### Exercise 5: writing
#
# *●●● · 10 minutes*
#
# A model with `embed`, `W`, `U`, `b` and `out`, the number of the start, `choose`, the number of the end, and `most` in; out the list of
# the numbers of at most `most` new words, without start and end. `choose(logits)` is given the logits (words,) and gives a number. It is your
# `lstm_step` that reads. For example, if `choose` gives 7, then 3, then the end 2:
#
# ```python
# write(model, start=1, choose=choose, end=2, most=20)  # [7, 3]
# ```


# %%
def write(model, start, choose, end, most): ...  # your turn


write = check.write(write)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `h = c = torch.zeros(1, size)` with `size = model.U.shape[1]`, and `word = start`, before the loop.
# </details>
#
# <details><summary>Hint 2</summary>
#
# In the loop: `h, c = lstm_step(model.embed(torch.tensor([word])), h, c, model.W, model.U, model.b)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `word = choose(model.out(h)[0])`; stop if it is the end, else append it. The next round reads it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def write(model, start, choose, end, most):
#     h = c = torch.zeros(1, model.U.shape[1])
#     word, words = start, []
#     for _ in range(most):
#         h, c = lstm_step(model.embed(torch.tensor([word])), h, c, model.W, model.U, model.b)
#         word = choose(model.out(h)[0])
#         if word == end:
#             break
#         words.append(word)
#     return words
# ```
# </details>

# %%
def draw(temperature):
    """A choice by chance, with the probabilities softmax(logits / temperature)."""
    return lambda logits: int(torch.multinomial((logits / temperature).softmax(0), 1))


torch.manual_seed(1)
for temperature in (0.5, 1.0, 2.0):
    drawn = [" ".join(words[n] for n in write(writer, 1, draw(temperature), 2, 15)) for _ in range(3)]
    print(f"temperature {temperature}:", *drawn, sep="\n    ")

# %% [markdown]
# A low temperature prefers likely words, a high one gives unlikely words a chance. Read the sentences at 2.0: neighbouring words
# may fit, but the whole does not.
#
# ## 7 · All windows at once
#
# A recurrent network must wait for each step before the next. **TextCNN** (Kim 2014,
# [*Convolutional neural networks for sentence classification*](https://arxiv.org/abs/1408.5882)) looks at all windows of a few words at the
# same time. A filter is a pattern of `width` word vectors, and for each filter only its best window counts. **Predict**: windows have 3
# to 5 words. Which of the three readers can tell the two texts below apart?

# %% tags=["nbval-check-output"]
def text_cnn(vectors, filters, bias):  # (tokens, d), (n, d, width), (n,)
    windows = vectors.unfold(0, filters.shape[2], 1)  # (places, d, width)
    return (torch.einsum("pdw, ndw -> pn", windows, filters) + bias).relu().amax(0)  # the best window of each filter


cnn = trained("cnn", steps=100)
BLIND = ("but then the plot was good , but then the plot was bad , but then the plot was long",
         "but then the plot was bad , but then the plot was good , but then the plot was long")  # fmt: skip
for name, model in (("bag", bag), ("TextCNN", cnn), ("LSTM", lstm)):
    one, other = positive(model, BLIND)
    print(f"{name:<8} gives both the same answer: {abs(one - other) < 1e-5}")
layer, x = cnn.reader.convolutions[0], torch.randn(9, 64)
whole = torch.cat([x, torch.zeros(2, 64)])  # as if zeros followed
print("these two lines are TextCNN:", torch.allclose(text_cnn(whole, layer.weight, layer.bias), cnn.reader(x[None])[0, :64], atol=1e-5))

# %% [markdown]
# Each window of the first text also stands in the second one, so TextCNN finds the same best windows. It sees the order of words
# inside a window, and not the order of windows.
#
# ## 8 · Past the bottleneck: attention
#
# To translate, one network, the [encoder](../glossary.ipynb#encoder), reads, and another, the [decoder](../glossary.ipynb#decoder), writes.
# Without attention the last state of the encoder is all that the decoder gets, however long the text is. Here the text is a date, to be
# rewritten letter by letter.
#
# With **attention** the decoder compares its state $q$ with *every* state $k_j$ of the encoder, by their product, and takes a weighted mean of
# them (Bahdanau et al. 2015, [*Neural machine translation by jointly learning to align and translate*](https://arxiv.org/abs/1409.0473);
# the product is from Luong et al. 2015):
#
# $$a_j = \operatorname{softmax}_j(q \cdot k_j), \qquad \text{context} = \sum_j a_j k_j .$$
#
# Both ways have the same number of training steps. In the picture below, each row is a letter that is written, and dark squares are the
# letters of the source that it looks at.

# %%
import datetime
import random

from labkit.evaluation import answers
from labkit.foundations.sequences.attention import Rewriting, Seq2Seq
from labkit.foundations.sequences.language_model import character_tokenizer

rng, FORMS = random.Random(0), ("%d %B %Y", "%B %d, %Y", "%A, %B %d %Y", "%A the %d of %B in %Y")
days = [datetime.date(1900, 1, 1) + datetime.timedelta(rng.randrange(73_000)) for _ in range(3300)]
dates = [{"source": day.strftime(rng.choice(FORMS)).lower(), "target": day.isoformat()} for day in days]
letters = character_tokenizer("".join(row["source"] + row["target"] for row in dates))
rewriting, new = Rewriting(letters, most=12), dates[3000:]

# %%
models = {}
for attention in ("none", "dot"):
    model = models[attention] = Seq2Seq(len(letters), 64, attention)
    labkit.fit(model, rewriting.loss, Batches(dates[:3000], rewriting.collate, 64, seed=0), steps=150, lr=5e-3, progress=lab.progress)
    found = answers(model, rewriting, new)
    print(f"attention {attention}: {rewriting.score(new, found)['accuracy']:.0%} of {len(new)} new dates right; "
          f"{new[0]['source']} → {found[0]}")  # fmt: skip

# %%
from matplotlib.figure import Figure

from labkit.report import Plot

shown = next(row for row in new if "of" in row["source"])
batch = rewriting.collate([shown])
with torch.no_grad():
    _, weights = models["dot"](batch["input_ids"], batch["attention_mask"], batch["labels"][:, :-2])
figure = Figure(figsize=(8, 3.4), layout="constrained")
axes = figure.subplots()
figure.colorbar(axes.imshow(weights[0], cmap="Blues", vmin=0, vmax=1, aspect="auto"), label="weight")
axes.set(xlabel="letters read", ylabel="letters written")
axes.set_xticks(range(len(shown["source"])), list(shown["source"]))
axes.set_yticks(range(10), list(shown["target"]))
looks = ", ".join(f"{t}: {shown['source'][j]!r}" for t, j in zip(shown["target"], weights[0].argmax(1), strict=True))
Plot(figure, f"Attention weights from {shown['source']} to {shown['target']}. Written and most looked at: {looks}.")

# %% [markdown]
# For the year it mostly looks at the year, for the month at the month's name, although nobody told it which letter belongs to which. (The state
# beside a letter has read that letter too, so it may look there as well.) From a written letter to a read one there is now one step, however
# far back it is, so this gradient does not pass through a chain of steps.
#
# In training the decoder always reads the *right* letters before the one that it has to write
# ([*teacher forcing*](../glossary.ipynb#teacher-forcing)). Alone, it reads its own letters, mistakes included. This difference is called
# *exposure bias*.
#
# ## 9 · What reading in order is worth
#
# The same film reviews, with more steps and three [seeds](../glossary.ipynb#seed) ([the
# numbers](../../docs/results.md#readers-of-sequences)); then language models of the world's text. Each of the first lines is a difference to
# the bag with its [paired interval](../glossary.ipynb#paired-interval). **Predict**: which reader is first?

# %%
from IPython.display import display

readers = page("sequences").report
for who in ("TextCNN", "BiGRU", "BiLSTM"):
    print(readers.compare(who, "bag of vectors", task="world/mr"))
display(readers.plot(task="world/mr", metric="accuracy", ranked=True, title="Film reviews (world/mr)"))
readers.table(task="next word, world")

# %% [markdown]
# In classification, look at the intervals: no reader is ahead of the bag [beyond noise](../glossary.ipynb#beyond-noise), and the BiLSTM is a
# little behind it, although the bag cannot tell the pairs of section 1 apart. A likely reason is that most opinions in these reviews stand in one
# word, and that so few rows teach little about a state. So try a bag first. In the table (less is better, one run each) it is the other way
# round: all three networks are far ahead of the counts of word pairs (*bigram*), which know only one word of what stands before.
#
# **The answer.** A network of fixed size reads texts of any length by taking the same step at every word, and handing on a state. It
# remembers as far back as the product of its steps does not vanish. Gates make that longer, if they are open at the beginning of training,
# and attention needs no chain at all.
#
# ## Read on
#
# - Papers: linked above. Cho et al. 2014, [*Learning phrase representations using RNN encoder–decoder*](https://arxiv.org/abs/1406.1078), has the GRU.
# - On real text: bits per character on Shakespeare's plays, in [Readers of sequences](../../docs/results.md#readers-of-sequences).
# - Next, [01/03](03_transformer.ipynb): if attention needs no chain, do we need the chain at all? The Transformer reads without one.
