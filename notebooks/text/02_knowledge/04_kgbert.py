# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Choosing which facts to read: which of the facts about a sentence should a model see?
#
# A model can be given facts of a [knowledge graph](../glossary.ipynb#knowledge-graph) beside a sentence. Then it need not have them by
# heart. But a graph has many facts about the things that a sentence names, and most of them do not matter here. KGBERT, the
# first stage of a system for few-shot tasks, learns a *gate* for each fact. How, without anybody saying which facts matter?
#
# **After this lesson you can** mix a graph's nodes with their neighbours; let a sentence read facts as far as their gates are
# open; train gates by what the facts are worth; and measure whether they choose well.
#
# **45 minutes.** Before it: [one body, many heads](../01_foundations/05_finetuning.ipynb) and
# [facts as a graph](01_knowledge_graphs.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="02/04")

# %% [markdown]
# `STEPS` is how long the training in section 6 lasts.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
STEPS = 100  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Facts help, and facts disturb
#
# The world of this lesson has 150 entities. The model has read nothing about them. So what does it say about one of them, (1) from
# the sentence alone, (2) with the graph's facts about the sentence's entities beside it, (3) with twelve facts about others added?

# %% tags=["nbval-check-output"]
from labkit.foundations.encoder import lm_logits
from labkit.foundations.pretraining import MaskedLM
from labkit.knowledge.dkplm import names_of
from labkit.knowledge.kgbert import KGBERT
from labkit.knowledge.probes import Study

model, tokenizer = labkit.load_model(MODEL, head="mlm")
study = Study()
graph, names = study.knowledge, names_of(tokenizer, study.knowledge)
open_ = KGBERT(model, MaskedLM(tokenizer), graph, study.said, names, gated=False)
SENTENCE = "ian moreau is employed by [MASK] [MASK] ."
for added in (None, 0, 12):
    batch = open_.read(model.eval(), [SENTENCE], planted=added or 0, keep=0 if added is None else None)
    blanks = (batch["input_ids"] == tokenizer.mask_token_id).nonzero(as_tuple=True)
    name = "the sentence alone" if added is None else f"{added} other facts added"
    print(f"{name}: {tokenizer.decode(lm_logits(model, batch, *blanks).argmax(-1))}")

# %% [markdown]
# The fact is in the graph, and from a few facts the model copies the right one. Nobody has taught it that for this world; it
# learned in its pre-training that texts say things again. Among many facts it takes a wrong one.
#
# So the question is which facts to let in. The facts beside the sentence are these:

# %% tags=["nbval-check-output"]
near = open_.read(model, [SENTENCE])["facts"][0].tolist()
for number in near:
    print(study.said[number])

# %% [markdown]
# ## 2 · A graph's nodes, mixed with their neighbours
#
# To judge a fact, the model needs a vector for it. An entity starts as the mean of its name's word vectors. This says how it is called,
# but not what it is. What it is, its neighbours say: a company is what has a seat and a founder. A
# [graph convolution](../glossary.ipynb#graph-convolution) (GCN) adds to each node a part of its neighbours. With two facts a–b and a–c:
#
# > Each node also counts itself, so the degrees are $d_a = 3$, $d_b = 2$, $d_c = 2$. Between two nodes the weight is
# > $1/\sqrt{d\, d'}$. Node $b$ becomes $\frac{1}{2} x_b + \frac{1}{\sqrt 6} x_a$. With $x_a = 6$, $x_b = 2$: $1 + 2.45 = 3.45$.
#
# With the adjacency matrix $A$ (how many facts join two nodes), the identity $I$ and the degrees $D$ of $A + I$ this is
#
# $$X' = D^{-\frac12} (A + I)\, D^{-\frac12} X .$$
#
# ### Exercise 1: the convolution
#
# *●●○ · 8 minutes*
#
# Nodes (n, d) and edges (m, 2) in, $X'$ out. Each edge is meant both ways. Two facts between the same entities are two edges.
#
# ```python
# aggregate(torch.tensor([[6.0], [2.0], [0.0]]), torch.tensor([[0, 1], [0, 2]]))  # [[2.82], [3.45], [2.45]]
# ```

# %%
import torch

from labkit.checks import kgbert as check


def aggregate(nodes, edges): ...  # your turn


