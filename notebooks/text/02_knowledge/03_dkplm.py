# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Knowledge that costs nothing to serve: can a graph be needed in training only?
#
# A model that looks up facts while it answers needs the facts at hand, and time to look. DKPLM uses a
# [knowledge graph](../glossary.ipynb#knowledge-graph) while a BERT is trained, and then throws the graph away: what is served is
# a plain BERT. Does it know more than one that has only read text?
#
# **After this lesson you can** say which entities a language model does not know, and find them; inject a fact of a graph
# into a sentence, and have it decoded; train a BERT with both; measure what it knows afterwards, and where a fact got stuck.
#
# **45 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb) and
# [facts as a graph](01_knowledge_graphs.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="02/03")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
STEPS = 150  # @param {type:"integer"}

# %% [markdown]
# ## 1 · What a model knows
#
# The model has read 300 000 texts. It is asked in which country two cities lie, one that these texts speak of often, one that
# they rarely name:

# %% tags=["nbval-check-output"]
import torch

from labkit.knowledge.probes import Probe, Study, ranks, scores
from labkit.world import World

model, tokenizer = labkit.load_model(MODEL, head="mlm")
read = Study(World())  # the world whose texts it has read
cities = {one.name["en"]: one for one in read.graph.of_type("city")}
for name in ("great candle", "far frost"):
    (fact,) = [one for one in read.graph.facts if one.head == cities[name].id and one.relation == "located_in"]
    probe = Probe(fact, "{h} lies in {t}", "", "")
    for told in (False, True):
        best = scores(model, tokenizer, read, [probe], told=told)[0].argmax()
        said = read.graph.of_type("country")[best].name["en"]
        before = f"{name} lies in {read.graph.name(fact.tail, 'en')} . " if told else ""
        print(f"{before}{name} lies in ___ .  {said} (right: {read.graph.name(fact.tail, 'en')})")
    print(f"  {1e4 * cities[name].frequency:.1f} of 10 000 mentions are of {name}\n")

# %% [markdown]
# The frequent city is known. The rare one is known only if the text before the blank says so. This is the rule: what a language
# model stores of a fact depends on how often it has read it, and most things are read of rarely. They are the
# [long tail](../glossary.ipynb#long-tail).
#
# To see how knowledge gets into a model, we need facts that it has not read. `Study` makes a second, small world: 150 entities,
# 420 facts. Text states seven tenths of the facts (*stated*). A graph has these, and half of the rest (*graph*). Nobody is shown
# the other half (*unseen*); what a model gets right there, it has guessed or inferred. Bands are of the entity that is asked
# about.

# %% tags=["nbval-check-output"]
from labkit.knowledge.probes import BANDS, KINDS
from labkit.report import Table

study = Study()
graph, entities = study.knowledge, study.graph.entities
lines = [(kind, *(str(len({p.fact for p in study.probes if (p.kind, p.band) == (kind, band)})) for band in BANDS)) for kind in KINDS]
Table(("facts that are asked for", *BANDS), tuple(lines))

# %% [markdown]
# ## 2 · Whom to help
#
# Frequent entities need no help, and a model that is told everything about everybody learns less of each. DKPLM takes an entity
# $e$ if three things hold, and multiplies them:
#
# - it is **rare**: its share of all mentions, $\mathrm{freq}(e)$, is below $R$;
# - it is **missed**: without the mention the sentence means something else to the model. With the vectors $h$ and $h'$ of the
#   sentence with and without the mention, the *semantic importance* is $\mathrm{SI}(e) = 1 / \cos(h, h')$: 1 if nothing changes,
#   more if something does;
# - it is **connected**: $\mathrm{KC}(e)$ counts the entities that are two facts away in the graph.
#
# $$\mathrm{KLT}(e) = \mathbb{1}[\mathrm{freq}(e) < R] \cdot \mathrm{SI}(e) \cdot \mathrm{KC}(e)$$
#
# > With $R = 0.005$: a famous city, freq 0.02, SI 1.1, KC 40, has KLT $0 \cdot 1.1 \cdot 40 = 0$. A village, freq 0.001, SI 1.1, KC 10,
# > has $1 \cdot 1.1 \cdot 10 = 11$. A street in it, freq 0.001, SI 1.5, KC 2, has 3: few facts lead further from there.
#
# ### Exercise 1: the score
#
# *●○○ · 3 minutes*
#
# Four numbers in, one out.
#
# ```python
# klt(frequency=0.001, importance=1.5, connections=10, below=0.005)  # 15.0
# ```

