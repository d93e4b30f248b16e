# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Words as vectors
#
# How can a machine know that two words are alike, if nobody tells it?
#
# **After this lesson you can** turn counts of neighbouring words into vectors; write the loss of word2vec and train with
# it; say why a training step of word2vec is cheap; find and judge the nearest words; say what such a vector cannot do.
#
# **45 minutes.** Before it: nothing but Python and a little PyTorch.

# %%
import labkit

lab = labkit.setup(lesson="01/01")

# %%
DOCUMENTS = 20000  # @param {type:"integer"}
WORD = "noodles"  # @param {type:"string"}

# %% [markdown]
# ## 1 · Nobody explained these words
#
# Here are short texts from this course's small [world](../../docs/world.md). A program reads them once, from left to right.
# It has no dictionary. Then we ask it which words are most like the word above.

# %%
from labkit.foundations.words import Word2VecSettings, train_word2vec
from labkit.world import World, corpus

texts = corpus(World(), "en", DOCUMENTS)
print(texts[0], "\n")
settings = Word2VecSettings(dimension=50, window=2, epochs=1, lr=0.05)
found = train_word2vec(texts, settings, progress=lab.progress)
for word in (WORD, "asthma", "monday"):
    print(f"{word:<8}", ", ".join(f"{other} {cosine:.2f}" for other, cosine in found.neighbours(word, 5)))

# %% [markdown]
# Other dishes, other diseases, other days. The number after each word says how similar the two are; 1 is the most. Each word
# has become a row of 50 numbers, an [embedding](../glossary.ipynb#embedding). In this lesson you build all that is needed for this.
#
# The simplest vector for a word says nothing of the kind. A [one-hot vector](../glossary.ipynb#one-hot) has one place for
# each word, with a 1 in its own place and 0 elsewhere. So two different words always have the product 0: "noodles" is as far
# from "rice" as from "monday".
#
# ## 2 · Count the company
#
# In four short texts, which words stand directly beside which?

# %% tags=["nbval-check-output"]
import torch

from labkit.foundations.words import Vocabulary, cooccurrence

small = ["the cat drinks milk", "the dog drinks water", "the cat eats fish", "the dog eats meat"]
few = Vocabulary.of(small)
table = cooccurrence(small, few, window=1)  # (words, words)
print(" " * 8, *(f"{word:>7}" for word in few.words), "  cosine to cat")
for word in ("cat", "dog", "milk"):
    row = table[few.number(word)]
    cosine = torch.cosine_similarity(row, table[few.number("cat")], dim=0)
    print(f"{word:<8}", *(f"{int(count):>7}" for count in row), f"{cosine:10.2f}")

# %% [markdown]
# "cat" and "dog" have the same row, because the same words stand beside them. "milk" has another one. Nobody said that cats and
# dogs are alike: **the words beside them say so**. How alike two rows are is measured by their
# [cosine similarity](../glossary.ipynb#cosine-similarity), the product of the rows after each is scaled to length 1; it stands in
# the last column.
#
# ### Exercise 1: the nearest words
#
# *●○○ · 6 minutes*
#
# Vectors (words, d), the number of a row, and a count in; out the numbers of the `count` rows with the largest cosine to
# that row, the nearest first, without the row itself.
#
# ```python
# vectors = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [2.0, 2.0]])
# nearest(vectors, 0, 2)  # [1, 3]: cosines 0.99 and 0.71
# ```

# %%
from labkit.checks import words as check


def nearest(vectors, row, count): ...  # your turn


nearest = check.nearest(nearest)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `unit = torch.nn.functional.normalize(vectors, dim=1)` scales each row to length 1.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `unit @ unit[row]` has the cosines of all rows. Give the row itself a cosine that is lower than all others.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `cosines.topk(count).indices` are the places of the largest numbers.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def nearest(vectors, row, count):
#     unit = torch.nn.functional.normalize(vectors, dim=1)
#     cosines = unit @ unit[row]
#     cosines[row] = -2.0
#     return cosines.topk(count).indices.tolist()
# ```
# </details>
#
# Now all texts, two words to each side:

# %%
vocabulary = Vocabulary.of(texts, min_count=5)
counts = cooccurrence(texts, vocabulary, window=2)


def show(vectors, *words):
    for word in words:
        rows = nearest(vectors, vocabulary.number(word), 5)
        print(f"{word:<8}", ", ".join(vocabulary.words[int(row)] for row in rows))


company = counts[vocabulary.number(WORD)].topk(6)
print("beside", WORD, {vocabulary.words[i]: int(n) for i, n in zip(company.indices, company.values, strict=True)}, "\n")
show(counts, WORD, "asthma", "anna")

# %% [markdown]
# The neighbours are sensible, but look at the company: its largest counts are those of words and marks that stand beside nearly
# every word. They say little. What is informative is a count that is *larger than chance would give*. An example:
#
# | | eats | the | sum |
# |:--|--:|--:|--:|
# | cat | 4 | 4 | 8 |
# | day | 0 | 8 | 8 |
# | sum | 4 | 12 | 16 |
#
# "eats" is a quarter of all company ($4/16$) and "cat" has half of it ($8/16$). By chance they would meet
# $16 \cdot \frac{4}{16} \cdot \frac{8}{16} = 2$ times. They meet 4 times, twice as often, and $\log 2 = 0.69$. "cat" and "the"
# would meet 6 times and meet 4 times, so the logarithm is negative, and we write 0. This is *positive pointwise mutual
# information*:
#
# $$\mathrm{PPMI}(w, c) = \max\Big(0,\ \log \frac{p(w, c)}{p(w)\, p(c)}\Big) .$$
#
# ### Exercise 2: more than chance
#
# *●○○ · 6 minutes*
#
# Counts (words, contexts) in; PPMI out, same shape, with the natural logarithm. Words that never meet get 0, and so does a
# word without any company.
#
# ```python
# ppmi(torch.tensor([[4.0, 4.0], [0.0, 8.0]]))  # [[0.6931, 0.0000], [0.0000, 0.2877]]
# ```


# %%
def ppmi(table): ...  # your turn


ppmi = check.ppmi(ppmi)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The count by chance is row sum times column sum, divided by the total: `table.sum(1, keepdim=True) * table.sum(0) / table.sum()`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The logarithm of 0 is $-\infty$, and 0 divided by 0 is no number. `torch.where(table > 0, …, 0.0)` writes 0 in such places.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.clamp(min=0)` at the end.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ppmi(table):
#     chance = table.sum(1, keepdim=True) * table.sum(0) / table.sum()
#     return torch.where(table > 0, (table / chance).log(), 0.0).clamp(min=0)
# ```
# </details>
#
# A row is long, one number for each word, and most of them are 0. The [singular value
# decomposition](../glossary.ipynb#svd) finds the 50 directions that keep most of the table, and writes each row by its 50
# coordinates there. First the company and the neighbours by PPMI, then the neighbours by the short vectors:

# %%
from labkit.foundations.words import truncated_svd

weights = ppmi(counts)
company = weights[vocabulary.number(WORD)].topk(6)
print("beside", WORD, {vocabulary.words[i]: round(float(n), 1) for i, n in zip(company.indices, company.values, strict=True)}, "\n")
show(weights, WORD, "asthma", "anna")

short = truncated_svd(weights, 50)
zeros = (weights == 0).float().mean()
print(f"\n{weights.shape[1]} numbers per word, of which {zeros:.0%} are 0; now {short.shape[1]}")
show(short, WORD, "asthma", "anna")

# %% [markdown]
# Now the company of the word is made of words that belong to it. Look at "anna": by counts, some of her neighbours were no names
# of persons, and by PPMI all are. The short vectors find neighbours as good as the long ones.
#
# ## 3 · Predict instead of counting
#
# The table grows with the square of the vocabulary, so for a million words nobody builds it. *word2vec* (Mikolov et al. 2013)
# never counts. It goes through the text and asks, for each pair of a word and a word beside it: *do you belong together?* Each word
# has two vectors, one as input $v$ and one as output $u$, and the answer is the [sigmoid](../glossary.ipynb#sigmoid) of
# their product, $\sigma(v \cdot u) = 1 / (1 + e^{-v \cdot u})$. It should be near 1 for the pair from the text, and near 0 for
# some words that were drawn at random. One pair, with two drawn words, on paper:

# %% tags=["nbval-check-output"]
v = torch.tensor([1.0, 0.0])  # cat, the input
u = {"drinks": torch.tensor([1.0, 1.0]), "meat": torch.tensor([-0.5, 2.0]), "today": torch.tensor([2.0, 0.0])}
total = 0.0
for word, pair in (("drinks", 1), ("meat", 0), ("today", 0)):
    score = v @ u[word]
    wanted = score.sigmoid() if pair else (-score).sigmoid()  # 1 − σ(s) = σ(−s)
    total -= wanted.log()
    kind = "beside it" if pair else "drawn"
    print(f"{word:<7}{kind:<10} score {score:4.1f}, σ {score.sigmoid():.2f}, −log {-wanted.log():.2f}")
print(f"loss: {total:.2f}")

# %% [markdown]
# "today" costs most: it was drawn, but the vectors say that it belongs to "cat". With $k$ drawn words $c_1, \dots, c_k$ for a pair
# $(w, c)$, this is *negative sampling*:
#
# $$L = -\log \sigma(v_w \cdot u_c) \; - \; \sum_{i=1}^{k} \log \sigma(-\,v_w \cdot u_{c_i}) .$$
#
# ### Exercise 3: the loss
#
# *●●○ · 8 minutes*
#
# Scores of the right words (pairs,) and of the drawn words (pairs, k) in; out $L$, the mean over pairs, one number that
# carries its gradient. Scores may be as far from 0 as 200.
#
# ```python
# negative_sampling_loss(torch.tensor([1.0]), torch.tensor([[-0.5, 2.0]]))  # 2.91, as above
# ```


# %%
def negative_sampling_loss(positive, negative): ...  # your turn