aggregate = check.aggregate(aggregate)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Build $A$ as a matrix of zeros, and add 1 at `[a, b]` and at `[b, a]` for each edge.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.eye(len(nodes))` is $I$; the degrees are the sums of the rows of $A + I$.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `weights / (degree[:, None] * degree).sqrt()` scales by both ends.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def aggregate(nodes, edges):
#     weights = torch.eye(len(nodes))
#     for a, b in edges.tolist():
#         weights[a, b] += 1
#         weights[b, a] += 1
#     degree = weights.sum(1)
#     return weights / (degree[:, None] * degree).sqrt() @ nodes
# ```
# </details>

# %% tags=["nbval-check-output"]
small = aggregate(torch.tensor([[6.0], [2.0], [0.0]]), torch.tensor([[0, 1], [0, 2]]))
print("a, b, c:", [round(value, 2) for value in small[:, 0].tolist()])

# %% [markdown]
# ## 3 · A gate for each fact
#
# A fact's vector $t$ is made by a matrix from its head's node, its relation's vector and its tail's node. The sentence's vector $q$
# is the mean of the model's states, through another matrix. The more they agree, the wider is the gate:
#
# $$g_i = \sigma\Big(\frac{q \cdot t_i}{\sqrt d} + b\Big), \qquad \sigma(s) = \frac{1}{1 + e^{-s}} .$$
#
# > $q = (1, 1, 0, 0)$, $t = (3, 1, 5, 5)$, $d = 4$: the score is $4/2 = 2$, the gate $\sigma(2) = 0.88$ (with $b = 0$).
#
# This is no softmax. Facts do not compete: all gates may be open, or none.
#
# ### Exercise 2: the scores
#
# *●○○ · 4 minutes*
#
# Sentences (b, d) and the facts of each (b, k, d) in; the scores $q \cdot t_i / \sqrt d$ (b, k) out.
#
# ```python
# match(torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[[3.0, 1, 5, 5], [0, 0, 9, 9]]]))  # [[2.0, 0.0]]
# ```


# %%
def match(sentences, facts): ...  # your turn


match = check.match(match)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `sentences[:, None]` is (b, 1, d), which goes with (b, k, d).
# </details>
#
# <details><summary>Hint 2</summary>
#
# Multiply element by element, and sum over the last dimension.
# </details>
#
# <details><summary>Hint 3</summary>
#
# d is `sentences.shape[-1]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def match(sentences, facts):
#     return (sentences[:, None] * facts).sum(-1) / sentences.shape[-1] ** 0.5
# ```
# </details>
#
# ## 4 · Reading as far as the gate is open
#
# The facts stand behind the sentence as words. BERT's attention gives each word of the text a weight $e^{s}$ before it divides by
# the sum. KGBERT multiplies the weights of a fact's words by its gate: $g\, e^{s} = e^{s + \log g}$. So it is enough to add
# $\log g$ to the attention's scores, and BERT itself is not changed. Who may read whom:
#
# | reads ↓, is read → | sentence | fact 0 | fact 1 |
# |---|---|---|---|
# | sentence | 1 | $g_0$ | $g_1$ |
# | fact 0 | 1 | 1 | 0 |
# | fact 1 | 1 | 0 | 1 |
#
# > Two words and two facts of one word each, $g = (0.9, 0.1)$: the first row is $(1, 1, 0.9, 0.1)$, the last $(1, 1, 0, 1)$.
#
# ### Exercise 3: who reads whom
#
# *●●● · 9 minutes*
#
# `owner` (n,) says of each token whose it is: −1 the sentence's, i that of fact i. `gates` is (b, k). Out comes (b, n, n), a row
# per reader.
#
# ```python
# visible(torch.tensor([-1, 0, 1]), torch.tensor([[0.9, 0.1]]))  # [[[1, 0.9, 0.1], [1, 1, 0], [1, 0, 1]]]
# ```


# %%
def visible(owner, gates): ...  # your turn


visible = check.visible(visible)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `owner[:, None] == owner` is true where both tokens are of the same fact, or both of the sentence. `owner == -1` is true in the
# sentence's columns.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `gates[:, owner.clamp(min=0)]` is (b, n): the gate of each token's fact (any number for the sentence's tokens).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.where(free, 1.0, gate * reader)`: `free` is (n, n), `gate` (b, 1, n), `reader` (n, 1) is 1 in the sentence's rows, else 0.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def visible(owner, gates):
#     free = (owner[:, None] == owner) | (owner == -1)
#     reader = (owner == -1).float()[:, None]
#     return torch.where(free, 1.0, gates[:, None, owner.clamp(min=0)] * reader)
# ```
# </details>
#
# With all gates shut nothing of the facts may be left. Is the model then a plain BERT?