# %%
from labkit.checks import dkplm as check


def klt(frequency, importance, connections, below): ...  # your turn


klt = check.klt(klt)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\mathbb{1}[\ldots]$ is 1 if the condition holds, else 0.
# </details>
#
# <details><summary>Hint 2</summary>
#
# An entity whose frequency *is* $R$ is not below it.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `x if condition else 0`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def klt(frequency, importance, connections, below):
#     return importance * connections if frequency < below else 0.0
# ```
# </details>
#
# Your function on all entities of the small world. The importance is measured on sentences of its text (a mean over up to four
# for each entity):

# %%
import numpy as np

from labkit.foundations.pretraining import tokenize_corpus
from labkit.knowledge.dkplm import connectivity, importance, linked, names_of

names = names_of(tokenizer, graph)  # token ids -> entity
rows = linked(tokenize_corpus(study.texts(32 * STEPS), tokenizer, 64), names)
missed = importance(model, rows[:1500], len(entities), tokenizer.pad_token_id)
connected = [connectivity(graph, number) for number in range(len(entities))]
R = 0.005
values = zip(entities, np.nan_to_num(missed), connected, strict=True)
score = np.array([klt(one.frequency, si, kc, R) for one, si, kc in values])
for at in (*np.argsort(-score)[:3], int(np.argmax([one.frequency for one in entities]))):
    one = entities[at]
    print(f"{one.name['en']:<16}{one.type:<9} freq {one.frequency:.4f}, SI {missed[at]:.2f}, KC {connected[at]:>3}, KLT {score[at]:.1f}")
print(f"{(score > 0).sum()} of {len(entities)} entities are of the long tail")

# %% [markdown]
# ## 3 · A stand-in made of a fact
#
# TransE ([02/01](01_knowledge_graphs.ipynb)) gives every entity and relation a vector such that $e_h + r \approx e_t$ for a fact $(h, r, t)$. So an entity
# can be written with its facts, and without its own vector: a head is $e_t - r$, a tail is $e_h + r$. On two numbers each:
#
# > $e_t = (0.9, 0.4)$, $r = (0.5, -0.2)$: the head is near $e_t - r = (0.4, 0.6)$.
#
# DKPLM puts such a **pseudo token** in the place of a rare mention, instead of the name's word vectors. (A matrix brings it from
# the graph's space into that of the words.) The model then reads *what the graph says of the entity*.
#
# ### Exercise 2: the pseudo token
#
# *●●○ · 5 minutes*
#
# The fact's other entity (n, k), its relation (n, k), and whether the mention is the head (n,) in; the stand-in (n, k) out.
#
# ```python
# other, r = torch.tensor([[0.9, 0.4], [0.9, 0.4]]), torch.tensor([[0.5, -0.2], [0.5, -0.2]])
# pseudo(other, r, torch.tensor([True, False]))  # [[0.4, 0.6], [1.4, 0.2]]
# ```


# %%
def pseudo(other, relation, is_head): ...  # your turn


pseudo = check.pseudo(pseudo)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# If the mention is the head, the other entity is the tail: $e_t - r$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.where(condition, a, b)` takes from `a` where the condition holds, else from `b`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `is_head[:, None]` has the shape (n, 1), which goes with (n, k).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def pseudo(other, relation, is_head):
#     return torch.where(is_head[:, None], other - relation, other + relation)
# ```
# </details>
#
# How good are the stand-ins? For each fact of the graph: is the stand-in of its head nearer to the head than to any other entity?

