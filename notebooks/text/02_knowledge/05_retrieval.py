# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Finding the right passage
#
# You ask a question, and one of thousands of passages holds the answer. A search engine has milliseconds to find it. It
# can look for the words of the question. But what if the passage says the same in other words?
#
# **After this lesson you can** write BM25, the score behind most search engines; say how good a ranking is, by MRR and
# NDCG; train an encoder that finds passages by meaning, with hard negatives; join two searches; say which search fails at
# what.
#
# **60 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="02/05")

# %%
MODEL = "micro-bert-en"  # @param {type:"string"}
QUERY = "where has leo reed settled ?"  # @param {type:"string"}

# %% [markdown]
# ## 1 · Found by its words, and missed
#
# The course's world has 2 000 short pages, each about one thing. Search them for two questions, by their words:

# %%
from labkit.knowledge.lexical import bm25
from labkit.knowledge.passages import world_passages

world = world_passages("en")
passages, train, test = world.passages, world.splits["train"], world.splits["test"]
found_by_words = bm25(passages)
answers = {row["text"]: row["answers"] for row in test}
for text in ("by whom was ocean airlines established ?", QUERY):
    (first, *_), _ = found_by_words.search(text, 1)
    told = {term: round(adds, 1) for term, adds in found_by_words.fired(text, first).items()}
    print(f"{text}\n  found:  {passages[first]}\n  words:  {told}")
    if text in answers and first not in answers[text]:
        print(f"  answer: {passages[answers[text][0]]}")

# %% [markdown]
# The first search works: the page has the rare words of the question. The second one fails. "leo larsen **has settled**" has
# three words of the question, but it is another Leo. The page that answers says "leo reed **lives** in great tiger". This is
# called *vocabulary mismatch*: the question and its answer use different words.
#
# ## 2 · What a word is worth
#
# Let us build the score. A passage should score high if it holds the question's words, and three things matter:
#
# - **How rare is the word?** Take four passages. "the" stands in all four, "settled" in one. A word that stands everywhere
#   tells the passages apart in no way.
# - **How often does it stand there?** Twice is more than once, but not twice as good.
# - **How long is the passage?** A long passage holds many words by chance.
#
# Here is the small case with numbers. There are $N = 4$ passages, "settled" stands in $n = 1$ of them, $f = 2$ times, and this
# passage is as long as the mean:
#
# - rarity: $\ln(1 + (N - n + 0.5) / (n + 0.5)) = \ln(1 + 3.5 / 1.5) = 1.204$;
# - frequency: $f / (f + 1.5) = 2 / 3.5 = 0.571$;
# - together: $1.204 \cdot 0.571 = 0.688$.
#
# With $f = 1$ the frequency part is 0.4, with $f = 10$ it is 0.87, and it never reaches 1. If a passage is longer than the
# mean, 1.5 becomes larger, so the same count is worth less. In symbols, with the passage's length $\ell$ and the mean length
# $\bar\ell$:
#
# $$\mathrm{BM25}(q, p) = \sum_{t \in q} \ln\!\Big(1 + \frac{N - n_t + 0.5}{n_t + 0.5}\Big) \cdot
# \frac{f_{t,p}}{f_{t,p} + k_1 \big(1 - b + b\, \ell_p / \bar\ell\big)}, \qquad k_1 = 1.5,\; b = 0.75 .$$
#
# (Robertson & Zaragoza 2009, [*The Probabilistic Relevance Framework*](https://doi.org/10.1561/1500000019); this is the
# variant of the library Lucene.) [TF-IDF](../glossary.ipynb#tf-idf) is older: count times rarity, without a limit for the count.
#
# ### Exercise 1: the weight of a term
#
# *●○○ · 6 minutes*
#
# In: how often the term stands in the passage, in how many passages it stands, the passage's length, the mean length, the
# number of passages. These are numbers or numpy arrays. Out: what the term adds to the score.
#
# ```python
# term_weight(2, 1, 10, 10, 4)  # 0.688, as above
# term_weight(2, 1, 20, 10, 4)  # 0.520: the passage is twice as long as the mean
# ```

