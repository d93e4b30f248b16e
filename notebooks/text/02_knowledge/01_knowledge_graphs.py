# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Facts as a graph
#
# Somebody wrote down eight thousand facts. Which facts follow from them that nobody wrote down? And can the facts label
# text for us?
#
# **After this lesson you can** walk a [knowledge graph](../glossary.ipynb#knowledge-graph); write TransE's loss and its
# negatives, and train it; rank its answers so that true ones are not counted as mistakes; say which facts an embedding
# can infer; label text by distant supervision, measure the noise, and remove most of it.
#
# **45 minutes.** Before it: [words as vectors](../01_foundations/01_words.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="02/01")

# %%
PERSON = "frank kovacs"  # @param {type:"string"}
NOISE = 0.5  # @param {type:"number"}

# %% [markdown]
# ## 1 · What the graph was told, and what it was not
#
# A fact is a *triple*: a head, a relation, a tail. Here is all that the course's [world](../../docs/world.md) states about
# one person. We add one more relation, `native_of`: the country in which somebody's city of birth lies. It is told for four
# people out of five. For the others it is held out.

# %%
from labkit.knowledge.graph import composed, world_splits

splits = composed(world_splits(), "born_in", "located_in", "native_of")
graph = splits.graph
print(len(graph.entities), "entities,", len(graph.relations), "relations,", len(graph.triples), "facts;", len(splits.test), "held out\n")
for row in graph.rows(graph.number(PERSON)):
    print(*graph.named(graph.triples[row]), sep=" · ")

# %% [markdown]
# Nothing says of which country he is a native. Now a model learns one vector for each entity and each relation, from the
# facts alone. We ask it for the tail of (person, `native_of`, ?).

# %%
import torch

from labkit.knowledge.transe import TAIL, train_transe

model = train_transe(graph, progress=lab.progress)
asked = torch.tensor([[graph.number(PERSON), graph.relations.index("native_of"), 0]])  # the 0 is a blank
distances = model.to_all(asked, TAIL)[0]  # to every entity
for entity in distances.argsort()[:5].tolist():
    print(f"{graph.entities[entity]:<12}{graph.types[entity]:<10}{distances[entity]:.2f}")
true = next(fact[2] for fact in splits.test.tolist() if fact[:2] == asked[0, :2].tolist())
place = 1 + int((distances < distances[true]).sum())
print(f"true: {graph.entities[true]}, at place {place} of {len(distances)}")

# %% [markdown]
# The true country is in front of nearly all entities, and nobody told the model. It was never told what a country is either.
# How it knows will be clear at the end of section 3.
#
# ## 2 · Walking
#
# A graph can be walked from fact to fact. How are a dish and a law connected? The *path* has the fewest facts.

# %% tags=["nbval-check-output"]
for fact in graph.path("egg buns", "tax order"):
    print(*fact, sep=" · ")
degrees = graph.degrees
order = degrees.argsort()[::-1]
print("\nmost facts:", {graph.entities[one]: int(degrees[one]) for one in order[:3]})
print("entities with at most 4 facts:", int((degrees <= 4).sum()), "of", len(degrees))
print("within 1, 2, 3 facts of", PERSON, "lie", [len(graph.around(PERSON, hops).distance) - 1 for hops in (1, 2, 3)], "entities")

# %% [markdown]
# A few entities, the *hubs*, stand in very many facts, and most entities stand in few: the
# [long tail](../glossary.ipynb#long-tail). Because paths run through hubs, three facts are enough to reach much of the graph. So
# "near in the graph" alone says little, and it matters *by which relations* one gets there.
#
# ## 3 · A relation is a step
#
# TransE (Bordes et al. 2013) takes this literally. An entity is a point, a relation is a step, and for a fact the step leads from
# the head to the tail: $h + r \approx t$. In two dimensions, with two facts and one negative, a triple that is false:

# %% tags=["nbval-check-output"]
points = {"anna": (0.0, 0.0), "old sun": (1.0, 0.2), "norland": (1.1, 1.3), "soup": (0.4, 0.5)}
steps = {"born_in": (1.0, 0.0), "located_in": (0.0, 1.0)}


def distance(head, relation, tail):
    ends = [torch.tensor(table[name]) for table, name in ((points, head), (steps, relation), (points, tail))]
    return (ends[0] + ends[1] - ends[2]).norm().item()


for triple in (("anna", "born_in", "old sun"), ("old sun", "located_in", "norland"), ("anna", "born_in", "soup")):
    print(f"{' · '.join(triple):<32}{distance(*triple):.2f}")

# %% [markdown]
# Both facts have small distances. The negative is farther, so a fact can be told from a negative. Training wants more, a
# *margin* $\gamma$: the negative should be farther than the fact by at least $\gamma$. With $\gamma = 0.5$ the pair of the
# first and the third line costs $[0.5 + 0.20 - 0.78]_+ = 0$, because it is far enough already. ($[x]_+$ is $x$ where it is
# above 0, else 0.) If the negative had the distance 0.40, the pair would cost $0.5 + 0.20 - 0.40 = 0.30$.
#
# $$L = \text{mean of } \big[\gamma + d(h + r, t) - d(h' + r, t')\big]_+ \quad \text{over facts and their negatives.}$$
#
# ### Exercise 1: the margin
#
# *●○○ · 5 minutes*
#
# Distances of facts (n,) and of their negatives, k for each fact, (n, k), and the margin in; out the mean over all n · k
# negatives, one number that carries its gradient.
#
# ```python
# margin_loss(torch.tensor([0.2]), torch.tensor([[0.78, 0.40]]), 0.5)  # (0 + 0.30) / 2 = 0.15
# ```

# %%
from labkit.checks import knowledge_graphs as check


def margin_loss(positive, negative, margin): ...  # your turn