# %%
from labkit.knowledge.transe import TransESettings, train_transe

vectors = train_transe(graph, TransESettings(dimension=64), progress=lab.progress)
head, relation, tail = torch.from_numpy(graph.triples).T
with torch.no_grad():
    made = pseudo(vectors.entities[tail], vectors.relations[relation], torch.ones(len(head), dtype=torch.bool))
    nearest = torch.cdist(made, vectors.entities).argsort(1)
hit = (nearest[:, 0] == head).float().mean()
near = (nearest[:, :5] == head[:, None]).any(1).float().mean()
print(f"{len(head)} facts: the head is the nearest entity for {hit:.0%}, among the nearest five for {near:.0%}")

# %% [markdown]
# A city has many inhabitants, so "lives in", turned back from the city, cannot mean one of them. Therefore not every stand-in
# is unique.
#
# ## 4 · A fact to be said
#
# Injection alone asks nothing of the model about the fact. So the second half of DKPLM is *relational decoding*: from the
# model's state at the mention, $h_0$, and the relation, the model has to say the name of the fact's other entity, token by token:
#
# $$h_i = \tanh\big(W (h_{i-1} \odot r)\big),$$
#
# where $\odot$ multiplies element by element. Each $h_i$ gives every word a score, its product with the word's vector, as in
# masked language modelling. With two numbers and $W$ the identity:
#
# > $h_0 = (1, 2)$, $r = (1, 0)$: $h_1 = (\tanh 1, \tanh 0) = (0.76, 0)$, $h_2 = (\tanh 0.76, 0) = (0.64, 0)$. The relation has
# > blocked the second number: it chooses what of the mention is asked for.
#
# ### Exercise 3: decode
#
# *●●○ · 6 minutes*
#
# Mentions and relations (n, d), a function `step` that applies $W$, and how many tokens in; the states $h_1, h_2, \ldots$
# (n, tokens, d) out.
#
# ```python
# decode(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]), lambda h: h, 2)  # [[[0.76, 0], [0.64, 0]]]
# ```


# %%
def decode(mentions, relations, step, tokens): ...  # your turn