# %%
import numpy as np

from labkit.checks import retrieval as check


def term_weight(often, holding, length, mean, count, k1=1.5, b=0.75): ...  # your turn


term_weight = check.term_weight(term_weight)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `rarity = np.log(1 + (count - holding + 0.5) / (holding + 0.5))`
# </details>
#
# <details><summary>Hint 2</summary>
#
# The length changes what is added to `often` below the line: `k1 * (1 - b + b * length / mean)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The result is `rarity * often / (often + …)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def term_weight(often, holding, length, mean, count, k1=1.5, b=0.75):
#     rarity = np.log(1 + (count - holding + 0.5) / (holding + 0.5))
#     return rarity * often / (often + k1 * (1 - b + b * length / mean))
# ```
# </details>
#
# A search must not read 2 000 pages for each question. So an [inverted index](../glossary.ipynb#inverted-index) keeps a
# list for each word: in which passages it stands, with your weight, computed once. A question of five words then reads five lists and
# adds up.

# %% tags=["nbval-check-output"]
from labkit.knowledge.lexical import eager

index = eager(passages, term_weight)
print(f"{index.size} passages, {len(index.vocabulary)} different words, {len(index.weights)} entries in their lists")
for word in ("the", "settled", "leo"):
    number = index.vocabulary.get(word)
    if number is not None:
        print(f"{word:<8} stands in {index.starts[number + 1] - index.starts[number]} passages")

# %% [markdown]
# ## 3 · How good is a ranking?
#
# A search gives a *ranking*. Suppose passages 3 and 1 answer the question, and the ranking is 7, 3, 5, 1:
#
# | place | passage | answers | $1/\log_2(1 + \text{place})$ |
# |--:|--:|:--|--:|
# | 1 | 7 | no | 1 |
# | 2 | 3 | yes | 0.631 |
# | 3 | 5 | no | 0.5 |
# | 4 | 1 | yes | 0.431 |
#
# - The **reciprocal rank** is 1 divided by the place of the first answer: 1/2. Its mean over many questions is the
#   [MRR](../glossary.ipynb#mrr).
# - [**NDCG**](../glossary.ipynb#ndcg) looks at all answers. Each one gains the number in the last column: $0.631 + 0.431 = 1.062$.
#   The best ranking has both answers first and gains $1 + 0.631 = 1.631$. The ratio is 0.651.
#
# MRR@10 and NDCG@10 look at the first ten places only.
#
# ### Exercise 2: reciprocal rank and NDCG
#
# *●●○ · 8 minutes*
#
# A ranking (a list of passages), the set of passages that answer, and the number of places to look at in; out both numbers.
# If no answer is among the first `k`, both are 0.
#
# ```python
# rank_scores([7, 3, 5, 1], {3, 1}, 10)  # (0.5, 0.651)
# rank_scores([7, 3, 5, 1], {3, 1}, 2)  # (0.5, 0.387): only the first two places count
# ```


# %%
def rank_scores(ranking, answers, k): ...  # your turn