margin_loss = check.margin_loss(margin_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `positive[:, None]` has the shape (n, 1), so it can be compared with (n, k).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `.relu()` is $[x]_+$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.mean()` over everything, at the end.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def margin_loss(positive, negative, margin):
#     return (margin + positive[:, None] - negative).relu().mean()
# ```
# </details>
#
# **Where do negatives come from?** A graph states only what is true. So one end of a fact is replaced by an entity that is drawn
# at random. Some of these triples are facts all the same: replace the dish in (anna, likes, soup), and you may draw another dish
# that she likes. Training would then push a fact away. So such a draw must be repeated.
#
# ### Exercise 2: negatives that are false
#
# *●●○ · 10 minutes*
#
# Triples (n, 3) in a numpy array, the column to replace for each of them (n,), 0 for the head or 2 for the tail, the number of
# entities, a set of known facts, and a generator of numpy in; out the negatives (n, 3): the named end is drawn evenly from
# all entities that make no known fact. Leave `triples` as it is.
#
# ```python
# rng = np.random.default_rng(0)
# corrupt(np.array([[0, 0, 1]]), np.array([2]), 4, {(0, 0, 1), (0, 0, 2)}, rng)  # [[0, 0, 0]] or [[0, 0, 3]]
# ```

# %%
import numpy as np


def corrupt(triples, column, entities, known, rng): ...  # your turn


corrupt = check.corrupt(corrupt)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with `made = triples.copy()` and `wrong = np.arange(len(triples))`, the rows that need another draw: at first all.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `made[wrong, column[wrong]] = rng.integers(entities, size=len(wrong))` replaces one end in each of these rows.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Keep in `wrong` the rows whose `tuple(made[row].tolist())` is in `known`, and go on while there are any.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def corrupt(triples, column, entities, known, rng):
#     made, wrong = triples.copy(), np.arange(len(triples))
#     while len(wrong):
#         made[wrong, column[wrong]] = rng.integers(entities, size=len(wrong))
#         wrong = wrong[[tuple(made[row].tolist()) in known for row in wrong]]
#     return made
# ```
# </details>
#
# Now the same training with your two functions. After each step all entities get length 1 again. Without this, the loss could be
# made small by moving everything far apart.

# %% tags=["nbval-check-output"]
model = train_transe(graph, loss=margin_loss, negatives=corrupt, progress=lab.progress)
born, lies, native = (model.relations[graph.relations.index(name)].detach() for name in ("born_in", "located_in", "native_of"))
other = model.relations[graph.relations.index("works_for")].detach()
cosine = torch.nn.functional.cosine_similarity
print("the step native_of is like born_in, then located_in:", bool(cosine(born + lies, native, dim=0) > 0.8))
print("it is like works_for, then located_in:", bool(cosine(other + lies, native, dim=0) > 0.8))

# %% [markdown]
# This explains the answer of section 1. In the facts that were told, `native_of` leads where `born_in` and `located_in` lead
# together. So training made its step the **sum of the two steps**. For a person whose country is held out, the same step starts
# at that person, and ends near the country. A rule has been learned without being written.
#
# ## 4 · How good are the answers?
#
# For a held-out fact we ask for its tail, order all entities by distance, and look for the *rank* of the true one. Two details
# decide what a rank means. An example, with five candidates for (anna, likes, ?), where soup is asked for:
#
# | | rice | cake | soup | bread | salt |
# |:--|--:|--:|--:|--:|--:|
# | distance | 0.3 | 0.5 | 0.7 | 0.7 | 0.9 |
# | | is true as well | | asked for | | |
#
# Rice stands before soup, but she likes rice too. So it is no mistake, and is taken out: the rank is *filtered*. Bread has the
# same distance as soup. If soup counted as first of the two, a model that gives all entities one distance would be perfect. So
# they share the places 2 and 3, and the rank is 2.5.
#
# ### Exercise 3: the filtered rank
#
# *●●○ · 8 minutes*
#
# Distances (entities,), the number of the answer, and a set of the other true answers in; out the answer's rank, counted from 1.
#
# ```python
# filtered_rank(torch.tensor([0.3, 0.5, 0.7, 0.7, 0.9]), 2, {0})  # 2.5
# ```


# %%
def filtered_rank(distances, answer, others): ...  # your turn


filtered_rank = check.filtered_rank(filtered_rank)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Mark which entities count: `kept = torch.ones(len(distances), dtype=torch.bool)`, then False for the answer and the others.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The rank is 1, plus 1 for each entity that is nearer, plus ½ for each other entity at the same distance.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `kept[[answer, *others]] = False`, and `rest = distances[kept]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def filtered_rank(distances, answer, others):
#     kept = torch.ones(len(distances), dtype=torch.bool)
#     kept[[answer, *others]] = False
#     rest = distances[kept]
#     return 1 + int((rest < distances[answer]).sum()) + int((rest == distances[answer]).sum()) / 2
# ```
# </details>
#
# Many ranks become one number by the [MRR](../glossary.ipynb#mrr), the mean of 1 / rank, or by Hits@10, the share of ranks up to
# 10. The baseline is *popularity*: it answers with the entities that are most often the tail of the relation, whoever is asked about.
#
# We measure three kinds of facts: some that were told, the held-out ones of `native_of`, and the other held-out facts, of which
# most were drawn at random when this world was made. **Predict**: for which of the three kinds is TransE better than popularity?

# %%
from labkit.knowledge.ranking import Popularity, rank_metrics, ranks

new = splits.test[:, 1] == graph.relations.index("native_of")
kinds = {"told": graph.triples[::12], "native_of, held out": splits.test[new], "others, held out": splits.test[~new]}
popular = Popularity(graph.triples, len(graph.entities), len(graph.relations))
mrr = {}
print(f"{'MRR of the tail, in %':<24}{'facts':>6}{'popularity':>12}{'TransE':>8}")
for kind, facts in kinds.items():
    mrr[kind] = [100 * rank_metrics(ranks(one, facts, splits.true, filtered_rank, (TAIL,)))["mrr"] for one in (popular, model)]
    print(f"{kind:<24}{len(facts):>6}{mrr[kind][0]:>12.1f}{mrr[kind][1]:>8.1f}")

# %% tags=["nbval-check-output"]
for kind, (base, ours) in mrr.items():
    print(f"{kind:<24}{'TransE' if ours > base else 'popularity'} is better")

# %% [markdown]
# TransE keeps much of what it was told, and it finds what follows from other facts. But it does not guess well where nothing
# follows. Who likes which dish was drawn at random, frequent dishes more often, so the best answer is the popular one. **An embedding
# infers the regularities of a graph. Where a graph has none, it has nothing to infer.**
#
# Look at single facts. A ✓ means that TransE has the tail among its first ten; a full line was told, a dashed one was held out.

# %%
from labkit.widgets import graph_explorer

graph_explorer(splits, PERSON, lambda facts: ranks(model, facts, splits.true, filtered_rank, (TAIL,))[0] <= 10)

# %% [markdown]
# *Try it.* Go to some other persons, and to a film. Which relations have ✗ most often? (A hint: from one head the same step always
# ends at the same place. How many tails can be there?)
#
# And real graphs? UMLS is about medicine, Nations about 14 states, and WN18RR about the meanings of words. **Predict**: a relation
# that holds both ways, such as a treaty, is a step that leads back where it came from. What can TransE do with it?

# %%
from labkit.report import results

results("transe").table(metric="MRR")

# %% [markdown]
# UMLS is full of facts that follow from others, and there TransE is ahead of popularity. On Nations it is behind. Two facts in three
# hold both ways there. From $h + r \approx t$ and $t + r \approx h$ follows $r \approx 0$, so the nearest entity to $h + r$ is $h$
# itself, and the true tail comes second at best. This is a limit of the idea, and not of our training: the same training by
# PyKEEN, a library for such models, stands beside it ([all numbers](../../docs/results.md#transe-on-graphs-of-facts)).
#
# ## 5 · Facts find their texts
#
# A graph can also label text. First one must know whom a text names. A dictionary finds names, but a name can belong to several
# entities, and [linking](../glossary.ipynb#entity-linking) must say which one is meant. Here texts give only the first word of a
# name, "storm", with which many names begin.

# %% tags=["nbval-check-output"]
from labkit.knowledge.distant import short_names, texts
from labkit.knowledge.linking import Linker
from labkit.world import World
from labkit.world.graph import build_graph

frequency = [entity.frequency for entity in build_graph(World()).entities]
names = {name: [number] for number, name in enumerate(graph.entities)}
linker, short = Linker(graph, names, frequency), Linker(graph, names | short_names(graph), frequency)
for sentence in ("eagle colitis is treated with storm", "ian moreau bought the storm", "people spoke of storm"):
    mention, entity = next((m, e) for m, e in short.link(sentence.split()) if m.end - m.start == 1)
    print(f"{sentence:<38}{len(mention.candidates)} candidates → {graph.entities[entity]}, a {graph.types[entity]}")

# %% [markdown]
# The linker takes the candidate that shares most facts with the entities that the text names beyond doubt, and among equals the
# most frequent one. In the last sentence nothing helps, so it can only take the most frequent.
#
# Now the idea of *distant supervision* (Mintz et al. 2009): **if a text names both ends of a fact, take it as stating the fact.**
# So a graph of facts labels any amount of text, and nobody has to read it.
#
# ### Exercise 4: labels from facts
#
# *●○○ · 5 minutes*
#
# A set of the entities that a text names, and facts (head, relation, tail) in; out the facts of which both ends are named.
#
# ```python
# distant_labels({1, 2, 6}, {(1, 0, 2), (2, 1, 5), (6, 3, 1)})  # {(1, 0, 2), (6, 3, 1)}
# ```


# %%
def distant_labels(entities, facts): ...  # your turn


distant_labels = check.distant_labels(distant_labels)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A fact is a tuple: `head, relation, tail = fact`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The test is `head in entities and tail in entities`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A set comprehension: `{fact for fact in facts if …}`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def distant_labels(entities, facts):
#     return {fact for fact in facts if fact[0] in entities and fact[2] in entities}
# ```
# </details>
#
# Each of our texts states two facts. Because the world wrote them, it knows which. That is the exception: on text that was
# found, nobody can say how many labels are right. **Predict**: how many in a hundred are?

# %% tags=["nbval-check-output"]
from labkit.knowledge.distant import judged, labelled

given, other = labelled(texts(World(), "en", 1500, NOISE), linker, distant_labels)
print(len(given), "labels, of which are right:", f"{judged(given, given)['precision']:.0%}\n")
for label in [one for one in given if not one.true][:3]:
    print(*graph.named(label.fact), sep=" · ")
    print("   ", " ".join(label.tokens))

# %% [markdown]
# Read the three. `[HEAD]` and `[TAIL]` are the two ends, `[NAME]` is any other name. The text names both ends, and the fact is
# true, but *the text does not say it*. Whoever learns from such labels learns that anything may state a relation. In the paper
# that made this known, about 31 % of such labels on newspaper text were wrong (Riedel et al. 2010).
#
# ## 6 · Which labels can be trusted?
#
# Wrong labels are all different, and right ones are alike: there are four ways to say `born_in`, and countless ways of not
# saying it. DSGAN (Qin et al. 2018) makes a game of this, for one relation at a time, between two classifiers of texts:
#
# - The **generator** gives each label a probability $p$ of being right, and *picks* labels by drawing with it.
# - The **discriminator** starts each round anew, able to tell labelled texts from others. It is then told the opposite of what
#   the generator thinks: what was picked is false, what was left is true. After that, it says how much it still *believes* in
#   each picked label, $b$.
#
# The right ones are so many and so alike that the discriminator gives them up last. So a label is worth picking if
# $b > \frac12$. Picking cannot be differentiated, so the probability of what was picked is raised or lowered by its reward
# (the [policy gradient](../glossary.ipynb#policy-gradient)):
#
# $$L_G = -\sum_{\text{picked}} \log p_i \cdot \big(b_i - \tfrac12 + \text{bonus}\big) .$$
#
# The bonus is for the round: it is higher if the discriminator was so misled that it now believes in texts without the label.
#
# An example with two picked labels, $p = (0.8, 0.6)$ and $b = (0.9, 0.3)$, without bonus. The rewards are $0.4$ and $-0.2$, so
# $L_G = -(\log 0.8 \cdot 0.4 - \log 0.6 \cdot 0.2) = 0.089 - 0.102 = -0.013$. Its derivative by $p$ is $-0.4 / 0.8 = -0.5$ for the first:
# a step raises it. For the second it is $0.2 / 0.6 = 0.33$: a step lowers it.
#
# ### Exercise 5: a reward for the right picks
#
# *●●○ · 8 minutes*
#
# The probabilities $p$ of the picked labels (n,), what the discriminator believes of them (n,), and the bonus in; out $L_G$. No
# gradient goes through `believed`: the discriminator is an opponent, and not to be changed by this loss.
#
# ```python
# picking_loss(torch.tensor([0.8, 0.6]), torch.tensor([0.9, 0.3]), 0.0)  # -0.013
# ```


# %%
def picking_loss(picked, believed, bonus): ...  # your turn


picking_loss = check.picking_loss(picking_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The reward of each label: `believed - 0.5 + bonus`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `believed.detach()` has the same numbers and no gradient.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Multiply with `picked.log()`, add up, and change the sign.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def picking_loss(picked, believed, bonus):
#     return -(picked.log() * (believed.detach() - 0.5 + bonus)).sum()
# ```
# </details>
#
# Three relations, cleaned with all that you wrote: your labels, and your loss in the game. Beside it what the same generator
# keeps *before* the game, when it has only learned to tell labelled texts from others.

# %%
from labkit.knowledge.denoising import denoise

kept = {"all labels": [], "classifier alone": [], "after the game": []}
for name in ("born_in", "works_for", "stars"):
    mine, negative = ([one for one in some if graph.relations[one.fact[1]] == name] for some in (given, other))
    before, after = denoise(mine, negative[: 4 * len(mine)], loss=picking_loss)
    for way, scores in zip(kept, (np.ones(len(mine)), before, after), strict=True):
        kept[way] += [label for label, score in zip(mine, scores, strict=True) if score > 0]
for way, labels in kept.items():
    scores = judged(labels, kept["all labels"])
    print(f"{way:<18}{len(labels):>5} labels, precision {scores['precision']:.0%}, recall {scores['recall']:.0%}")

# %% tags=["nbval-check-output"]
precision = {way: judged(labels, kept["all labels"])["precision"] for way, labels in kept.items()}
print("the classifier alone is more precise than all labels:", precision["classifier alone"] > precision["all labels"] + 0.02)
print("the game is more precise than the classifier alone:", precision["after the game"] > precision["classifier alone"] + 0.04)

# %% [markdown]
# Two of these numbers pull in opposite directions. *Precision* is the share of kept labels that are right, *recall* the share of
# right labels that are kept. The classifier alone raises precision, because wrong labels look like texts without a label. The game
# raises it further, at the price of some right ones. Over all relations and three draws of texts:

# %%
results("distant").table(metric="precision")

# %% [markdown]
# "random" keeps as many labels as the game does, so keeping fewer is not what helps. "classifier, as many" keeps the classifier's
# best ones, again as many. How much of the gain is the game's own?

# %%
print(results("distant").compare("DSGAN", "classifier, as many"))
print(results("distant").compare("DSGAN", "classifier alone"))

# %% [markdown]
# Most of the gain over the classifier alone is that fewer labels are kept: the classifier puts the right labels first, too, but it
# does not know where to stop. The game finds that out, without having seen one label that is known to be right
# ([recall and F1](../../docs/results.md#distant-supervision-and-its-denoising)).
#
# ## 7 · A graph must be clean itself
#
# All this takes the graph's word for everything. So it is read strictly: a wrong line is refused, with its place and its mend.

# %% tags=["nbval-check-output"]
from labkit.errors import DataError
from labkit.knowledge.graph import graph_of

lands = [("old sun", "in", "norland"), ("norland", "in", "europe")]
for more, options in (
    (lands[:1], {}),
    ([("europe", "in", "old sun")], {"acyclic": ["in"]}),
    ([("old sun", "inn", "europe")], {"relations": ["in", "near"]}),
):
    try:
        graph_of(lands + more, where="lands.tsv", **options)
    except DataError as error:
        print("-", error)

# %% [markdown]
# ## What follows, then?
#
# - A graph holds what was stated. Walking it finds how things are connected, but nearly everything is near a hub.
# - As points and steps, it also gives what *follows*: `native_of` became the sum of two other steps. What was drawn at random
#   it cannot infer, and there the popular answer is better.
# - Facts label text for nothing, and many of these labels are wrong. They can be cleaned because right ones resemble each other.
#
# **Read on**: Bordes et al. 2013, "Translating embeddings for modeling multi-relational data"; Ruffinelli et al. 2020, "You CAN teach an
# old dog new tricks!", on how much settings matter; Mintz et al. 2009 on distant supervision; Qin et al. 2018, "DSGAN".
#
# **Next**: in lesson 02/02 these vectors go into a language model, and in 02/03 they help to write facts into its weights.