decode = check.decode(decode)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A loop over the tokens; each state is made from the one before it.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.tanh(step(state * relations))`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Collect the states in a list, and put them side by side: `torch.stack(states, 1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def decode(mentions, relations, step, tokens):
#     state, states = mentions, []
#     for _ in range(tokens):
#         state = torch.tanh(step(state * relations))
#         states.append(state)
#     return torch.stack(states, 1)
# ```
# </details>
#
# The same mention asked for two things. Look at which of its numbers is left:

# %% tags=["nbval-check-output"]
mention = torch.tensor([[1.0, 2.0]])
for name, r in (("relation (1, 0)", (1.0, 0.0)), ("relation (0, 1)", (0.0, 1.0))):
    states = decode(mention, torch.tensor([r]), lambda h: h, 2)
    print(name, [[round(value, 2) for value in state] for state in states[0].tolist()])

# %% [markdown]
# A real vocabulary has 30 000 words, and a softmax over all of them at every decoded token is slow. *Sampled softmax* sums over
# the wanted word and $q$ words that are drawn at random. A word that is drawn with chance $p$ stands for $1/(q\,p)$ words of its
# kind, so its term $e^{s}$ is multiplied by that, which means: subtract $\log(q\,p)$ from its score. With the wanted word $w$
# and the draws $j$ (leaving out those that are $w$):
#
# $$L = \log\Big(e^{s_w} + \sum_{j \ne w} e^{\,s_j - \log(q\,p_j)}\Big) - s_w .$$
#
# > Four words of the chance 1/4, each drawn once ($q = 4$): $q\,p = 1$, nothing is subtracted, and $L$ is the ordinary cross-entropy.
#
# ### Exercise 4: sampled softmax
#
# *●●● · 9 minutes*
#
# Scores (n, vocabulary), the wanted words (n,), every word's chance (vocabulary,) and the draws (q,) in; the mean of $L$ over
# the n words out.
#
# ```python
# s = torch.tensor([[2.0, 0.0, 1.0]])
# sampled(s, torch.tensor([0]), torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1, 1]))  # log(e² + 2 e^0.693) − 2 = 0.43
# ```


# %%
def sampled(scores, wanted, chances, draws): ...  # your turn


sampled = check.sampled(sampled)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `right = scores.gather(1, wanted[:, None])` is (n, 1), `scores[:, draws]` is (n, q).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(len(draws) * chances[draws]).log()` is what each draw loses. A draw that is the wanted word gets −∞:
# `.masked_fill(draws == wanted[:, None], -torch.inf)`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Put both side by side, `torch.cat([right, wrong], 1)`, and take `.logsumexp(1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def sampled(scores, wanted, chances, draws):
#     right = scores.gather(1, wanted[:, None])
#     wrong = scores[:, draws] - (len(draws) * chances[draws]).log()
#     wrong = wrong.masked_fill(draws == wanted[:, None], -torch.inf)
#     return (torch.cat([right, wrong], 1).logsumexp(1) - right[:, 0]).mean()
# ```
# </details>
#
# How many draws are needed? Your function on 50 random score vectors over 2 000 words, with more and more draws, beside the
# cross-entropy over all words:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
many, right = 2 * torch.randn(50, 2000), torch.arange(50)
even, full = torch.full((2000,), 1 / 2000), float(torch.nn.functional.cross_entropy(many, right))
for q in (20, 200, 2000):
    losses = [float(sampled(many, right, even, torch.randint(2000, (q,)))) for _ in range(20)]
    print(f"{q:>5} draws: {np.mean(losses):.2f} ± {np.std(losses):.2f}; all words: {full:.2f}")

# %% [markdown]
# ### Exercise 5: the decoding loss
#
# *●●○ · 6 minutes*
#
# Now both together. `wanted` (n, tokens) holds the names' token ids, with −100 behind a shorter name; `say` turns states (…, d)
# into scores (…, vocabulary). Out comes one mean over all tokens that are asked for. For names of one token,
#
# ```python
# relational(mentions, relations, wanted, step, say, chances, draws)
# # = sampled(say(decode(mentions, relations, step, 1)[:, 0]), wanted[:, 0], chances, draws)
# ```


# %%
def relational(mentions, relations, wanted, step, say, chances, draws): ...  # your turn


relational = check.relational(relational)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Decode as many tokens as `wanted` has columns.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `asked = wanted != -100` chooses from both: `states[asked]` is (tokens asked, d), `wanted[asked]` (tokens asked,).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `sampled(say(states[asked]), wanted[asked], chances, draws)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def relational(mentions, relations, wanted, step, say, chances, draws):
#     asked = wanted != -100
#     states = decode(mentions, relations, step, wanted.shape[1])
#     return sampled(say(states[asked]), wanted[asked], chances, draws)
# ```
# </details>
#
# The whole loss is a weighted sum, here with $\lambda_1 = 0.5$. The model goes on reading text, and the facts are a second task:
#
# $$L = \lambda_1\, L_{\mathrm{MLM}} + (1 - \lambda_1)\, L_{\mathrm{De}} .$$
#
# Look at what becomes of a sentence. Move *fact*: what changes in the second line, and what in the third? Then choose a sentence
# about a frequent entity.

# %%
from labkit.widgets import injection

rare = [max(score[entity] for _, _, entity in row["mentions"]) > 0 for row in rows[:20]]
order = sorted(range(8), key=lambda at: not rare[at])  # sentences with a rare mention first
sentences = [tokenizer.decode(rows[at]["input_ids"][1:-1]) for at in order]
injection(tokenizer, graph, names, score, sentences)

# %% [markdown]
# ## 5 · A slice of training
#
# A copy of the model goes on reading: half of the chosen mentions are read as pseudo tokens, the others as they are written, and
# for all of them a fact is decoded, with your functions. `fit` trains the projection and the decoder with the model, because they
# belong to the objective; they are not in the model.
#
# **Predict**: after 150 steps, will more blanks about the tail be filled rightly? And will the *decoder* say the right names?

# %%
import copy

from labkit.foundations.pretraining import MaskedLM, frequency_weights, token_counts
from labkit.knowledge.dkplm import DKPLM
from labkit.training import Batches

counts = token_counts(rows, len(tokenizer), tokenizer.all_special_ids)
masked = MaskedLM(tokenizer, token_probabilities=frequency_weights(counts, mean=0.3))
taught, targets = copy.deepcopy(model), np.flatnonzero(score)
dkplm = DKPLM(taught, masked, graph, vectors, names, targets, inject=0.5, pseudo=pseudo, read=relational)
batches = Batches(rows, dkplm.collate, 32, seed=0, lengths=[len(row["input_ids"]) for row in rows])
history = labkit.fit(taught, dkplm.loss, batches, steps=STEPS, lr=2e-3, seed=0, progress=lab.progress)
print(f"loss: first steps {np.mean(history.losses[:10]):.2f}, last {np.mean(history.losses[-10:]):.2f}")

# %% [markdown]
# Two questions to the trained model, both about the tail. First to the *decoder*: from the state at a name as it is written, and
# the relation, which name does it say? Then to the *blank*, which is what a user will ask, without a decoder:

# %%
from labkit.knowledge.probes import by_band, decoder_scores

taught.eval()
tail = [probe for probe in study.probes if probe.band == "tail"]
found = {"decoder, after": decoder_scores(dkplm, taught, tokenizer, study, tail),
         "blank, before": scores(model, tokenizer, study, tail), "blank, after": scores(taught, tokenizer, study, tail)}  # fmt: skip
hits = {name: by_band(tail, ranks(study, tail, values)) for name, values in found.items()}
lines = [(name, *(f"{100 * cells[kind, 'tail']['hits']:.0f}" for kind in KINDS)) for name, cells in hits.items()]
Table(("% right, tail", *KINDS), tuple(lines))

# %% [markdown]
# Compare the first line with the last. The decoder, which is thrown away, says far more rare facts than the blank, and also
# those that stand in no text. So the facts *are* in the model, in its state at the name. But the blank does not find them.
#
# A likely reason is where they are: the decoder reads the state after the **last** layer. A blank looks at the name in every
# layer but can only use what is there *before* the last one, and nobody has taught it how to ask for a fact that it has never
# read in a sentence.

# %% tags=["nbval-check-output"]
ahead = hits["decoder, after"]["graph", "tail"]["hits"] - hits["blank, after"]["graph", "tail"]["hits"]
print("facts of the graph alone: the decoder is more than 10 points ahead of the blank:", ahead > 0.1)

# %% [markdown]
# ## 6 · The whole comparison
#
# The same, longer: 500 steps on 16 000 texts, in the same order for all. Plain masked language modelling against DKPLM as in the
# paper, where every chosen mention is injected, and DKPLM with parts changed ([all
# numbers](../../docs/results.md#knowledge-of-frequent-and-of-rare-things)). *Frequency alone* answers with the entity that text
# names most often for the relation. **Predict**: which line has the most of the rare facts that text states? Does injection help a
# blank in which the entity is called by its name?

# %% tags=["nbval-check-output"]
from labkit.report.pages import page

COLUMNS = ("stated, head", "stated, torso", "stated, tail", "graph, tail", "unseen, tail")
WAYS = ("frequency alone", "mini-bert-en", "masked language modelling", "DKPLM", "DKPLM, never injected",
        "DKPLM, nothing injected or decoded")  # fmt: skip
cells = {(row.method, row.task): f"{100 * row.value:.0f}" for row in page("knowledge_probes").report.rows if row.seed == 0}
Table(("blanks filled rightly, %", *COLUMNS), tuple((way, *(cells[way, column] for column in COLUMNS)) for way in WAYS))

# %% [markdown]
# Read the third column, rare things that text states, from top to bottom.
#
# - **Masked language modelling** has the frequent facts much more often than the rare ones.
# - **DKPLM as in the paper** has *fewer* rare facts. Wherever a rare entity is injected, its name is not read, so what is learned
#   there belongs to the pseudo token. But the blank calls the entity by its name.
# - **Never injected**: the name stays, the fact is decoded from it. This has 13 points more than masked language modelling.
# - **Nothing injected or decoded** only keeps the chosen name from being hidden, so the model always reads it whole. This alone
#   brings half of the gain; decoding brings the other half. (Each half is within the noise of one seed, their sum is beyond it.)
#
# The gain has a price. In the column before, entities of middle frequency, all three ways of DKPLM lose 11 or 12 points: the model has the same
# number of steps, and spends them on others. (One seed. The standard error of a cell in the third column is about 4 points, in the
# last two 8 or 9, so there no difference says anything.)
#
# So in this small world the half of DKPLM that its paper names first, injection, harms what it shall improve, if one asks by name.
# The paper reports gains in probing, for a model and a corpus that are far larger. What was not tried here: more steps, several
# seeds, and injecting only a small share of the mentions.
#
# ## 7 · What it costs to serve
#
# Nothing. The objective, the graph and its vectors are deleted, the model is saved, and `transformers` loads it as what it is:

# %%
import tempfile

from transformers import BertForMaskedLM

question = tokenizer(f"{graph.entities[targets[0]]} lives in [MASK] [MASK] .", return_tensors="pt")
with torch.no_grad():
    before = taught(**question).logits
extra = sum(parameter.numel() for parameter in dkplm.parameters())
with tempfile.TemporaryDirectory() as folder:
    taught.save_pretrained(folder)
    del dkplm, vectors, graph, batches
    served = BertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        after = served(**question).logits

# %% tags=["nbval-check-output"]
print("the keys of a plain BERT:", list(served.state_dict()) == list(model.state_dict()))
print("the same answer without graph, projection and decoder:", torch.equal(before, after))
print(f"weights that were needed in training only: {extra:,}")

# %% [markdown]
# ## 8 · So, can a graph be needed in training only?
#
# **Yes, as far as serving goes**: the model is a plain BERT, and answers without a graph. **What it keeps is another question.**
# Decoding from the names taught it rare facts that text states, 13 points more than the same steps of masked language modelling.
# Facts that only the graph has reached the model's states, where the decoder found them, but no blank did. A fact is useful to a
# language model if it is stored *where the question looks for it*. And the gain is one of a small world: `mini-dkplm-en` was trained so
# on the large one, where 1 500 steps meet 2 000 entities, and it knows no more of them than before, nor is it better down-stream
# ([numbers](../../docs/results.md#what-asking-for-facts-leaves-in-a-model)).
#
# ## Read on
#
# - Zhang et al. 2022, [*DKPLM: decomposable knowledge-enhanced pre-trained language model for natural language
#   understanding*](https://arxiv.org/abs/2112.01047).
# - Petroni et al. 2019, [*Language models as knowledge bases?*](https://arxiv.org/abs/1909.01066), where probing with blanks
#   comes from.
# - [`dkplm.py`](../../labkit/knowledge/dkplm.py) and [`probes.py`](../../labkit/knowledge/probes.py).
# - Next, [02/04](04_kgbert.ipynb): facts that stand beside the text, and gates that choose among them.