rank_scores = check.rank_scores(rank_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `places = [place for place, one in enumerate(ranking[:k], start=1) if one in answers]`
# </details>
#
# <details><summary>Hint 2</summary>
#
# The gain is `sum(1 / np.log2(1 + place) for place in places)`. The best ranking has its answers at the places 1, 2, …
# </details>
#
# <details><summary>Hint 3</summary>
#
# The best ranking cannot have more than `k` answers in its first `k` places: `min(k, len(answers))`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def rank_scores(ranking, answers, k):
#     places = [place for place, one in enumerate(ranking[:k], start=1) if one in answers]
#     gain = sum(1 / np.log2(1 + place) for place in places)
#     best = sum(1 / np.log2(1 + place) for place in range(1, min(k, len(answers)) + 1))
#     return (1 / places[0] if places else 0.0), gain / best
# ```
# </details>
#
# Score the search by words (and count which share of the answers is in the first 50 places), with all questions, and with those whose words differ: apart from the name, no word that says
# anything stands in a page that answers. **Predict**: how much lower is the second line?

# %% tags=["nbval-check-output"]
queries = [row["text"] for row in test]


def scored(rankings, name):
    rows = []
    for ranking, row in zip(rankings, test, strict=True):
        right = set(row["answers"])
        rows.append([*rank_scores(ranking, right, 10), len(right & set(ranking[:50])) / len(right)])
    each, differ = np.array(rows), np.array([row["mismatch"] for row in test])
    for what, some in (("all", each), ("words differ", each[differ])):
        first, gain, found = some.mean(0)
        print(f"{name:<22} {what:<13} {len(some):>3} questions: MRR@10 {first:.3f}, NDCG@10 {gain:.3f}, in the first 50: {found:.0%}")
    return each[:, 0]


by_words = scored(index.rankings(queries), "BM25")

# %% [markdown]
# Half of the questions have other words than their answer, and there BM25 is right much less often. The name leads to the
# right thing, but several pages speak of it, and nothing tells which of them answers.
#
# ## 4 · Searching by meaning
#
# A *dual encoder* turns each text into one vector of length 1, questions and passages alike, and the passages whose vectors
# are nearest to the question's are the result. (Karpukhin et al. 2020, [*DPR*](https://arxiv.org/abs/2004.04906).) All
# passages are encoded once, beforehand. The body is BERT, the vector is the mean of its states.
#
# How does it learn which texts belong together? From pairs of a question and a page that answers it. In a batch of pairs,
# each question should be nearest to *its own* page, and the other questions' pages are the wrong answers: these are
# [in-batch negatives](../glossary.ipynb#in-batch-negatives), and they cost nothing. Two questions, two pages, by their cosines:
#
# | | page of 1 | page of 2 | share of its own page |
# |---|--:|--:|--:|
# | question 1 | **0.8** | 0.2 | $e^{0.8/\tau} / (e^{0.8/\tau} + e^{0.2/\tau})$ |
# | question 2 | 0.5 | **0.6** | $e^{0.6/\tau} / (e^{0.5/\tau} + e^{0.6/\tau})$ |
#
# With the temperature $\tau = 0.1$ the shares are 0.998 and 0.731, and the loss is the mean of $-\ln$: $(0.002 + 0.313) / 2 = 0.158$.
# Question 2 has to learn more, because the wrong page is nearly as near. In symbols, with $s_{ij} = q_i \cdot p_j$ for $b$ questions:
#
# $$L = -\frac{1}{b} \sum_{i=1}^{b} \ln \frac{e^{s_{ii} / \tau}}{\sum_{j} e^{s_{ij} / \tau}} .$$
#
# The sum over $j$ may run over more passages than there are questions: the first $b$ are the right ones in the order of the questions,
# and further ones are wrong for all of them. We will need this in section 5.
#
# ### Exercise 3: the in-batch loss
#
# *●●○ · 8 minutes*
#
# Vectors of $b$ questions (b, d) and of at least as many passages (b + more, d) in; the mean loss, one number, out. The model
# learns through it, so keep the gradient.
#
# ```python
# queries, pages = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.5], [0.2, 0.6]])
# in_batch_loss(queries, pages, 0.1)  # 0.158, the case above
# ```

# %%
import torch


def in_batch_loss(queries, passages, temperature=0.05): ...  # your turn


in_batch_loss = check.in_batch_loss(in_batch_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `queries @ passages.T` has all cosines, a row for each question: (b, b + more).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Divide by the temperature. The right passage of question `i` stands in column `i`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.nn.functional.cross_entropy(scores, torch.arange(len(queries)))`
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def in_batch_loss(queries, passages, temperature=0.05):
#     scores = queries @ passages.T / temperature
#     return torch.nn.functional.cross_entropy(scores, torch.arange(len(queries)))
# ```
# </details>
#
# Train with your loss, on questions that ask for other facts than the test, and search:

# %%
from labkit.knowledge.dense import DenseIndex, DualEncoder
from labkit.training import Batches

small = in_batch_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.8, 0.5], [0.2, 0.6]]), 0.1)
print(f"the small case by your function: {small:.3f}")
encoder, tokenizer = labkit.load_model(MODEL, head=None)
method = DualEncoder(tokenizer, passages, loss_of=in_batch_loss)
batches = Batches(train, method.collate, 32, seed=0)
labkit.fit(encoder, method.loss, batches, steps=120, lr=3e-3, seed=0, progress=lab.progress)
dense = DenseIndex(encoder, method)
by_meaning = scored(dense.rankings(queries), "dense, in-batch")