negative_sampling_loss = check.negative_sampling_loss(negative_sampling_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.nn.functional.logsigmoid` is $\log \sigma$ without overflow.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add up over the drawn words, `.sum(1)`, then take the mean over the pairs.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The right word has `logsigmoid(positive)`, the drawn ones `logsigmoid(-negative)`; both with a minus in front.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def negative_sampling_loss(positive, negative):
#     log_sigmoid = torch.nn.functional.logsigmoid
#     return -(log_sigmoid(positive) + log_sigmoid(-negative).sum(1)).mean()
# ```
# </details>
#
# What does a step do to the three words? The derivative by a score is $\sigma(s) - 1$ for the right word and $\sigma(s)$ for a drawn
# one. Compare it with what your loss says when a score is moved by a little:


# %% tags=["nbval-check-output"]
def loss_at(scores):
    scores = torch.tensor(scores, dtype=torch.float64)
    return float(negative_sampling_loss(scores[:1], scores[None, 1:]))


scores, small_step = [1.0, -0.5, 2.0], 1e-5
for place, (word, pair) in enumerate((("drinks", 1), ("meat", 0), ("today", 0))):
    up, down = (loss_at([s + d * (i == place) for i, s in enumerate(scores)]) for d in (small_step, -small_step))
    slope = torch.tensor(scores[place]).sigmoid() - pair
    print(f"{word:<7} σ(s) − {pair} = {slope:5.2f}, by moving {(up - down) / (2 * small_step):5.2f}")

# %% [markdown]
# The step adds $-\text{rate} \cdot (\sigma(s) - 1) \cdot v$ to the right word's output vector, so "drinks" moves towards "cat";
# drawn words move away, "today" most. Words with the same company are pulled to the same places, so they end up side by side.
#
# ## 4 · Which pairs?
#
# Three decisions remain.
#
# **Which words are drawn?** In proportion to $\text{count}^{0.75}$: a word that is 10 000 times as frequent as another is drawn
# only 1 000 times as often. **How wide is the window?** For each word a new width is drawn, from 1 to `window`, so near words count
# more. **Which words are read?** The commonest word says least, and is read most. With $f$ a word's share of the text and a
# threshold $t$, each occurrence is left out with the probability $1 - \sqrt{t / f}$. An example: with $t = 0.001$, a word that is
# 10 % of the text is read with the probability $\sqrt{0.001 / 0.1} = 0.1$.
#
# ### Exercise 4: how often a word is read
#
# *●○○ · 4 minutes*
#
# Counts of all words (words,), a numpy array, and $t$ in; out the probability with which an occurrence of each word is
# *read*, at most 1.
#
# ```python
# keep_probability(np.array([900, 90, 9, 1]), 0.01)  # [0.105, 0.333, 1.0, 1.0]
# ```

# %%
import numpy as np


def keep_probability(counts, threshold): ...  # your turn


keep_probability = check.keep_probability(keep_probability)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $f$ is `counts / counts.sum()`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# If the word is left out with probability $p$, it is read with $1 - p$, which is $\sqrt{t/f}$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `np.minimum(1.0, …)`: rare words are always read.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def keep_probability(counts, threshold):
#     return np.minimum(1.0, np.sqrt(threshold / (counts / counts.sum())))
# ```
# </details>
#
# ## 5 · Why a step is cheap
#
# To say the next word exactly, a model compares it with *all* words, by a [softmax](../glossary.ipynb#softmax), and every step
# changes every output vector. Suppose 10 000 words with 300 numbers each. **Predict**: what share of this table does a step on one
# pair with four drawn words change?

# %% tags=["nbval-check-output"]
from labkit.foundations.words.outputs import FullSoftmax, NegativeSampling
from labkit.foundations.words.word2vec import Word2Vec

draws = torch.Generator().manual_seed(0)
even = np.full(10_000, 1 / 10_000)
for name, output in (("negative sampling", NegativeSampling(even, 4, draws)), ("full softmax", FullSoftmax(10_000))):
    model = Word2Vec(10_000, 300, output, "skip-gram", draws)
    before = model.outputs.clone()
    model.step(torch.tensor([9]), torch.tensor([[3]]), lr=0.1)  # word 9, with word 3 beside it
    changed = model.outputs != before
    print(f"{name:<18}{int(changed.any(1).sum()):6} rows, {changed.float().mean():8.2%} of the table")

# %% [markdown]
# Five rows of 10 000. Is there a way that is cheap and still gives a probability to every word? *Hierarchical softmax* puts the
# words at the leaves of a tree. At each inner node there is a vector, and the score $s$ of the input with it decides: left
# with $\sigma(s)$, right with $\sigma(-s)$. [Huffman's code](../glossary.ipynb#huffmans-code) builds the tree by merging, again and
# again, the two rarest groups, so frequent words have short paths:

# %% tags=["nbval-check-output"]
from labkit.foundations.words import huffman_codes

names, times = ["the", "cat", "eats", "fish", "today"], [16, 6, 4, 3, 1]
codes = huffman_codes(times)
for word, count, code in zip(names, times, codes, strict=True):
    print(f"{word:<6}{count:3} times, code {code}")
mean = sum(n * len(code) for n, code in zip(times, codes, strict=True)) / sum(times)
print(f"digits per word of the text: {mean:.2f}; with codes of one length they would be 3")

# %% [markdown]
# Read a code from the root: 0 is left, 1 is right. A word's probability is the product of the decisions on its way. With the
# scores 0.4 at the root and −1.1 at the next node, the code "10" has
# $\sigma(-0.4) \cdot \sigma(-1.1) = 0.401 \cdot 0.250 = 0.100$.
#
# ### Exercise 5: the probability of a path
#
# *●●○ · 6 minutes*
#
# The scores at the nodes of a word's path, from the root (nodes,), and its code, a string as long, in; its probability, one number,
# out.
#
# ```python
# path_probability(torch.tensor([0.4, -1.1]), "10")  # 0.100
# ```


# %%
def path_probability(scores, code): ...  # your turn


path_probability = check.path_probability(path_probability)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Go through `zip(scores, code)`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A "0" gives the factor `score.sigmoid()`, a "1" gives `(-score).sigmoid()`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Begin with `probability = 1.0` and multiply.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def path_probability(scores, code):
#     probability = 1.0
#     for score, digit in zip(scores, code):
#         probability = probability * (score.sigmoid() if digit == "0" else (-score).sigmoid())
#     return probability
# ```
# </details>

# %% tags=["nbval-check-output"]
from labkit.foundations.words.huffman import paths

node_scores = torch.randn(len(names) - 1, generator=torch.Generator().manual_seed(1))  # one per inner node
nodes, _ = paths(codes)  # (words, longest): the nodes that each word passes
chances = [float(path_probability(node_scores[nodes[i][: len(code)]], code)) for i, code in enumerate(codes)]
print({word: round(chance, 3) for word, chance in zip(names, chances, strict=True)}, f"sum {sum(chances):.3f}")

lengths = np.array([len(code) for code in huffman_codes(vocabulary.counts)])
mean = (lengths * vocabulary.counts).sum() / vocabulary.counts.sum()
print(f"{len(vocabulary.words)} words: {mean:.1f} decisions per word of the text, the longest path has {lengths.max()}")

# %% [markdown]
# The probabilities sum to 1 whatever the scores are, because at each node left and right share what arrives there. How many words
# per second do the three ways train on one core, and how many does [gensim](https://radimrehurek.com/gensim/), whose loops are
# compiled? ([All measurements](../../docs/results.md#word-vectors).)

# %%
from labkit.report import results

measured = results("word2vec").rows
speeds = [row for row in measured if row.metric == "words per second"]
for name in dict.fromkeys(row.method for row in speeds):
    print(f"{name:<40}{np.mean([row.value for row in speeds if row.method == name]):9,.0f} words per second")

# %% [markdown]
# Both shortcuts are far ahead of the full softmax, and gensim is faster still.
#
# ## 6 · Your word2vec
#
# Now train with your loss and your reading probability. And we want one number that says how good the vectors are. This world
# knows of many words of which type they are, as "noodles" belongs to names of dishes and "asthma" to diseases. The training
# never sees these types.
#
# ### Exercise 6: neighbours of one kind
#
# *●●○ · 8 minutes*
#
# Vectors (words, d), the kind of each word (`None` where it has none), and a count in. For each word **with** a kind look at its
# `count` nearest words, found among all words. Out: the share of these neighbours, from 0 to 1, that have the word's kind. Use
# your `nearest`.
#
# ```python
# vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
# same_kind(vectors, ["dish", "dish", "day", None], 1)  # 2 of 3: 0.667
# ```


# %%
def same_kind(vectors, kinds, count): ...  # your turn


same_kind = check.same_kind(same_kind)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `asked = [row for row, kind in enumerate(kinds) if kind is not None]` are the words to ask about.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `kinds[int(other)] == kinds[row]` for each `other` in `nearest(vectors, row, count)`. A neighbour without a kind is then never
# equal.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Collect True and False in one list, and divide its sum by its length.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def same_kind(vectors, kinds, count):
#     asked = [row for row, kind in enumerate(kinds) if kind is not None]
#     hits = [kinds[int(other)] == kinds[row] for row in asked for other in nearest(vectors, row, count)]
#     return sum(hits) / len(hits)
# ```
# </details>
#
# **Predict**: your skip-gram has never seen a table of counts. Will it be near the SVD of the PPMI table, or near random vectors?

# %%
from labkit.world.names import words_of_one_type

types = words_of_one_type("en")
kinds = [types.get(word) for word in vocabulary.words]
settings = Word2VecSettings(dimension=50, window=2, epochs=2, lr=0.05)
yours = train_word2vec(texts, settings, loss=negative_sampling_loss, keep=keep_probability, progress=lab.progress)
random = torch.randn(yours.vectors.shape, generator=torch.Generator().manual_seed(0))
shares = {"random vectors": random, "SVD of PPMI": short, "skip-gram, yours": yours.vectors}
shares = {name: same_kind(vectors, kinds, 5) for name, vectors in shares.items()}
print(f"{sum(kind is not None for kind in kinds)} words with a kind; of their 5 nearest words the same kind:")
print({name: f"{share:.0%}" for name, share in shares.items()}, "\n")
show(yours.vectors, WORD, "asthma", "anna")

# %% tags=["nbval-check-output"]
asked = sum(kind is not None for kind in kinds)
error = (0.25 / asked) ** 0.5  # the largest standard error that a share of so many words can have
for name in ("SVD of PPMI", "skip-gram, yours"):
    above = shares[name] - shares["random vectors"]
    print(f"{name}: beyond two standard errors above random vectors: {above > 4 * error}")

# %% [markdown]
# Prediction comes close to counting. That is no accident: if words are drawn in proportion to their counts and the vectors have
# enough numbers, the product $v \cdot u$ that minimises your loss is the pair's PMI minus $\log k$ (Levy & Goldberg 2014).
#
# A wider window changes what "alike" means. Choose a method and a word below.
#
# 1. Which window puts "noodles" beside other dishes, and which beside what goes into a dish?
# 2. Choose "phone". Which window puts it beside other devices, and which beside those who made or own it?

# %%
from dataclasses import replace

from labkit.foundations.words import WordVectors
from labkit.widgets import embedding_map

wide = train_word2vec(texts, replace(settings, window=8, epochs=1), progress=lab.progress)
maps = {
    "skip-gram, window 2": yours,
    "skip-gram, window 8": wide,
    "SVD of PPMI, window 2": WordVectors(vocabulary, short),
}
embedding_map(maps, types, WORD)

# %% [markdown]
# With a narrow window, words are alike that can *stand in each other's place*. With a wide window, words that *appear in the same
# texts* come near as well.
#
# ## 7 · One vector, two senses
#
# In this world "great" is praise, and also a part of names of cities. Here is one text of each kind, and what the one vector of
# "great" is near to:

# %%
praise = next(text for text in texts if "was great ." in text)
city = next(text for text in texts if " in great " in text)
print(f"praise: {praise}\ncity:   {city}\n")
print("great: ", ", ".join(f"{other} {cosine:.2f}" for other, cosine in yours.neighbours("great", 6)))
for other in ("superb", "west"):
    print(f"cosine to {other}: {torch.cosine_similarity(yours['great'], yours[other], dim=0):.2f}")

# %% [markdown]
# The nearest words come from names of places, and the vector is nearer to "west" than to "superb". A reader never confuses the two
# texts above, but in both of them "great" has this same vector.
#
# So, how can a machine know that two words are alike? **By the words beside them**, counted in a table or learned pair by pair.
# What the vector cannot do is change with the sentence. For that a model has to read the other words *before* it decides what a
# word means here, which is what the next lesson is about.
#
# ## Read on
#
# - Mikolov et al. 2013, [*Efficient estimation of word representations in vector space*](https://arxiv.org/abs/1301.3781) (skip-gram
#   and CBOW) and [*Distributed representations of words and phrases*](https://arxiv.org/abs/1310.4546) (negative sampling,
#   sub-sampling); Levy & Goldberg 2014, [*Neural word embedding as implicit matrix
#   factorization*](https://papers.nips.cc/paper/5477).
# - Two relatives: GloVe ([Pennington et al. 2014](https://aclanthology.org/D14-1162/)) fits vectors to the logarithms of the counts,
#   and fastText ([Bojanowski et al. 2017](https://arxiv.org/abs/1607.04606)) adds up vectors of pieces of a word, so a word that
#   was never seen has a vector too.
# - [`word2vec.py`](../../labkit/foundations/words/word2vec.py) has the step, `outputs.py` the three ways to score a word, also for
#   CBOW: `Word2VecSettings(method="cbow")`.
# - Next, [01/02](02_sequences.ipynb): a network that reads one word after another.