# %% tags=["nbval-check-output"]
own = KGBERT(model, MaskedLM(tokenizer), graph, study.said, names, sees=visible)
plain = tokenizer([SENTENCE], return_tensors="pt")
chosen = own.beside(dict(plain), [(near, [False] * len(near))])
with torch.no_grad():
    alone = model(**plain).logits
    for name, gates in (("all gates 0", torch.zeros(1, len(near))), ("all gates 1", torch.ones(1, len(near)))):
        both = model(**own.joined(chosen, gates)).logits[:, : alone.shape[1]]
        print(f"{name}: the sentence's logits equal plain BERT's: {torch.allclose(both, alone, atol=1e-4)}")

# %% [markdown]
# ## 5 · What a fact is worth
#
# Nobody labels the gates. But the model hides words of the sentence anyway, and its loss says how well it finds them. Read the sentence
# twice, without the facts and with them. The difference is the **knowledge gain**:
#
# $$\text{gain} = L_{\text{without}} - L_{\text{with}} .$$
#
# The gain shall grow. But a fact that does no harm could stay, and a thousand of them would. So each open gate has a price $\lambda$:
#
# $$L_{\text{gain}} = -\,\text{gain} + \lambda \sum_i g_i .$$
#
# > $L_{\text{without}} = 2.0$ nats, $L_{\text{with}} = 1.25$, gates 0.5, 0.25 and 0, $\lambda = 0.1$: $-0.75 + 0.1 \cdot 0.75 = -0.675$.
#
# A gate opens where its fact lowers the loss by more than $\lambda$, and shuts where it does not. There is one trap: the gain also
# grows if the model becomes *worse* without facts.
#
# ### Exercise 4: the gain
#
# *●●○ · 5 minutes*
#
# Two losses, the gates (b, k) of b sentences, the price in; one number out. Sum a sentence's gates, and take the mean over the
# sentences. Mind the trap: nothing should be learned through $L_{\text{without}}$ here.
#
# ```python
# gain(torch.tensor(2.0), torch.tensor(1.25), torch.tensor([[0.5, 0.25, 0.0]]), 0.1)  # −0.675
# ```


# %%
def gain(without, given, gates, price): ...  # your turn


gain = check.gain(gain)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Minus the gain is `given - without`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `without.detach()` has the same value, and no gradient goes through it.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `gates.sum(1).mean()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def gain(without, given, gates, price):
#     return given - without.detach() + price * gates.sum(1).mean()
# ```
# </details>
#
# There are three more tasks. All of them use that the corpus is aligned: a sentence, with the facts that it states (*positive*) and
# others (*negative*). A fact counts as stated if both of its entities are mentioned, the rule of
# [distant supervision](01_knowledge_graphs.ipynb).
#
# - **Mention detection**: of each word, does it belong to a mention of an entity?
# - **Joint masking**: words of the facts are hidden too, and told from fact and sentence.
# - **Margin magnify**: a stated fact's score $s^+$ should be above that of another fact, $s^-$, by a margin $m$. It pays
#   $[m - s^+ + s^-]_+$, where $[x]_+$ is $x$ if it is above 0, else 0.
#
# > $m = 1$, one stated fact with the score 2, two others with 0.5 and 1.75: the pairs pay $[1 - 2 + 0.5]_+ = 0$ and
# > $[1 - 2 + 1.75]_+ = 0.75$; the mean is 0.375.
#
# ### Exercise 5: the margin
#
# *●●● · 9 minutes*
#
# Scores (b, k), `related` and `real` (b, k) of True and False, and the margin in. Pairs are of one sentence; where `real` is False
# there is no fact. Out comes the mean over all pairs, 0 if there is none.
#
# ```python
# margin(torch.tensor([[2.0, 0.5, 1.75, 7.0]]), torch.tensor([[True, False, False, False]]),
#        torch.tensor([[True, True, True, False]]), 1.0)  # 0.375
# ```


# %%
def margin(scores, related, real, margin): ...  # your turn


