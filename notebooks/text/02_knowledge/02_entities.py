# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Teaching a model about entities: does a text model know more if it is told which thing a name means?
#
# A language model reads a name as words: "north", "cedar". A [knowledge graph](../glossary.ipynb#knowledge-graph) knows a thing
# behind the name, and facts about it. Three ways bring the two together. ERNIE gives the model a vector for each thing that a
# text names. BERT-MK makes this vector from the facts around the thing. WKLM adds nothing to the model: it exchanges names, and
# asks which ones are wrong.
#
# **After this lesson you can** join a stream of entities with a stream of tokens; train a model that does not trust its entities
# blindly; exchange names by type; turn a part of a graph into the input of a Transformer; and measure what each way adds.
#
# **50 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb) and
# [facts as a graph](01_knowledge_graphs.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="02/02")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
STEPS = 60  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Two names, and nothing else
#
# A small world has 150 entities. Its graph states 359 facts about them. Look at three of them, and at the text that a model will
# read: it names both ends of the fact and does not say how they are related.

# %% tags=["nbval-check-output"]
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.mention_tasks import relation_rows
from labkit.knowledge.probes import Study

bert, tokenizer = labkit.load_model(MODEL, head="mlm")
graph = Study().knowledge
names = names_of(tokenizer, graph)  # token ids -> entity
learned, asked = relation_rows(graph, tokenizer, names)
for row in asked[:3]:
    (_, _, head), (_, _, tail) = row["mentions"]
    print(f"{tokenizer.decode(row['input_ids'], skip_special_tokens=True):<38} {graph.relations[row['label']]}")
print(f"{len(learned)} facts to learn from, {len(asked)} to ask for, {len(graph.relations)} relations")

# %% [markdown]
# The names give something away: a city and a country are in few relations. But whether a person was *born* in a city or *lives*
# there, no name says. **Predict**: of the facts that are asked for, what share will a plain BERT get right?

# %%
import copy

import torch

from labkit.evaluation import predict
from labkit.knowledge.mention_tasks import MentionHead
from labkit.training import Batches


def accuracy(model, steps=STEPS):
    """Learn from the facts in `learned`; the share of `asked` that is then right."""
    torch.manual_seed(0)
    head = MentionHead(bert.config.hidden_size, len(graph.relations), tokenizer.pad_token_id)
    batches = Batches(learned, head.collate, 32, seed=0)
    labkit.fit(model, head.loss, batches, steps=steps, lr=1e-3, seed=0, progress=lab.progress)
    found = predict(model, head, asked, progress=False).argmax(1)
    return float((found == [row["label"] for row in asked]).mean())


plain = accuracy(copy.deepcopy(bert))
print(f"plain BERT: {plain:.0%}")

# %% [markdown]
# ## 2 · Where a token meets its entity
#
# [02/01](01_knowledge_graphs.ipynb) gave every entity of a graph a vector (TransE). ERNIE lets these vectors run beside the
# tokens, in an [entity stream](../glossary.ipynb#entity-stream). In its last layers, tokens attend to tokens and entities to entities. Then, in the feed-forward layer, a token's state
# $h$ meets the vector $e$ of its entity:
#
# $$z = \sigma(W_t\, h + W_e\, e + b).$$
#
# > With one number each, $W_t = 2$, $W_e = 3$, $b = -1$ and $\sigma$ the ReLU: a token $h = 1$ with the entity $e = 0.5$ has
# > $z = 2 + 1.5 - 1 = 2.5$. Without an entity $e = 0$, so $z = 1$, which is what the ordinary layer gives.
#
# From $z$, two matrices lead back, one to the token and one to the entity. Only the first token of a name has the entity.
#
# ### Exercise 1: the fusion
#
# *●○○ · 4 minutes*
#
# Tokens `h` (…, d), entities `e` (…, k), the matrices (f, d) and (f, k), the bias (f,) and the function $\sigma$ in; $z$ (…, f) out.
#
# ```python
# one = torch.tensor
# fuse(one([[1.0]]), one([[0.5]]), one([[2.0]]), one([[3.0]]), one([-1.0]), torch.relu)  # [[2.5]]
# ```

# %%
from labkit.checks import entities as check


def fuse(h, e, w_t, w_e, b, act): ...  # your turn


fuse = check.fuse(fuse)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A matrix (f, d) is applied to the last dimension of `h` by `h @ w_t.T`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add the three parts first, then call `act` once.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `act(h @ w_t.T + ...)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def fuse(h, e, w_t, w_e, b, act):
#     return act(h @ w_t.T + e @ w_e.T + b)
# ```
# </details>
#
# `Ernie` copies a BERT and adds the second stream, with your fusion. If no token has an entity, it must be that BERT:

# %% tags=["nbval-check-output"]
from labkit.knowledge.ernie import Ernie, table_of
from labkit.knowledge.transe import TransESettings, train_transe

settings = TransESettings(dimension=64, norm=1, margin=1.0, negatives=1, epochs=200, batch=256)
vectors = train_transe(graph, settings, progress=False)
ernie = Ernie(bert, table_of(vectors.entities), names, fuse=fuse).eval()
ids = torch.as_tensor(asked[0]["input_ids"]).long()[None]
none = torch.full_like(ids, -1)
with torch.no_grad():
    print("without entities it is BERT:", torch.allclose(ernie(ids, entities=none).logits, bert(ids).logits, atol=1e-4))
print("the entities it finds:", ernie.link(ids)[0].tolist())

# %% [markdown]
# Now the question of section 1, with the same steps. The third model has the vectors too, but *shuffled*: each entity has that of
# another one. **Predict** its place.

# %%
shuffled = vectors.entities[torch.randperm(len(graph.entities), generator=torch.Generator().manual_seed(1))]
told = accuracy(Ernie(bert, table_of(vectors.entities), names, fuse=fuse))
wrong = accuracy(Ernie(bert, table_of(shuffled), names, fuse=fuse))
print(f"plain BERT {plain:.0%}, ERNIE {told:.0%}, ERNIE with shuffled vectors {wrong:.0%}")

# %% [markdown]
# How much do the *types* say alone? Answer each question with the relation that most often joins these two types among the
# facts to learn from:

# %% tags=["nbval-check-output"]
from collections import Counter, defaultdict

joined = defaultdict(Counter)
for row in learned:
    joined[tuple(graph.types[entity] for _, _, entity in row["mentions"])][row["label"]] += 1
guesses = [joined[tuple(graph.types[entity] for _, _, entity in row["mentions"])].most_common(1) for row in asked]
right = [bool(some) and some[0][0] == row["label"] for some, row in zip(guesses, asked, strict=True)]
print(f"types alone: {sum(right) / len(right):.0%}")

# %% [markdown]
# Whoever knows the two types, and nothing else, is right in more cases than any of the models (the standard error of such a share is
# 3 points). So their steps were too few to learn even what the types say, and little is left that only the graph could add. With
# twice the steps and three draws, section 7 looks again.
#
# ## 3 · Not to trust blindly
#
# In real text, a program links names to entities, and it makes mistakes. So ERNIE is trained with mistakes: in 5 % of all cases
# a mention comes with a *wrong* entity, in 15 % with *none*, and the model has to say which entity is right, from the token's
# state. This is the *denoising entity auto-encoder*.
#
# > Four mentions of the entities 7, 2, 2, 9 may be told as 7, 2, −1, 4: the third is hidden, the fourth is wrong.
#
# ### Exercise 2: disturbed entities
#
# *●●○ · 6 minutes*
#
# The entities (n,), how many entities there are, a generator of random numbers, and the two shares in; what the model is told
# (n,) out, with −1 for none. A wrong entity is any *other* one, each as likely.
#
# ```python
# disturb(np.array([7, 2]), 10, np.random.default_rng(0), wrong=0.0, hidden=1.0)  # [-1, -1]
# ```

# %%
import numpy as np


def disturb(entities, number, rng, wrong=0.05, hidden=0.15): ...  # your turn


disturb = check.disturb(disturb)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One random number in [0, 1) per mention decides: below `wrong`, below `wrong + hidden`, or above.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Another entity than `x`: add a number from 1 to `number − 1`, and take the remainder: `(x + step) % number`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `np.where(fate < wrong, others, np.where(fate < wrong + hidden, -1, entities))`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def disturb(entities, number, rng, wrong=0.05, hidden=0.15):
#     fate = rng.random(len(entities))
#     others = (entities + rng.integers(1, number, size=len(entities))) % number
#     return np.where(fate < wrong, others, np.where(fate < wrong + hidden, -1, entities))
# ```
# </details>
#
# ## 4 · A vector made of facts
#
# TransE's vector of a thing is always the same. BERT-MK makes it from the facts around the thing. They become a sequence of
# *nodes*, and relations are nodes too. A Transformer reads the sequence, but a node may attend only to itself and to nodes that a
# fact joins it with: a relation and its ends.
#
# > The fact (anna reed, born in, north cedar) as the nodes 0, 1, 2: 0 and 1 see each other, 1 and 2 see each other, 0 and 2 do not.
# > After two layers node 0 has heard of node 2, through node 1.
#
# ### Exercise 3: who attends to whom
#
# *●●○ · 6 minutes*
#
# Triples of nodes (head, relation, tail) and the number of nodes in; an array (nodes, nodes) of bool out, true where one may
# attend to the other.
#
# ```python
# mask([(0, 1, 2)], 3)  # [[True, True, False], [True, True, True], [False, True, True]]
# ```