# %% [markdown]
# Compare the two lines with those of BM25. With all questions this search is far behind, because a vector of 128 numbers
# keeps the name less exactly than the name itself does. But it loses hardly anything when the words differ: it does not
# look at words.
#
# ## 5 · Wrong pages that look right
#
# In a batch of 32 questions, the 31 other pages speak of other things. A glance at the name is enough to leave them out. So
# the encoder never has to tell apart two pages about the *same* thing. It needs wrong pages that look right, and a search finds
# exactly these: the pages that BM25 puts first, though they do not answer. They are called
# [hard negatives](../glossary.ipynb#hard-negatives).
#
# ### Exercise 4: hard negatives
#
# *●○○ · 5 minutes*
#
# A ranking, the page that is known to answer, and how many are wanted, in; out the first pages of the ranking that are not this
# page, in their order. If there are fewer, give all.
#
# ```python
# hard_negatives([4, 9, 2, 7], 9, 2)  # [4, 2]
# ```


# %%
def hard_negatives(ranking, positive, most): ...  # your turn


hard_negatives = check.hard_negatives(hard_negatives)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Leave out the page that answers first, and cut the list afterwards. The other way round, one is missing.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A list comprehension with a condition keeps the order.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `[one for one in ranking if one != positive]`
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def hard_negatives(ranking, positive, most):
#     return [one for one in ranking if one != positive][:most]
# ```
# </details>
#
# Your BM25 searches for all training questions, and your function picks the negatives. As in real collections, a training
# question knows *one* page that answers it. Are the others really wrong? The world knows:

# %% tags=["nbval-check-output"]
rankings = index.rankings([row["text"] for row in train], 6)
mined = [{**row, "negatives": hard_negatives(one, row["positive"], 5)} for one, row in zip(rankings, train, strict=True)]
print(mined[0]["text"], "\n  right:", passages[mined[0]["positive"]])
for one in mined[0]["negatives"][:2]:
    print("  wrong:", passages[one])
wrong = [one in row["answers"] for row in mined for one in row["negatives"]]
print(f"{sum(wrong)} of {len(wrong)} negatives do answer the question ({sum(wrong) / len(wrong):.1%})")

# %% [markdown]
# Some "negatives" are answers that nobody has marked, and training pushes them away. Section 8 comes back to them. Look at the
# negatives in the output: they share *parts* of the name. **Predict**: what will the encoder learn from them, and which of the three
# numbers will show it? Go on training; your loss takes the negatives as the further passages:

# %%
batches = Batches(mined, method.collate, 32, seed=1)
labkit.fit(encoder, method.loss, batches, steps=50, lr=1.5e-3, seed=1, progress=lab.progress)
dense = DenseIndex(encoder, method)
by_meaning = scored(dense.rankings(queries), "dense, hard negatives")

# %% [markdown]
# In this short run hardly anything changes: two standard errors of these numbers are about five points. In a longer one (section 8) the gain
# shows, but not in the first places. More answers come into the first 50, because to tell "leo santos" from "eric santos" a
# vector must keep the whole name.
#
# ## 6 · Two searches together
#
# One search keeps names exactly, the other one does not need the same words. How can we join them? Their scores cannot be
# added as they are, because BM25's go up to 10 and cosines up to 1, so BM25 would decide alone. Scale each of them first, so that the
# smallest becomes 0 and the largest 1. Three passages:
#
# | passage | BM25 | scaled | cosine | scaled | sum |
# |--:|--:|--:|--:|--:|--:|
# | 1 | 8 | 1 | 0.5 | 0.5 | 1.5 |
# | 2 | 6 | 0.75 | 0.8 | 1 | **1.75** |
# | 3 | 0 | 0 | 0.2 | 0 | 0 |
#
# Passage 2 comes first. It is good in both, while passage 1 is first in one of them only.
#
# ### Exercise 5: two scores into one
#
# *●●○ · 6 minutes*
#
# Two arrays with a score of each passage in; out one array, the sum of both after each was scaled to 0…1.
#
# ```python
# join(np.array([8.0, 6.0, 0.0]), np.array([0.5, 0.8, 0.2]))  # [1.5, 1.75, 0.0], as above
# ```