margin = check.margin(margin)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `scores[:, :, None]` and `scores[:, None]` give all pairs of a sentence's facts, (b, k, k).
# </details>
#
# <details><summary>Hint 2</summary>
#
# The pairs that count: `(related & real)[:, :, None] & (real & ~related)[:, None]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.clamp(min=0)` is $[\,]_+$. Sum over the pairs that count, and divide by how many there are, at least 1.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def margin(scores, related, real, margin):
#     apart = (margin - scores[:, :, None] + scores[:, None]).clamp(min=0)
#     pairs = (related & real)[:, :, None] & (real & ~related)[:, None]
#     return (apart * pairs).sum() / pairs.sum().clamp(min=1)
# ```
# </details>
#
# ## 6 · A slice of training
#
# The model goes on reading texts of the small world, with up to five facts beside each: stated ones, others about its
# entities, and two *planted* ones about nobody in it. The gates are drawn: a gate of 0.8 is wide open in most steps and
# nearly shut in the others, so that the model cannot make up for a half-open gate by larger scores in attention.
#
# The whole loss is $L_{\text{MLM}} + L_{\text{gain}}$ and the three tasks. Your five functions are in it.
#
# **Predict**: before training all gates stand near 0.73. Where will they be afterwards, for a fact that fills a blank, for another
# one about the same entity, for a planted one?

# %%
from labkit.foundations.pretraining import frequency_weights, token_counts, tokenize_corpus
from labkit.knowledge.dkplm import linked
from labkit.training import Batches

rows = tokenize_corpus(study.texts(16 * STEPS), tokenizer, 64)
counts = token_counts(rows, len(tokenizer), tokenizer.all_special_ids)
masked = MaskedLM(tokenizer, token_probabilities=frequency_weights(counts, mean=0.3))
torch.manual_seed(0)
own = KGBERT(model, masked, graph, study.said, names, gcn=aggregate, fit=match, sees=visible, gain=gain, apart=margin)
texts = linked(rows, names)
batches = Batches(texts, own.collate, 16, seed=0, lengths=rows.lengths)
history = labkit.fit(model, own.loss, batches, steps=STEPS, lr=2e-3, seed=0, progress=lab.progress)

# %% [markdown]
# Now look at your prediction. The blanks are about facts that stand in **no text**, only in the graph; with four planted facts each:

# %%
from labkit.knowledge.probes import blanked

asked = [probe for probe in study.probes if probe.kind == "graph"][::2]
blanks = [blanked(study, probe, 2, tokenizer.mask_token) for probe in asked]
read, gates = own.read(model.eval(), blanks, planted=4), {"itself": [], "about": [], "others": []}
for probe, facts, some in zip(asked, read["facts"].tolist(), read["gates"].tolist(), strict=True):
    for number, gate in zip(facts, some, strict=True):
        if number >= 0:
            gates[study.bearing(probe.fact, number)].append(gate)
for kind, name in (("itself", "fills the blank"), ("about", "about the same entity"), ("others", "planted")):
    print(f"{name:<22} mean gate {sum(gates[kind]) / len(gates[kind]):.2f} ({len(gates[kind])} facts)")

# %% [markdown]
# How well do the gates tell the three kinds apart? The [AUC](../glossary.ipynb#auc) is a number for that: of a fact that fills the blank and
# another one, how often has the first the wider gate? 50 % is a coin, 100 % never wrong.

# %% tags=["nbval-check-output"]
from sklearn.metrics import roc_auc_score

for other in ("about", "others"):
    labels = [1] * len(gates["itself"]) + [0] * len(gates[other])
    value = roc_auc_score(labels, gates["itself"] + gates[other])
    print(f"fills the blank, or {other}: AUC above 65 %: {value > 0.65}")

# %% [markdown]
# The gates rank the facts well, but after so few steps hardly any is shut. So use their order: read the three facts with the widest
# gates, and none of the others. The same blanks, with eight planted facts each, filled from all facts and from three:

# %%
import functools

from labkit.knowledge.probes import ranks, scores

for keep in (None, 3):
    beside = functools.partial(own.read, model, planted=8, keep=keep)
    found = scores(model, tokenizer, study, asked, collate=beside)
    print(f"{keep or 'all'} facts: {(ranks(study, asked, found) == 1).mean():.0%} of the blanks are filled rightly")

# %% [markdown]
# Choose a sentence, or type one, with `[MASK]` for each word of a blank. Then move *planted* down to 0 and up again: when does the
# blank become wrong, and how wide is the gate of the fact that it takes? Change the sentence, so that it asks for something else.
# Which gate follows?

# %%
from labkit.widgets import fact_gates

