# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The Transformer, piece by piece: how does a word reach another?
#
# BERT, GPT and T5 are one network with small differences. It cuts a text into pieces, lets every piece look at all others,
# tells each where it stands, and does this again in every layer. You build these parts one by one, and then a small
# GPT out of them.
#
# **After this lesson you can** learn a vocabulary of pieces from text; compute attention with a pencil and in four lines
# of code; say what masks and positions are for; build a decoder, train it, and say what it costs for long texts.
#
# **60 minutes.** Before it: [networks that read one word after another](02_sequences.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="01/03")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TEXT = "{} dubois discovered meadow carditis . was meadow carditis discovered by [MASK] dubois ? yes ."  # @param {type:"string"}
STEPS = 450  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A blank that needs a word from elsewhere
#
# A small BERT fills the [blank](../glossary.ipynb#blank) of a text. (The disease is one of the course's invented world.)
# Only the first word of the text differs between the three lines:

# %%
import torch

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
for name in ("karen", "oscar", "emma"):
    batch = tokenizer(TEXT.format(name), return_tensors="pt")
    blank = int((batch["input_ids"][0] == tokenizer.mask_token_id).nonzero())
    with torch.no_grad():
        share, best = model(**batch).logits[0, blank].softmax(-1).max(-1)
    print(f"{TEXT.format(name)}\n    [MASK]: {tokenizer.decode(int(best))}, {share:.0%}")

# %% [markdown]
# The answer follows the first word, which stands far from the blank. A recurrent network would have to carry the name
# through every word between the two. A [Transformer](../glossary.ipynb#transformer) gets it in one step. How?
#
# ## 2 · Pieces of words
#
# A network reads numbers, so every text has to be written with a fixed list of things that have numbers. If the things are
# words, there is a problem. Here is a vocabulary of all words in 2,000 texts, and what it lacks in 300 new ones:

# %%
from collections import Counter

from labkit.world import World, corpus

texts, new = corpus(World(), "en", 2000), corpus(World(), "en", 300, part="new")
words = Counter(word for text in texts for word in text.split())
unknown = sorted({word for text in new for word in text.split() if word.isalpha()} - set(words))
print(len(words), "known words;", len(unknown), "unknown:", *unknown[:12])

# %% [markdown]
# All of these would be the same `[UNK]`. [Byte-pair encoding](../glossary.ipynb#bpe) (BPE, [Sennrich et al.
# 2016](https://arxiv.org/abs/1508.07909)) starts from single characters, which can spell everything, and joins the two
# neighbours that stand side by side most often. Then it looks again, with the joined piece as one thing. A word is a
# tuple of pieces, ▁ marks its beginning, and the number says how often the word occurs:
#
# ```python
# small = {("▁", "l", "o", "w"): 5, ("▁", "l", "o", "w", "e", "r"): 2, ("▁", "n", "e", "w", "e", "s", "t"): 6,
#          ("▁", "w", "i", "d", "e", "s", "t"): 3}
# ```
#
# The pair (e, s) occurs 6 + 3 = 9 times, and so does (s, t). No pair occurs more often.
#
# ### Exercise 1: the most frequent pair
#
# *●○○ · 6 minutes*
#
# Words as above in, the most frequent pair of neighbours out. A pair that stands twice in a word counts twice. Of equally
# frequent pairs take the first in the alphabet, that is, the smaller tuple.
#
# ```python
# best_pair(small)  # ("e", "s")
# ```

# %%
from labkit.checks import transformer as check

small = {("▁", "l", "o", "w"): 5, ("▁", "l", "o", "w", "e", "r"): 2, ("▁", "n", "e", "w", "e", "s", "t"): 6,
         ("▁", "w", "i", "d", "e", "s", "t"): 3}  # fmt: skip


def best_pair(words): ...  # your turn