# %%
def mask(triples, nodes): ...  # your turn


mask = check.mask(mask)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with `np.eye(nodes, dtype=bool)`: each node sees itself.
# </details>
#
# <details><summary>Hint 2</summary>
#
# For each triple there are two pairs: head and relation, tail and relation.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Each pair is true both ways: `found[a, b] = found[b, a] = True`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mask(triples, nodes):
#     found = np.eye(nodes, dtype=bool)
#     for head, relation, tail in triples:
#         for end in (head, tail):
#             found[end, relation] = found[relation, end] = True
#     return found
# ```
# </details>
#
# Now a whole sentence, with what each way puts beside it. ERNIE puts one vector at the first token of each name. BERT-MK makes this
# vector from the nodes below. **With more facts, who sees the relations of the first entity? Does a city hear of another city?**

# %%
from labkit.knowledge.bert_mk import GraphContext, sequence
from labkit.widgets import entity_stream

nodes, triples = sequence(graph, graph.number("great candle"), most=2)
print("great candle sees", mask(triples, len(nodes))[0].sum(), "of", len(nodes), "nodes")
entity_stream(tokenizer, graph, names, ["emma horvath was born in west cherry .", "great candle lies in selmor ."])

# %% [markdown]
# The same question for the third time, now with vectors made by this Transformer, which learns together with the model:

# %%
around = accuracy(Ernie(bert, GraphContext(graph, vectors, mask=mask), names, fuse=fuse))
print(f"plain BERT {plain:.0%}, ERNIE {told:.0%}, BERT-MK {around:.0%}")

# %% [markdown]
# ## 5 · Which name is wrong?
#
# ERNIE and BERT-MK need the graph whenever they read. WKLM does not. It changes the *text*: some names are exchanged for others of
# the same type, and the model has to tell which. A city for a city keeps the sentence likely, so grammar does not help: only who
# knows the fact can tell. Two neighbouring names are never both exchanged, because each is the evidence for the other.
#
# ### Exercise 4: exchange by type
#
# *●●● · 8 minutes*
#
# A text's entities in their order, the types of *all* entities, a generator, and the chance of an exchange in; a new list out. An
# entity becomes another one of its type, each as likely; one that is alone in its type stays.
#
# ```python
# types = ["person", "city", "person"]
# exchange([0, 1], types, np.random.default_rng(0), 1.0)  # [2, 1]
# ```


# %%
def exchange(entities, types, rng, share): ...  # your turn


exchange = check.exchange(exchange)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The others of its type: `[one for one in range(len(types)) if types[one] == types[entity] and one != entity]`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Remember whether the last mention was exchanged. If so, this one stays.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Exchange if there are others, the last one stayed, and `rng.random() < share`; take `others[rng.integers(len(others))]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def exchange(entities, types, rng, share):
#     found, last = [], False
#     for entity in entities:
#         others = [one for one in range(len(types)) if types[one] == types[entity] and one != entity]
#         last = bool(others) and not last and rng.random() < share
#         found.append(others[rng.integers(len(others))] if last else entity)
#     return found
# ```
# </details>
#
# Your function on a fact, six times with the chance one half:

# %%
fact = [row for row in learned if graph.relations[row["label"]] == "lives_in"][0]
pair, rng = [entity for _, _, entity in fact["mentions"]], np.random.default_rng(0)
for _ in range(6):
    made = exchange(pair, graph.types, rng, 0.5)
    marks = ["" if new == old else " (exchanged)" for old, new in zip(pair, made, strict=True)]
    head, tail = (graph.entities[new] + mark for new, mark in zip(made, marks, strict=True))
    print(f"{head} lives in {tail} .")

# %% [markdown]
# ## 6 · A slice of training
#
# Now your four functions run in two objectives. Both models read the same text. ERNIE says hidden words and finds the right
# entities; WKLM says hidden words and finds the exchanged names.

# %%
from labkit.foundations.pretraining import MaskedLM, tokenize_corpus
from labkit.knowledge.dkplm import linked
from labkit.knowledge.ernie import DenoisingEntities
from labkit.knowledge.wklm import WKLM

rows = linked(tokenize_corpus(Study().texts(32 * 40), tokenizer, 64), names)
masked, other = MaskedLM(tokenizer, probability=0.2), copy.deepcopy(bert)
knows = Ernie(bert, table_of(vectors.entities), names, fuse=fuse)
ways = {"ERNIE": (knows, DenoisingEntities(knows, masked, len(graph.entities), disturb)),
        "WKLM": (other, WKLM(other, masked, graph.types, names, exchange=exchange))}  # fmt: skip