fact_gates(own, model, [SENTENCE, *blanks[:24:4]])

# %% [markdown]
# ## 7 · The whole comparison
#
# The same with 160 steps, and beside it plain masked language modelling ([all
# numbers](../../docs/results.md#which-facts-to-read)). First the picture: facts that only the graph has, with more and more
# facts about others added. All lines are one trained model.

# %%
from labkit.report.pages import page

page("kgbert").report.lines("planted", label="facts about others, added to those about the sentence's entities",
                            title="Blanks filled rightly")  # fmt: skip

# %% [markdown]
# All lines fall: what is added disturbs, however it is read. One seed, 94 blanks: differences below 10 points say nothing.
#
# Now the models. *Stated*: blanks about facts that text states, filled without any facts beside them. *Graph, beside*: as in the
# picture, with eight planted facts. *Attributes*: which of 26 relations does a sentence state? A linear reader of the model's
# states learns it from two sentences of each, and is asked in other wordings. **Predict**: whose states tell attributes apart
# better when no fact is beside the sentence, those of masked language modelling or of KGBERT? And with facts beside it?

# %% tags=["nbval-check-output"]
from labkit.report import Table

COLUMNS = ("stated", "graph, beside", "AUC, same entity", "AUC, planted", "attributes, alone", "attributes, beside")
WAYS = ("mini-bert-en", "masked language modelling", "KGBERT", "KGBERT, all gates open", "KGBERT without the margin",
        "KGBERT without joint masking", "KGBERT without mention detection")  # fmt: skip
cells = {(row.method, row.task): f"{100 * row.value:.0f}" for row in page("kgbert").report.rows}
lines = [(way, *(cells.get((way, column), "") for column in COLUMNS)) for way in WAYS if (way, "stated") in cells]
Table(("%", *COLUMNS), tuple(lines))

# %% [markdown]
# - **Attributes, alone**: KGBERT is far ahead of masked language modelling, though neither reads a fact here. Look at the line without
#   the margin: there most of the gain is gone. The margin asks which facts a sentence states, so the sentence's states come to say
#   which relation is meant. With all gates open the gain stays, so it is not the gates that teach this. The article reports 2 points for
#   attribute recognition, on other texts.
# - **AUC**: without the margin the gates cannot tell an entity's facts from one another (a coin has 50), and facts about others less
#   well. The knowledge gain alone is too weak a teacher for so few steps.
# - **Graph, beside**: with eight planted facts no way is ahead of open gates beyond the noise, because the gates rank facts and shut few.
# - **Attributes, beside**: with all facts beside the sentence the same reader does worse, probably because the states then also carry
#   relations that the sentence does not state.
# - **Stated**, and leaving out joint masking or mention detection: within the noise of a few points. In so small a table of one seed,
#   neither of these two tasks shows a use.

# %% tags=["nbval-check-output"]
ahead = float(cells["KGBERT", "attributes, alone"]) - float(cells["masked language modelling", "attributes, alone"])
print("attributes, alone: KGBERT is more than 8 points ahead of masked language modelling:", ahead > 8)
margin_gives = float(cells["KGBERT", "attributes, alone"]) - float(cells["KGBERT without the margin", "attributes, alone"])
print("and more than 8 points ahead of itself without the margin:", margin_gives > 8)

# %% [markdown]
# ## 8 · So, which facts should the model read?
#
# **Those that lower its loss by more than they cost.** The loss with facts and without them says what they are worth, and gates can be
# trained by the difference. In so short a training that is not enough: the gates learn most from a second teacher, the margin, which
# knows from distant supervision what a sentence states. Then they rank facts well but shut few of them, so one reads the few with the
# widest gates. And the choosing teaches the model something that stays when no fact is there: what a sentence is about.
#
# ## Read on
#
# - Alibaba Cloud PAI and DAMO Academy 2021, the article on their first place in FewCLUE, where KGBERT is described in words; the
#   formulas here are ours.
# - Kipf & Welling 2017, [*Semi-supervised classification with graph convolutional networks*](https://arxiv.org/abs/1609.02907).
# - Liu et al. 2020, [*K-BERT*](https://arxiv.org/abs/1909.07606), where facts stand beside a sentence and are seen by some words only.
# - [`kgbert.py`](../../labkit/knowledge/kgbert.py).
# - Next, [02/05](05_retrieval.ipynb): passages instead of facts, and how to find them.