# %%
def join(words, meaning): ...  # your turn


join = check.join(join)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `scores - scores.min()` makes the smallest 0.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Divide by the range, `scores.max() - scores.min()`, and the largest becomes 1.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Write a function inside the function that scales one array, and call it twice.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def join(words, meaning):
#     def scaled(scores):
#         return (scores - scores.min()) / (scores.max() - scores.min())
#
#     return scaled(words) + scaled(meaning)
# ```
# </details>
#
# Now everything that you built works together: your weights make the index, your loss has trained the encoder on the negatives
# that your function has picked, and your scores judge both. **Predict**: is the joined search better than BM25 alone?

# %% tags=["nbval-check-output"]
from labkit.knowledge.lexical import best

cosines = method.encode(encoder, queries) @ dense.vectors.T  # (questions, pages)
both = [best(join(index.scores(query), row), 50).tolist() for query, row in zip(queries, cosines, strict=True)]
by_both = np.array([rank_scores(one, set(row["answers"]), 10)[0] for one, row in zip(both, test, strict=True)])
for name, alone in (("words", by_words), ("meaning", by_meaning)):
    apart = by_both - alone
    print(f"joined against {name:<8} better by more than two standard errors:", apart.mean() > 2 * apart.std() / len(apart) ** 0.5)

# %%
by_both = scored(both, "joined")

# %% [markdown]
# ## 7 · A second reader
#
# Both searches judge a page without having read the question. A [cross-encoder](../glossary.ipynb#cross-encoder) reads
# both together: "[CLS] question [SEP] page [SEP]", and a head with two classes says whether the page answers. Nothing can be
# computed beforehand, so it is far too slow for 2 000 pages, but it can put the first 20 of a search in a better order. (Nogueira & Cho 2019,
# [*Passage re-ranking with BERT*](https://arxiv.org/abs/1901.04085).) It learns from the same pairs: the right page, and the
# first negative that your function has found. Words that stand in both texts are marked, as in
# [01/05](../01_foundations/05_finetuning.ipynb), because so small a body does not learn to compare names. **Predict**: is it
# better to trust the second reader alone, or to add its [logit](../glossary.ipynb#logit) to BM25's score?

# %%
from labkit.foundations.finetuning.marked import Marked
from labkit.foundations.heads import add_head
from labkit.knowledge.reranking import cross_encoder, judge, pairs, reranked

body, _ = labkit.load_model(MODEL, head=None)
reader, judging = add_head(body, 2, "mean", seed=0), Marked(cross_encoder(tokenizer))
batches = Batches(pairs(mined, passages), judging.collate, 32, seed=0)
history = labkit.fit(reader, judging, batches, steps=120, lr=2e-3, seed=0, progress=lab.progress)

# %%
some = 100  # questions
first = index.rankings(queries[:some], 20)
chances = judge(reader, judging, queries[:some], first, passages)
logits = [np.log(p) - np.log1p(-p) for p in chances]
sums = [new + index.scores(query)[old] for new, query, old in zip(logits, queries, first, strict=False)]
scores = {}
for name, found in (("BM25", first), ("second reader alone", reranked(first, chances)), ("sum of both", reranked(first, sums))):
    scores[name] = np.array([rank_scores(one, set(row["answers"]), 10)[0] for one, row in zip(found, test, strict=False)])
    print(f"{name:<22} MRR@10 {scores[name].mean():.3f}")

# %% tags=["nbval-check-output"]
for name in ("second reader alone", "sum of both"):
    apart = scores[name] - scores["BM25"]
    side = "ahead" if apart.mean() > 0 else "behind"
    print(f"{name} against BM25: {side}, by more than two standard errors: {abs(apart.mean()) > 2 * apart.std() / len(apart) ** 0.5}")