for name, (model, own) in ways.items():
    batches = Batches(rows, own.collate, 32, seed=0)
    losses = labkit.fit(model, own.loss, batches, steps=40, lr=1e-3, seed=0, progress=lab.progress).losses
    print(f"{name}: loss {np.mean(losses[:5]):.2f} at first, {np.mean(losses[-5:]):.2f} at last")

# %% [markdown]
# ERNIE learns fast to tell the entities from one another. WKLM's loss hardly moves: which of two likely names is wrong is a harder
# question, and can be answered only from facts that the model knows.
#
# ## 7 · The whole comparison
#
# First, the relation of two names, with 120 steps and three draws of the facts:

# %% tags=["nbval-check-output"]
from labkit.report import Table
from labkit.report.pages import page

scores = page("entity_tasks").report.rows
lines = []
for way in ("BERT", "ERNIE", "BERT-MK", "ERNIE, entities shuffled"):
    own = [100 * row.value for row in scores if row.method == way]
    lines.append((way, f"{np.mean(own):.1f} ± {np.std(own, ddof=1):.1f}"))
Table(("", "relation of two names, % right"), tuple(lines))

# %% [markdown]
# ERNIE and BERT-MK are within one point of BERT, so in this task the graph adds nothing that three draws could show. The vectors are
# read, though: with those of other entities, ERNIE is behind itself in each of the three draws.
#
# Then the blanks of [02/03](03_dkplm.ipynb): "anna reed was born in ___". All ways start from the same model and go on for 500 steps
# with the same texts ([all numbers](../../docs/results.md#knowledge-of-frequent-and-of-rare-things)). *Stated* facts stand in these
# texts. Facts of the *graph* do not: only ERNIE and BERT-MK can have them, from the vector of the name that is asked about.
# Head, torso and tail are things that are named often, sometimes and rarely. **Predict**: who has most of the facts that only the
# graph states?

# %% tags=["nbval-check-output"]
COLUMNS = ("stated, head", "stated, torso", "stated, tail", "graph, torso", "graph, tail")
rows = page("knowledge_probes").report.rows
cells = {(row.method, row.task): f"{100 * row.value:.0f}" for row in rows if row.seed == 0}
WAYS = ("mini-bert-en", "masked language modelling", "WKLM", "ERNIE", "BERT-MK")
Table(("blanks filled rightly, %", *COLUMNS), tuple((way, *(cells[way, one] for one in COLUMNS)) for way in WAYS))

# %% [markdown]
# Look at the last two columns, then at the row of WKLM.
#
# - **ERNIE and BERT-MK** have hardly more facts of the graph than masked language modelling, which cannot have any. What little they
#   have there is within the noise (a standard error of 4 points, on the graph's tail of 8 or 9). The vector is at the name, but after
#   500 steps the blank has not learned to ask it. Nor are there more of the stated facts. And it is no fair match: both have
#   weights of their own besides, and read the graph while they answer.
# - **WKLM** has *fewer* of the stated facts than masked language modelling, 10 points on the tail, 19 on the head. A likely reason
#   is its price: no word may be hidden in a text with a false name, or the model would learn to say it. In our short texts of one
#   fact, about every second text is lost for hidden words in this way. The paper's texts are long, and it is trained far
#   longer.
#
# So here no way beats the same steps of plain masked language modelling beyond the noise of one seed. The papers report gains:
# BERT-MK has F 86.9 on relations of genes and diseases (GAD), where BERT has 79.3. Their models learn from millions of texts and
# facts, and are then trained on the task's own sentences. What was not tried here: more steps, and training the graph's Transformer on
# the graph first, as the BERT-MK paper does.
#
# ## 8 · So, does a text model know more if it is told which thing a name means?
#
# It *can*: with the second stream a model has the graph's vector at the name, and without entities it is the BERT that it was. But
# having a vector is not using it. In a small world and a few hundred steps, the names' types already say most of what the tasks ask,
# and the rest was not learned. A model has to be asked for the fact where it will be needed; the next lesson does this.
#
# ## Read on
#
# - Zhang et al. 2019, [*ERNIE: enhanced language representation with informative entities*](https://arxiv.org/abs/1905.07129).
# - Xiong et al. 2020, [*Pretrained encyclopedia*](https://arxiv.org/abs/1912.09637), WKLM.
# - He et al. 2020, [*BERT-MK*](https://arxiv.org/abs/1912.00147).
# - [`ernie.py`](../../labkit/knowledge/ernie.py), [`bert_mk.py`](../../labkit/knowledge/bert_mk.py),
#   [`wklm.py`](../../labkit/knowledge/wklm.py).
# - Next, [02/03](03_dkplm.ipynb): a graph that is needed in training only.