best_pair = check.best_pair(best_pair)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Count pairs in a dictionary. `zip(word, word[1:])` gives a word's neighbours.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Each pair counts as often as its word: `counts[pair] = counts.get(pair, 0) + words[word]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `min(counts, key=lambda pair: (-counts[pair], pair))` wants a high count first, then a small pair.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def best_pair(words):
#     counts = {}
#     for word in words:
#         for pair in zip(word, word[1:]):
#             counts[pair] = counts.get(pair, 0) + words[word]
#     return min(counts, key=lambda pair: (-counts[pair], pair))
# ```
# </details>
#
# ### Exercise 2: join a pair
#
# *●●○ · 7 minutes*
#
# A word's pieces and a pair in; a list of pieces out, in which the pair is joined wherever it stands, from left to right.
# What was joined in this call is not joined again.
#
# ```python
# merge(("▁", "n", "e", "w", "e", "s", "t"), ("e", "s"))  # ["▁", "n", "e", "w", "es", "t"]
# merge(("a", "a", "a"), ("a", "a"))                      # ["aa", "a"]
# ```


# %%
def merge(pieces, pair): ...  # your turn


merge = check.merge(merge)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Walk with an index `i`. Where the pieces `i` and `i + 1` are the pair, append the joined piece and go on by two.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Else append `pieces[i]` and go on by one.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `tuple(pieces[i : i + 2]) == pair` is False at the last piece, so the end needs no case of its own.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def merge(pieces, pair):
#     found, i = [], 0
#     while i < len(pieces):
#         if tuple(pieces[i : i + 2]) == pair:
#             found.append(pieces[i] + pieces[i + 1])
#             i += 2
#         else:
#             found.append(pieces[i])
#             i += 1
#     return found
# ```
# </details>
#
# Your two functions are the whole of learning. To *read* a new word, the same pairs are joined in the same order:


# %% tags=["nbval-check-output"]
def learn(words, count):
    merges = []
    for _ in range(count):
        merges.append(best_pair(words))
        words = {tuple(merge(word, merges[-1])): number for word, number in words.items()}
    return merges


def spell(word, merges):
    pieces = ["▁", *word]
    for pair in merges:
        pieces = merge(pieces, pair)
    return list(pieces)


merges = learn(small, 5)
print("joined, in this order:", *("+".join(pair) for pair in merges))
print("lowest:", *spell("lowest", merges))

# %% [markdown]
# "lowest" is not among the four words. It is read as two pieces that are, "low" and "est", so whatever a network
# learns about *low* and about *newest* is of use for it. Now the world's text, and the words that were unknown:

# %%
merges = learn({("▁", *word): number for word, number in words.items()}, 300)
for word in unknown[:6]:
    print(f"{word:<14}", *spell(word, merges))

# %% [markdown]
# No `[UNK]` any more: rare words cost more pieces, but they can be read. BERT's [WordPiece](../glossary.ipynb#wordpiece)
# differs in two ways. It joins the pair with the highest $\mathrm{count}(ab) / (\mathrm{count}(a) \cdot \mathrm{count}(b))$, that
# is, a pair whose parts hardly ever stand alone; and it reads a word by taking the longest piece that fits, then the
# longest that goes on from there. SentencePiece does without words: a space is a character like others, so it also
# learns pieces of Chinese, which has no spaces.
#
# ## 3 · Attention
#
# Each piece is a vector now, and they have to exchange something. In *attention* every word has three vectors: a
# **query** (what it looks for), a **key** (what it is found by) and a **value** (what it passes on). Take three words and two
# dimensions; "blank" looks for a name, and "karen" is one:

# %% tags=["nbval-check-output"]
names = ("karen", "found", "blank")
keys = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])  # first number: is it a name? second: is it a verb?
values = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
query = torch.tensor([2.0, 0.0])  # of "blank"
scores = keys @ query / 2**0.5
weights = scores.exp() / scores.exp().sum()
for name, score, weight in zip(names, scores, weights, strict=True):
    print(f"{name}: product / √2 = {score:.2f}, e^… = {score.exp():5.2f}, weight {weight:.2f}")
print("blank receives", [round(x, 2) for x in (weights @ values).tolist()])

# %% [markdown]
# The products of the query with the keys are *scores*, a softmax makes of them weights that sum to 1, and the blank
# receives the mean of the values with these weights: nearly all of karen's. The three queries together, as rows of
# matrices:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left( \frac{Q K^\top}{\sqrt{d}} \right) V .$$
#
# (Vaswani et al. 2017, [*Attention is all you need*](https://arxiv.org/abs/1706.03762), §3.2.) Why $\sqrt d$? Take vectors
# whose entries are independent with a spread of 1, and look at their products, with and without the division:

# %%
for d in (4, 64, 1024):
    products = (torch.randn(1000, d) * torch.randn(1000, d)).sum(1)
    print(f"d = {d:4}: spread {products.std():5.1f}, divided by √d {products.std() / d**0.5:.2f}")

# %% [markdown]
# The spread of the products grows as $\sqrt d$. Undivided, in a wide network, one score would be far above the others and its
# weight nearly 1. There the softmax is flat: its gradient is nearly 0, and the network would hardly learn.
#
# A **mask** says which keys a query may see. A hidden key gets the score $-\infty$, hence the weight $e^{-\infty} = 0$, and
# the rest still sums to 1. Padding is hidden so. And a network that writes from left to right hides what comes later, with
# the [causal mask](../glossary.ipynb#causal-mask):
#
# ```python
# torch.ones(3, 3).tril().bool()   # [[True, False, False], [True, True, False], [True, True, True]]
# ```
#
# ### Exercise 3: attention with a mask
#
# *●●○ · 8 minutes*
#
# `q` (…, n, d), `k` and `v` (…, m, d), and `seen` (n, m), True where a query may look, in; (…, n, d) out, with any
# dimensions in front. Every query sees a key at least.
#
# ```python
# x = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
# attention(x, x, x, torch.tensor([[True, False], [True, True]]))  # [[2, 0], [0.11, 1.89]]
# ```


# %%
def attention(q, k, v, seen): ...  # your turn