# %% [markdown]
# The second reader alone spoils the order: after a few seconds of training it knows something about what is asked for, but less about names than BM25
# does. The sum has both, and it is the best search of this lesson.
#
# ## 8 · The ladder
#
# There are more ways to make a search better. The picture shows those that were measured, on the questions whose words differ
# ([all numbers](../../docs/results.md#finding-passages); on [real questions](../../docs/results.md#relations-names-and-answers-in-real-text)
# MiniLM's untrained vectors are well ahead of BM25).

# %%
from labkit.report.pages import page

measured = page("retrieval").report
measured.plot(task="words differ", metric="mrr@10", title="MRR@10 where words differ", ranked=True)

# %% tags=["nbval-check-output"]
rows = {(row.method, row.metric): row for row in measured.rows if row.task == "all queries" and row.seed == 0}
for name in dict.fromkeys(name for name, _ in rows):
    first, recall = rows[name, "mrr@10"].value, rows[name, "recall@50"].value
    print(f"{name:<40} MRR@10 {100 * first:4.1f}, among the first 50: {100 * recall:4.1f} %")

# %% [markdown]
# What the names mean:
#
# - **ANCE** (Xiong et al. 2021, [*ANCE*](https://arxiv.org/abs/2007.00808)): the encoder mines its negatives itself. As it learns, its
#   vectors move, so the index is made anew several times. labkit's index knows the state of the encoder that made it, and refuses to
#   search with another one.
# - **RocketQA** (Qu et al. 2021, [*RocketQA*](https://arxiv.org/abs/2010.08191)): the second reader looks at the mined negatives, and
#   those that it takes for answers leave. These are the "negatives" that section 5 counted.
# - **SparTerm** (Bai et al. 2020, [*SparTerm*](https://arxiv.org/abs/2010.00768)): a masked language model gives a page a weight for each word of the *vocabulary*,
#   also for words that do not stand in it, such as "settled" for a page with "lives in". The result is an inverted index again, so it
#   is as fast as BM25, and one can read why a page was found.
# - **ICT** (Lee et al. 2019, [*ORQA*](https://arxiv.org/abs/1906.00300)): pre-training without questions; one sentence of a page asks for the rest of it.
#
# Ask all of them yourself. Type a question of your own, with words that the pages have and with words that they do not have. Which
# search fails first?

# %%
from labkit.widgets import retrieval_bench

hard = [row for row in test if row["mismatch"]][:20]
retrieval_bench({"BM25": index, "dense": dense}, passages, [{"text": QUERY, "answers": answers.get(QUERY, [])}, *hard])

# %% [markdown]
# ## 9 · So, which search?
#
# A search by words is exact about names, costs nothing to train, and shows why it found a page. It fails when the words differ. A search by meaning
# does not need the words, but one vector does not keep every name. Because they fail at different questions, both together
# are better than each alone, and a reader that sees question and page together puts the first few in order. This is how large
# search engines work: fast and rough first, slow and careful last.
#
# ## Read on
#
# - The papers linked above.
# - In `labkit/knowledge/`: [`lexical.py`](../../labkit/knowledge/lexical.py), BM25 in five variants;
#   [`dense.py`](../../labkit/knowledge/dense.py), with FAISS for millions of vectors (`pip install 'labkit[retrieval]'`);
#   [`reranking.py`](../../labkit/knowledge/reranking.py), [`sparterm.py`](../../labkit/knowledge/sparterm.py).
# - Not built here: SEED (Lu et al. 2021, [*Less is More*](https://arxiv.org/abs/2102.09206)) pre-trains the encoder with a decoder so weak that the vector must hold the
#   whole text; and where no judgements exist at all, others choose among weakly labelled pairs those that help (Zhang et al. 2020,
#   [*ReInfoSelect*](https://arxiv.org/abs/2001.10382)).
# - In class: the assignment `assignments/source/02_knowledge`.
# - The search here only finds the page. Lesson 02/06 is about models that read the pages which were found, and write the answer.