attention = check.attention(attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `k.mT` exchanges the last two axes, whatever stands in front: `q @ k.mT` is (…, n, m).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Divide by `q.shape[-1] ** 0.5`, then hide: `scores.masked_fill(~seen, float("-inf"))`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.softmax(-1)` is over the keys. Then multiply by `v`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def attention(q, k, v, seen):
#     scores = q @ k.mT / q.shape[-1] ** 0.5
#     return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v
# ```
# </details>
#
# In a network queries, keys and values are three linear maps of each token's state, and they are learnt. One attention can
# look for one thing at a time, so the $d$ dimensions are split into **heads** of $d / \text{heads}$, each with its own
# queries, keys and values; their results are put side by side, and one more linear map mixes them.
#
# What do heads learn to look for? These are the weights of the model from section 1. Rows are queries, columns keys.
#
# 1. One head of the first two layers looks at **the word before**, another at **the word after**. Which?
# 2. Two heads of layer 4 let **[MASK]** look at **karen** at the beginning of the text. Which?

# %%
from labkit.widgets import attention_heads

attention_heads(model, tokenizer, TEXT.format("karen"), layer=3, head=2)

# %% [markdown]
# So the answer to the question of this lesson is in a row of such a map: the blank puts weight on the name, and the name's
# value is added to the blank's state. Nobody told the heads what to look for.
#
# ## 4 · Positions
#
# **Predict** before you run the cell: three words look at one another, first in the order *dog bites man*, then *man bites
# dog*. Does "dog" receive the same in both? And with the causal mask?

# %% tags=["nbval-check-output"]
everything, causal = torch.ones(3, 3).bool(), torch.ones(3, 3).tril().bool()
dog, bites, man = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
for name, seen in (("every word seen", everything), ("causal mask", causal)):
    one, other = (attention(x, x, x, seen) for x in (torch.stack([dog, bites, man]), torch.stack([man, bites, dog])))
    print(f"{name}: dog receives the same: {torch.allclose(one[0], other[2])}")

# %% [markdown]
# Attention takes a mean over a *set*, so an encoder without positions cannot tell who bites whom. (The causal mask brings
# in some order, because the first word sees less than the last.) BERT therefore adds to each embedding a learnt vector of its
# place. Below is the model of section 1 once more, in labkit's own parts: a network like the one that you build. First it
# computes the same as the original. Then all places get the same vector:

# %% tags=["nbval-check-output"]
from labkit.foundations.transformer.copying import from_bert


def fill(network, text):
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        shares = network(ids)[0, int((ids[0] == tokenizer.mask_token_id).nonzero())].softmax(-1)
    return f"{tokenizer.decode(int(shares.argmax()))}, {shares.max():.0%}"


ours, text = from_bert(model), TEXT.format("karen")
with torch.no_grad():
    print("the same logits to 1e-4:", bool((ours(batch["input_ids"]) - model(**batch).logits).abs().max() < 1e-4))
    print("with positions:", fill(ours, text))
    ours.stack.positions.table.weight[:] = ours.stack.positions.table.weight.mean(0)
    print("without:", fill(ours, text))
print("without, words in alphabetical order:", fill(ours, " ".join(sorted(text.split()))))

# %% [markdown]
# Without positions the answer is wrong, and it is the same when the words are sorted by the alphabet. What tells a token its place is
# called a [positional encoding](../glossary.ipynb#positional-encoding).
#
# The first Transformer adds a vector of waves to each embedding. At place $p$, in the columns $2i$ and $2i + 1$:
#
# $$\sin\!\big(p / 10000^{2i/d}\big), \qquad \cos\!\big(p / 10000^{2i/d}\big) .$$
#
# With $d = 4$ the waves have the speeds $1$ and $10000^{-1/2} = 0.01$, so place 3 is $[\sin 3, \cos 3, \sin 0.03, \cos
# 0.03]$.
#
# ### Exercise 4: waves
#
# *●●○ · 8 minutes*
#
# A number of places and an even $d$ in; a tensor (n, d) out.
#
# ```python
# sinusoids(2, 4)  # [[0, 1, 0, 1], [0.84, 0.54, 0.01, 1.00]]
# ```


# %%
def sinusoids(n, d): ...  # your turn


sinusoids = check.sinusoids(sinusoids)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.arange(0, d, 2)` holds the numbers $2i$; `torch.arange(n)[:, None]` the places as a column.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `angles = places / 10000 ** (torch.arange(0, d, 2) / d)` is (n, d/2).
# </details>
#
# <details><summary>Hint 3</summary>
#
# To let sines and cosines take turns: `torch.stack([angles.sin(), angles.cos()], -1).flatten(1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def sinusoids(n, d):
#     angles = torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
#     return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
# ```
# </details>
#
# Why waves? Because $\sin a \sin b + \cos a \cos b = \cos(a - b)$, the product of two places depends on their **distance**
# alone. On the left your table, on the right such products:

# %%
from matplotlib.figure import Figure

from labkit.report import Plot
from labkit.report.figure import COLOURS

table = sinusoids(60, 32)
figure = Figure(figsize=(8.5, 3), layout="constrained")
left, right = figure.subplots(1, 2)
figure.colorbar(left.imshow(table.T, cmap="cividis", aspect="auto"), ax=left)
left.set(xlabel="place", ylabel="column", title="waves, d = 32")
for place, dash, colour in zip((10, 30, 50), ("-", "--", ":"), COLOURS, strict=False):
    right.plot(torch.arange(60) - place, table @ table[place], dash, c=colour, lw=2, label=f"with place {place}")
right.set(xlabel="distance", ylabel="product", title="products of two places")
right.legend()
Plot(figure, "Left: 60 places as waves, fast ones above. Right: products with places 10, 30 and 50 lie on one curve.")

# %% [markdown]
# The three curves are one. There are other ways. BERT and GPT-2 *learn* their vectors, and have none for places beyond the
# longest text of their training. T5 adds to the scores a learnt number per distance; NEZHA adds the waves of the *distance* $j - i$ to keys and
# values. The same small decoder was trained with each, on texts of 32 pieces, and then read longer ones ([how it was
# measured](../../docs/results.md#ways-to-tell-a-decoder-where-a-token-stands)). Lower is better:

# %%
from labkit.report.pages import page

plot = page("transformer").report.lines("tokens", label="pieces of the text (trained on 32)")
plot.figure.axes[0].legend(frameon=False, bbox_to_anchor=(1, 1))
plot

# %% [markdown]
# Look at the left end first. Most ways that say where a token stands beat the decoder that is told nothing (*none*), which has
# only the order of its mask. Now follow the lines to the right. The *learned* vectors get worse fastest, because no text of
# the training had a place beyond 32. T5's numbers (*bucketed*) are the lowest line throughout: most distances of a long text
# occur in short ones, too. NEZHA's waves (*relative*) are behind even without any training on places, which is not what
# its paper reports of a BERT that was trained for far longer. The reason here is their size: they are added to values that
# are small at first. At a tenth of it the line falls close to that of *none*, so they do no harm, and little good.
#
# ## 5 · A decoder
#
# A layer has two parts, attention and a small network (MLP) that works on each token alone. Around each part there are two
# things that make deep networks trainable. A [residual connection](../glossary.ipynb#residual-connection) *adds* what the part
# found to what was there. A norm scales each state to mean 0 and spread 1 before the part reads it (*pre-norm*, as in GPT-2;
# in BERT and the first Transformer the norm stands after the addition):
#
# $$x \leftarrow x + \mathrm{out}\big(\text{heads of attention of } \mathrm{norm}_1(x)\big), \qquad x \leftarrow x + \mathrm{MLP}\big(\mathrm{norm}_2(x)\big) .$$
#
# ### Exercise 5: a decoder's layer
#
# *●●● · 15 minutes*
#
# States `x` (batch, n, d) and the layer's learnt parts in; (batch, n, d) out. The parts: `part.norm_attend` and
# `part.norm_mlp`; the linear maps `part.attend.query`, `.key`, `.value` and `.out`; the number `part.attend.heads`; `part.mlp`.
# The mask is causal, and the attention is yours. If `norm_attend` changes nothing, all four linear maps and the MLP give
# what they get, there is one head, and `norm_mlp` makes everything 0:
#
# ```python
# decoder_layer(torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]), part)  # [[[4, 0], [0.11, 3.89]]]: exercise 3, added to x
# ```


# %%
def decoder_layer(x, part): ...  # your turn


decoder_layer = check.decoder_layer(decoder_layer)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Heads: `part.attend.query(y).unflatten(-1, (part.attend.heads, -1)).transpose(1, 2)` is (batch, heads, n, d / heads). Keys and
# values likewise.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Back: `mixed.transpose(1, 2).flatten(2)` is (batch, n, d). Then `part.attend.out`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `y = part.norm_attend(x)` is what attention reads; the sum begins with `x`. The MLP reads the new `x`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def decoder_layer(x, part):
#     y, maps = part.norm_attend(x), (part.attend.query, part.attend.key, part.attend.value)
#     q, k, v = (f(y).unflatten(-1, (part.attend.heads, -1)).transpose(1, 2) for f in maps)
#     mixed = attention(q, k, v, torch.ones(x.shape[1], x.shape[1]).tril().bool())
#     x = x + part.attend.out(mixed.transpose(1, 2).flatten(2))
#     return x + part.mlp(part.norm_mlp(x))
# ```
# </details>
#
# Now everything together: your pieces, your waves, your layers, which use your attention. The embeddings begin with a spread
# of 0.02, so the waves are made as small. The output layer is the table of embeddings once more.

# %% tags=["idea"]
from labkit.foundations.transformer.transformer import Layer, Settings


class Writer(torch.nn.Module):
    def __init__(self, vocabulary, d=96, layers=2):
        super().__init__()
        self.words = torch.nn.Embedding(vocabulary, d)
        torch.nn.init.normal_(self.words.weight, std=0.02)
        self.layers = torch.nn.ModuleList(Layer(Settings(vocabulary, d=d)) for _ in range(layers))
        self.norm = torch.nn.LayerNorm(d)

    def forward(self, ids):  # (batch, n) to logits (batch, n, vocabulary)
        x = self.words(ids) + 0.02 * sinusoids(ids.shape[1], self.words.embedding_dim)
        for part in self.layers:
            x = decoder_layer(x, part)
        return self.norm(x) @ self.words.weight.T

    def go_on(self, ids, count=16):  # always with the likeliest piece
        for _ in range(count):
            ids = [*ids, int(self(torch.tensor([ids[-32:]]))[0, -1].argmax())]
        return ids


def next_piece(writer, batch):
    logits = writer(batch["ids"][:, :-1])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["ids"][:, 1:].flatten())


# %% [markdown]
# Reviews of the world, in your pieces, one after the other, cut into blocks of 33: 32 to read, and the next piece of each to
# be [predicted](../glossary.ipynb#causal-language-model).

# %%
from functools import cache

cut = cache(lambda word: spell(word, merges))
reviews = {part: corpus(World(), "en", count, ["reviews"], part) for part, count in (("corpus", 3000), ("new", 150))}
streams = {part: [piece for word in " ".join(some).split() for piece in cut(word)] for part, some in reviews.items()}
number = {piece: i for i, piece in enumerate(dict.fromkeys(["[UNK]", *streams["corpus"]]))}
piece_of = list(number)


def blocks(stream):
    ids = torch.tensor([number.get(piece, 0) for piece in stream])
    return [ids[at : at + 33] for at in range(0, len(ids) - 33, 32)]


rows, held_out = blocks(streams["corpus"]), blocks(streams["new"])
print(len(number), "pieces,", len(rows), "blocks, the first:", *(piece_of[i] for i in rows[0].tolist()))


# %%
import math

from labkit.training import Batches

torch.manual_seed(0)
writer, test = Writer(len(number)), {"ids": torch.stack(held_out)}
start = [number[piece] for word in "on monday kevin and i".split() for piece in cut(word)]
batches = Batches(rows, lambda some, rng: {"ids": torch.stack(some)}, 32, seed=0)
losses = {}
for moment in ("untrained", "trained"):
    if moment == "trained":
        labkit.fit(writer, next_piece, batches, steps=STEPS, lr=3e-3, seed=0, progress=lab.progress)
    with torch.no_grad():
        losses[moment] = float(next_piece(writer.eval(), test))
        text = "".join(piece_of[i] for i in writer.go_on(start)).replace("▁", " ")
        print(f"{moment}: loss on new text {losses[moment]:.2f};{text}")
print(f"guessing: loss {math.log(len(number)):.2f}")

# %% [markdown]
# Guessing has a loss of $\ln$ of the number of pieces, and the untrained decoder is close to it. It repeats one piece. The
# trained one begins like a review: mostly whole words, in an order that makes sense. Later it may repeat itself, because
# it always takes the likeliest piece; 01/06 has better ways to write. (Two tricks of the paper are left out. *Label smoothing*
# trains towards 90 % for the right piece instead of 100 %, and the mean of the last checkpoints' weights is often better than
# the last alone.)
#
# ## 6 · What it costs
#
# Every token looks at every other: $n$ tokens have $n^2$ weights, in each head of each layer. A recurrence has $n$ steps. How
# much memory do the two need at most, for twice as long a text?

# %% tags=["nbval-check-output"]
from labkit.foundations.transformer.attention import MultiHead, Sight
from labkit.measure import peak_memory

heads, gru = MultiHead(128, 4), torch.nn.GRU(128, 128, batch_first=True)
for name, run in (("attention", lambda x: heads(x, x, Sight())), ("recurrence", lambda x: gru(x)[0])):
    short, long = (peak_memory(lambda run=run, n=n: run(torch.zeros(1, n, 128)).sum().backward()) for n in (512, 1024))
    print(f"{name}: twice the text, {long / short:.1f} times the memory")

# %%
time = labkit.Report([row for row in page("transformer_cost").report.rows if row.metric == "ms"])
plot = time.lines("tokens", label="tokens")
plot.figure.axes[0].set_yscale("log")
plot

# %% [markdown]
# The vertical axis is logarithmic. The recurrence takes about twice as long for twice the text. Attention is far quicker on short
# texts, because it computes all tokens at once instead of one after the other; but its line is steeper, and on the longest text
# it is the slower one. (One core, forward and backward, one layer of each: [Attention beside a
# recurrence](../../docs/results.md#attention-beside-a-recurrence).)
#
# ## 7 · So, how does a word reach another?
#
# In one step, by the product of a query and a key. The text is cut into pieces, so that there is no unknown word; each piece
# is told its place; then, layer by layer, each takes a weighted mean over all it may see and works on what it has got. That
# is all of it. The price is $n^2$, and it is why models have a longest text.
#
# ## Read on
#
# - Vaswani et al. 2017 and Sennrich et al. 2016, linked above; Wei et al. 2019, [*NEZHA*](https://arxiv.org/abs/1909.00204), §2.2;
#   Raffel et al. 2020, [*T5*](https://arxiv.org/abs/1910.10683), §2.1.
# - [`transformer.py`](../../labkit/foundations/transformer/transformer.py) and its neighbours: one short file per piece, with the encoder–decoder
#   and T5's weights, which this lesson leaves out.
# - Next, [01/04](04_pretraining.ipynb): what a Transformer is asked when it learns from raw text. GPT is a decoder as
#   in this lesson, BERT an encoder.
# - In class: the assignment `assignments/source/01_foundations`; to show others: `labkit demo foundations`.
