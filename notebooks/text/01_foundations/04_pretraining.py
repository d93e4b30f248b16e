# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning from raw text: what should a model be asked?
#
# Text without labels is endless. To learn from it, a model must be *asked* something whose answer stands in the text
# itself. GPT, BERT, ELECTRA and T5 differ less in their networks than in this question. Which questions are there, and
# what does a model learn from each?
#
# **After this lesson you can** write the objectives of BERT, GPT, ELECTRA and T5 as functions from text to inputs and
# targets, and train with them; say what RoBERTa, PanGu-α and TLM change in them; say for each how many tokens are asked
# for, what the model may look at, and what that costs.
#
# **45 minutes.** Before it: [the Transformer](03_transformer.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="01/04")

# %%
TEXT = "the film was long but we found the actor wonderful . kevin told us a good story on saturday ."  # @param {type:"string"}
STEPS = 60  # @param {type:"integer"}

# %% [markdown]
# ## 1 · One text, many questions
#
# Two small models have read the same text, some hundred thousand documents that the course's world wrote. One was asked
# for hidden words (a BERT), the other for the next word (a GPT). Ask each its own question:

# %%
import torch

bert, tokenizer = labkit.load_model("mini-bert-en")
gpt, causal_tokenizer = labkit.load_model("mini-gpt-en")
blank = tokenizer("the film was long but the [MASK] was wonderful .", return_tensors="pt")
start = causal_tokenizer("the film was long but", return_tensors="pt", return_token_type_ids=False)
with torch.no_grad():
    place = blank["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    likely = bert(**blank).logits[0, place].topk(5).indices.tolist()
    written = gpt.generate(**start, max_new_tokens=12, do_sample=False)
print("BERT, in the blank:", ", ".join(tokenizer.convert_ids_to_tokens(likely)))
print("GPT goes on:", causal_tokenizer.decode(written[0], skip_special_tokens=True))

# %% [markdown]
# Nobody labelled anything. But to answer its question well, BERT had to learn which words name things that people judge, and
# GPT that after "long but" something good is said. Here is some of the text, cut into [tokens](../glossary.ipynb#token):

# %% tags=["nbval-check-output"]
from labkit.foundations.pretraining import tokenize_corpus, with_sentinels
from labkit.world import World, corpus

texts = corpus(World(), "en", 4000)
print(*texts[:3], sep="\n")
rows = tokenize_corpus(texts, tokenizer, 64)
tokens = sum(len(row["input_ids"]) for row in rows)
print(len(rows), "texts,", tokens, "tokens,", len(tokenizer), "in the vocabulary")

# %% [markdown]
# Move the slider for the share of hidden tokens, and the one for the seed. For each objective, find out: which tokens is
# the model *asked about*, and which may it *look at* while answering?

# %%
from labkit.widgets import masking_explorer

masking_explorer(tokenizer, TEXT)

# %% [markdown]
# ## 2 · BERT: fill the gaps
#
# Choose 15 % of the tokens at random, the set $C$. Hide them, and ask for them, from both sides at once:
#
# $$L_{\text{MLM}} = -\frac{1}{|C|} \sum_{t \in C} \log p\big(x_t \mid \tilde x\big), \qquad \tilde x = x \text{ with } C \text{ hidden.}$$
#
# Hidden how? If every chosen token became `[MASK]`, the model would be asked at `[MASK]` only, a token that no real text
# contains, and the states of all other tokens need not hold anything. So of the chosen tokens 80 % become `[MASK]`, 10 % a
# random token and 10 % stay as they are. **All** of them are asked for. Now any token may be asked for, so each state must
# hold what the word is in its context. (Devlin et al. 2019, [*BERT*](https://arxiv.org/abs/1810.04805), §3.1.)
#
# ### Exercise 1: 80 / 10 / 10
#
# *●●○ · 10 minutes*
#
# For one text `ids` $(\text{tokens},)$: `chosen` says which tokens are in $C$; `fate` is a random number in $[0, 1)$ and
# `drawn` a random token for every place. Return `inputs` (what the model reads) and `labels` (the original token where one
# is asked for, −100 elsewhere: the value that PyTorch's cross-entropy leaves out). Leave the arguments as they are.
#
# `ids = [11, 12, 13, 14]`, `chosen = [True, True, True, False]`, `fate = [0.1, 0.85, 0.95, 0.2]`, `drawn = [31, 32, 33, 34]`,
# `mask_id = 4` → `inputs = [4, 32, 13, 14]`, `labels = [11, 12, 13, -100]`

# %%
import numpy as np

from labkit.checks import pretraining as check


def bert_masks(ids, chosen, fate, drawn, mask_id): ...  # your turn


bert_masks = check.bert_masks(bert_masks)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with `inputs = ids.copy()`: without the copy you overwrite the answers.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Three cases among the chosen: `fate < 0.8`, `0.8 <= fate < 0.9`, and the rest. Combine them with `chosen &`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The labels do not depend on `fate`: `np.where(chosen, ids, -100)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bert_masks(ids, chosen, fate, drawn, mask_id):
#     inputs = ids.copy()
#     inputs[chosen & (fate < 0.8)] = mask_id
#     random = chosen & (fate >= 0.8) & (fate < 0.9)
#     inputs[random] = drawn[random]
#     return inputs, np.where(chosen, ids, -100)
# ```
# </details>
#
# Here it is on `TEXT`. Run the cell again with another seed: which tokens look untouched and are asked for all the same?

# %%
rng, text_ids = np.random.default_rng(35), np.array(tokenizer(TEXT)["input_ids"])
chosen, fate = rng.random(len(text_ids)) < 0.15, rng.random(len(text_ids))
drawn = rng.integers(len(tokenizer), size=len(text_ids))
inputs, labels = (np.asarray(part) for part in bert_masks(text_ids, chosen, fate, drawn, tokenizer.mask_token_id))
print("the model reads:", tokenizer.decode(inputs))
print("it is asked for:", ", ".join(tokenizer.convert_ids_to_tokens(labels[labels != -100].tolist())))

# %% [markdown]
# In labkit the same lines are `mask_tokens`, and `MaskedLM` makes batches of them. Are the shares right? Count:

# %% tags=["nbval-check-output"]
from labkit.foundations.pretraining import IGNORE, MaskedLM

mlm = MaskedLM(tokenizer)
batch = mlm.collate(rows[:2000], np.random.default_rng(0))
original = MaskedLM(tokenizer, probability=0.0).collate(rows[:2000])["input_ids"]
asked = batch["labels"] != IGNORE
read = batch["input_ids"][asked]
kept, masked = read == original[asked], read == tokenizer.mask_token_id
ordinary = ~torch.isin(original, torch.tensor(tokenizer.all_special_ids))
print(f"asked for: {100 * asked.sum() / ordinary.sum():.1f} % of the ordinary tokens")
print(f"of these: {100 * masked.float().mean():.1f} % [MASK], {100 * kept.float().mean():.1f} % kept")

# %% [markdown]
# **RoBERTa** changed one thing here. BERT's masks were drawn once, when the data were prepared, so that the model saw the
# same gaps in the same text epoch after epoch. RoBERTa draws new ones each time it reads (*dynamic* masking, Liu et al.
# 2019, §4.1):

# %% tags=["nbval-check-output"]
for name, objective in (("static", MaskedLM(tokenizer, fixed_masks=1)), ("dynamic", mlm)):
    first, second = (objective.collate(rows[:50], np.random.default_rng(epoch))["labels"] for epoch in (1, 2))
    print(f"{name}: the second epoch asks for the same tokens: {bool((first == second).all())}")

# %% [markdown]
# **Next sentence.** BERT was also shown two stretches of text, and asked whether the second really followed the first (half
# of the time it was a random one). RoBERTa left this out and lost nothing, perhaps because a change of topic is too easy to
# tell. It is `NextSentence` here, and a row in the picture below.
#
# ## 3 · GPT: what comes next?
#
# Ask at *every* position for the next token, seeing only what stands before it:
#
# $$L_{\text{LM}} = -\frac{1}{n-1} \sum_{t=1}^{n-1} \log p\big(x_{t+1} \mid x_1, \dots, x_t\big).$$
#
# One pass through the network answers all $n - 1$ questions, because the attention mask keeps position $t$ from looking
# beyond $t$. Nothing needs to be hidden, and nearly every token is asked for. In exchange, the state of a word holds nothing
# of what follows it. (Radford et al. 2018, §3.1.)
#
# ### Exercise 2: the shift
#
# *●●○ · 10 minutes*
#
# The model's `logits` $(\text{batch}, \text{tokens}, \text{vocabulary})$ for the text `ids` $(\text{batch},
# \text{tokens})$ in; the mean loss out, a tensor of a single number, through which the model can learn.
#
# `logits = [[[0, 1], [2, 0], [5, 5]]]`, `ids = [[0, 1, 1]]` → `1.220`,
#
# because the first position gives token 1 the probability $e^1 / (e^0 + e^1) = 0.731$, the second one gives it
# $e^0 / (e^2 + e^0) = 0.119$, and $-\tfrac12 (\ln 0.731 + \ln 0.119) = 1.220$. The last position is not asked.


# %%
def next_token_loss(logits, ids): ...  # your turn


next_token_loss = check.next_token_loss(next_token_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The logits at position $t$ are the answer for token $t + 1$. Which position has no question? Which token is never asked for?
# </details>
#
# <details><summary>Hint 2</summary>
#
# Answers: `logits[:, :-1]`. Wanted: `ids[:, 1:]`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.nn.functional.cross_entropy` wants (n, classes) and (n,): `.flatten(0, 1)` and `.flatten()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def next_token_loss(logits, ids):
#     answers, wanted = logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
#     return torch.nn.functional.cross_entropy(answers, wanted)
# ```
# </details>
#
# A model that knows nothing gives each of the $V$ tokens the probability $1/V$, so its loss is $\ln V$. An untrained GPT is
# close to that, and labkit's `CausalLM` computes the same number:

# %% tags=["nbval-check-output"]
from labkit.foundations.pretraining import CausalLM, micro_model

gpt, causal = micro_model("gpt", tokenizer).eval(), CausalLM(tokenizer)
batch = causal.collate(rows[:1])
mine = next_token_loss(gpt(input_ids=batch["input_ids"]).logits, batch["input_ids"])
print(f"untrained: {mine.item():.1f}, ln V: {np.log(len(tokenizer)):.1f}")
print("the same as CausalLM's loss:", torch.allclose(mine, causal.loss(gpt, batch)))

# %% [markdown]
# Is the future really out of sight? We change token 5 of a text. **Predict**: which of the answers move in GPT, and which in
# BERT?

# %% tags=["nbval-check-output"]
for kind, name in (("gpt", "GPT"), ("query", "PanGu-α"), ("bert", "BERT")):
    model = micro_model(kind, tokenizer).eval()
    ids = torch.from_numpy(rows[0]["input_ids"])[None].long()
    changed = ids.clone()
    changed[0, 5] = tokenizer.convert_tokens_to_ids("film")
    with torch.no_grad():
        difference = (model(input_ids=ids).logits - model(input_ids=changed).logits).abs().amax(-1)[0]
    places = (difference > 1e-6).nonzero().flatten().tolist()
    print(f"{name:<8} {len(places)} of {len(difference)} answers move, from position {places[0]} on")

# %% [markdown]
# **PanGu-α**, a Chinese model of 200 billion parameters, asks the same question in another way. In GPT the state of token
# $t$ has two jobs: to represent token $t$ and to predict token $t + 1$. PanGu-α puts a *query layer* on top: one more
# attention layer in which the query is not the state of token $t$ but the **embedding of position $t + 1$**: "what stands
# at place $t + 1$?" Keys and values are the states up to $t$ (Zeng et al. 2021,
# [*PanGu-α*](https://arxiv.org/abs/2104.12369), §2.2). As you have just seen, it does not see the future either.
#
# ## 4 · ELECTRA: which words are not original?
#
# BERT learns from 15 % of the tokens it reads; ELECTRA from all of them. A small *generator* fills BERT's gaps, by
# sampling. The model itself, the *discriminator*, reads the result and says of **every** token whether it is the original
# ($y_t = 0$) or was replaced ($y_t = 1$):
#
# $$L = L_{\text{MLM}}(\text{generator}) + \lambda\, \frac{1}{n} \sum_{t=1}^{n} \mathrm{BCE}\big(D(\hat x)_t,\, y_t\big),
# \qquad \lambda = 50 .$$
#
# BCE is the binary cross-entropy and $\hat x$ the text with the generator's samples. No gradient flows back through the
# sampling: the generator is not trained to deceive, only to fill gaps. As it gets better at that, its samples get harder to
# tell from the original. (Clark et al. 2020, [*ELECTRA*](https://arxiv.org/abs/2003.10555), §2.)
#
# ### Exercise 3: the labels of the discriminator
#
# *●○○ · 5 minutes*
#
# `ids` $(\text{tokens},)$, `where` $(\text{tokens},)$ true at the gaps, and the generator's `samples` for the gaps, in
# order. Return what the discriminator reads and its labels, 0 or 1 for every token. Leave `ids` as it is. Beware: sometimes
# the generator guesses right.
#
# `ids = [21, 22, 23, 24]`, `where = [False, True, False, True]`, `samples = [40, 24]` → `inputs = [21, 40, 23, 24]`,
# `labels = [0, 1, 0, 0]`


# %%
def replaced_tokens(ids, where, samples): ...  # your turn


replaced_tokens = check.replaced_tokens(replaced_tokens)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Copy `ids`, then write the samples at the places where `where` is true.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Boolean indexing writes in order: `inputs[where] = samples`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A token is *replaced* if it differs from the original. Do not ask `where`; compare.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def replaced_tokens(ids, where, samples):
#     inputs = ids.copy()
#     inputs[where] = samples
#     return inputs, (inputs != ids).astype(int)
# ```
# </details>
#
# Let `micro-bert-en` be the generator, and hide every fourth token of `TEXT`. Which of its guesses are right?

# %%
generator, _ = labkit.load_model("micro-bert-en", head="mlm")
where = np.arange(len(text_ids)) % 4 == 3
masked = torch.from_numpy(np.where(where, tokenizer.mask_token_id, text_ids))[None]
with torch.no_grad():
    chances = generator(input_ids=masked).logits[0, torch.from_numpy(where)].softmax(-1)
samples = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(0))[:, 0].numpy()
inputs, labels = (np.asarray(part) for part in replaced_tokens(text_ids, where, samples))
for before, after, label in zip(text_ids[where], inputs[where], labels[where], strict=True):
    words = tokenizer.convert_ids_to_tokens([int(before), int(after)])
    print(f"{words[0]:<10} → {words[1]:<10} label {int(label)}")

# %% [markdown]
# Generator and discriminator are two networks that share their token embeddings. Unfold the tree: which part is thrown away
# after pre-training?

# %%
from labkit.widgets import model_tree

model_tree(micro_model("electra", tokenizer), depth=2)

# %% [markdown]
# ## 5 · T5: write what is missing
#
# T5 has an encoder and a decoder, and every task is text in, text out. Its pre-training hides *spans*. Each is replaced
# by one **sentinel**, and the target lists the spans behind their sentinels, with one more sentinel to close:
#
# | | |
# |---|---|
# | text | `thank you for inviting me to your party last week` |
# | inputs | `thank you <0> me to your party <1> week` |
# | targets | `<0> for inviting <1> last <2>` |
#
# Inputs and targets together are the text, with no token twice: both are short, so a step is cheap. (Raffel et al. 2020,
# [*T5*](https://arxiv.org/abs/1910.10683), §3.1.4: 15 % of the tokens, spans of 3 on average.)
#
# ### Exercise 4: spans and sentinels
#
# *●●○ · 15 minutes*
#
# `ids` and `hidden` are lists with one entry per token, `sentinels` a list that is long enough. Return `inputs` and `targets`
# as lists, and leave the three lists as they are. Hidden tokens that stand side by side are one span.
#
# `ids = [11, 12, 13, 14]`, `hidden = [False, True, True, False]`, `sentinels = [90, 91, 92]` → `inputs = [11, 90, 14]`,
# `targets = [90, 12, 13, 91]`


# %%
def corrupt(ids, hidden, sentinels): ...  # your turn


corrupt = check.corrupt(corrupt)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Walk along the text once. A span *begins* where a token is hidden and the one before it is not.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Keep a counter of spans. Where a span begins, append `sentinels[counter]` to *both* lists.
# </details>
#
# <details><summary>Hint 3</summary>
#
# A hidden token goes to the targets, a visible one to the inputs. At the end, append the next sentinel to the targets.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def corrupt(ids, hidden, sentinels):
#     inputs, targets, spans, before = [], [], 0, False
#     for token, gone in zip(ids, hidden):
#         if gone and not before:
#             inputs.append(sentinels[spans])
#             targets.append(sentinels[spans])
#             spans += 1
#         (targets if gone else inputs).append(token)
#         before = gone
#     return inputs, targets + [sentinels[spans]]
# ```
# </details>
#
# Nothing is lost: put each span back in the place of its sentinel, and the text is there again.

# %% tags=["nbval-check-output"]
from labkit.foundations.pretraining import restore_spans, sentinels_of, span_mask

marks, rng, exact = sentinels_of(with_sentinels(tokenizer)), np.random.default_rng(0), []
for row in rows[:1000]:
    ids = np.array(row["input_ids"])
    inputs, targets = corrupt(ids.tolist(), span_mask(len(ids), rng).tolist(), marks)
    exact.append(np.array_equal(restore_spans(np.array(inputs), np.array(targets), marks), ids))
print(f"texts that come back exactly from inputs and targets: {sum(exact)} of {len(exact)}")

# %% [markdown]
# **TLM** (translation language modelling, Lample & Conneau 2019, §3.3) is BERT's question on *two* sentences at once, a
# text and its translation, with gaps in both. To fill a gap in one language the model may look for the answer in the other:
# this is what brings the languages of XLM together. It needs translations, so it is measured apart, at the end.
#
# ## 6 · Training with your objectives
#
# One step is missing: BERT's answers must become a number to learn from.
#
# ### Exercise 5: the loss at the gaps
#
# *●●○ · 8 minutes*
#
# The model's `logits` $(\text{batch}, \text{tokens}, \text{vocabulary})$ and the `labels` $(\text{batch}, \text{tokens})$ of
# exercise 1 in; out the mean of $-\log p(\text{label})$ over **all places of the batch that are asked for**, a tensor of a
# single number. Where nothing at all is asked for, return 0.
#
# `logits = [[[0, 1], [2, 0], [5, 5]]]`, `labels = [[1, -100, 0]]` → `0.503`,
#
# because the first place gives token 1 the probability 0.731, the last one gives token 0 the probability 0.5, and
# $-\tfrac12 (\ln 0.731 + \ln 0.5) = 0.503$. The place in the middle is not asked for.


# %%
def gap_loss(logits, labels): ...  # your turn


gap_loss = check.gap_loss(gap_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `asked = labels != -100` is true where something is asked for. `logits[asked]` are the answers there, (gaps, vocabulary).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.nn.functional.cross_entropy(logits[asked], labels[asked])` is their mean.
# </details>
#
# <details><summary>Hint 3</summary>
#
# The mean of nothing is NaN. `logits.sum() * 0` is a zero through which a gradient can flow.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def gap_loss(logits, labels):
#     asked = labels != -100
#     if not asked.any():
#         return logits.sum() * 0
#     return torch.nn.functional.cross_entropy(logits[asked], labels[asked])
# ```
# </details>
#
# Now train a small BERT and a small GPT (two layers, $d = 128$) with your functions. `bert_masks` makes new gaps for every
# batch; `gap_loss` and `next_token_loss` score the answers. The texts are cut to 24 tokens, so that none needs padding.
# ELECTRA and T5 take labkit's objectives, which do to batches what yours do to one text.

# %% tags=["idea"]
from labkit.foundations.pretraining import ReplacedTokens, SpanCorruption
from labkit.training import Batches

LENGTH = 24
long_rows = [row for row in rows if len(row["input_ids"]) >= LENGTH]


def whole(rows, rng):
    return {"input_ids": torch.from_numpy(np.stack([row["input_ids"][:LENGTH] for row in rows])).long()}


def with_gaps(rows, rng):
    made = []
    for ids in whole(rows, rng)["input_ids"].numpy():
        chosen, fate = rng.random(LENGTH) < 0.15, rng.random(LENGTH)
        made.append(bert_masks(ids, chosen, fate, rng.integers(len(tokenizer), size=LENGTH), tokenizer.mask_token_id))
    inputs, labels = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return {"input_ids": inputs, "labels": labels}


def masked_objective(model, batch):
    return gap_loss(model(input_ids=batch["input_ids"]).logits, batch["labels"])


def causal_objective(model, batch):
    return next_token_loss(model(input_ids=batch["input_ids"]).logits, batch["input_ids"])


spans = with_sentinels(tokenizer)
electra, t5 = ReplacedTokens(tokenizer, max_length=LENGTH), SpanCorruption(spans, max_length=LENGTH)
setups = {
    "BERT, yours": ("bert", with_gaps, masked_objective),
    "GPT, yours": ("gpt", whole, causal_objective),
    "ELECTRA": ("electra", electra.collate, electra.loss),
    "T5": ("t5", t5.collate, t5.loss),
}
runs = {}
for name, (kind, collate, objective) in setups.items():
    model = micro_model(kind, spans if kind == "t5" else tokenizer)
    batches = Batches(long_rows, collate, 32, seed=0)
    runs[name] = labkit.fit(model, objective, batches, steps=STEPS, lr=3e-3, progress=lab.progress)

# %%
from labkit.widgets import training_curve

training_curve(runs, smoothing=0.5, log=True)

# %% [markdown]
# Which is best? **This picture cannot say.** The losses answer different questions: naming one token of the whole
# vocabulary is harder than saying "original" or "replaced", and ELECTRA's loss is multiplied by 50. But where they begin can
# be computed. The first answers of BERT, GPT and ELECTRA are nearly even, so their losses begin where a model that knows
# nothing begins: with $V$ tokens, at $\ln V$; with ELECTRA, at $\ln V + 50 \ln 2$. T5's first answers are less even, so it
# begins a little above $\ln V$.

# %% tags=["nbval-check-output"]
even = np.log(len(tokenizer))
for name, wanted in (("BERT, yours", even), ("GPT, yours", even), ("ELECTRA", even + 50 * np.log(2))):
    near = bool(abs(runs[name].losses[0] / wanted - 1) < 0.05)
    print(f"{name:<12} begins within 5 % of a model that knows nothing: {near}")
learned = [np.mean(run.losses[-5:]) < 0.95 * run.losses[0] for run in runs.values()]
print("all have learned something:", all(learned))

# %% [markdown]
# ## 7 · Which question teaches most?
#
# What *can* be compared is what the models are good for afterwards. Each objective got the same number of arithmetic
# operations (a decoder, a generator, an output layer at every token are not free). Then a fresh head and the model were trained on
# 500 labelled reviews per class ([all numbers](../../docs/results.md#pre-training-objectives)). The diamonds are the GLUE scores
# of small models of equal size and compute in ELECTRA's Table 1: compare the order, not the values. **Predict**: which objectives
# are ahead of a model that was not pre-trained at all?

# %%
from labkit.report.pages import page

measured = page("pretraining").report
measured.plot(reference=page("pretraining").paper, task="world/reviews", title="1 000 labelled reviews", ranked=True)

# %% tags=["nbval-check-output"]
value = {(row.method, row.task): 100 * row.value for row in measured.rows}
noise = 200 * (2 * 0.25 / 1000) ** 0.5  # two standard errors of a difference, of 1 000 test reviews
untrained = value["no pre-training", "world/reviews"]
for method in dict.fromkeys(row.method for row in measured.rows if row.task == "world/reviews"):
    difference = value[method, "world/reviews"] - untrained
    side = "ahead" if difference > noise else "behind" if difference < -noise else "no difference beyond noise"
    print(f"{method:<48} {side}")
for method in ("MLM 15 %, two languages", "TLM 15 %"):
    print(f"{method:<48} finds {value[method, 'world/parallel']:.1f} % of the translations")

# %% [markdown]
# (For TLM: of 200 sentences in the other language, is the nearest one the translation? Guessing finds 0.5 %.)
#
# **Read the accuracies with suspicion.** There is one pre-training of each, and none of these models reads more than a quarter of
# the tokens that `micro-bert-en` reads. So the picture says which objective learns *first*, not which is best in the end:
#
# - **BERT's masks** teach something that reviews need, and **hiding rare words more often** teaches a little more of it: polar words
#   are rare, so there are fewer questions about "the" and more about "dreadful". The course's own models are trained so, and
#   half of their batches go further: they ask for words that judge, and for hardly anything else
#   ([`selective.py`](../../labkit/foundations/pretraining/selective.py)).
# - **GPT and PanGu-α** ask for nearly every token; but an output layer at every token costs arithmetic, so they have read less than
#   half as much text. **Next sentence** costs arithmetic too, and brings nothing that reviews can use.
# - **ELECTRA and T5** are behind a model that knows nothing. Their questions are hard to start with: ELECTRA's model cannot learn what
#   a likely word is before its generator knows, and T5's decoder must first learn to look at the encoder. With twice the
#   arithmetic ELECTRA's generator knows far more words (its loss falls from 4.2 to 2.3), and reviews are still no easier. Both papers are about runs thousands of times as long; this
#   picture neither confirms nor refutes them. (Here the generator is as wide as the model; the paper's is narrower.)
# - **TLM** finds few translations. But a model that reads the same text one sentence at a time finds hardly more than guessing
#   does, so it is the *pair* of sentences that makes the difference.
#
# ## Read on
#
# - The papers linked above; Liu et al. 2019, [*RoBERTa*](https://arxiv.org/abs/1907.11692), for what was left out.
# - `labkit/foundations/pretraining/`: [`masked.py`](../../labkit/foundations/pretraining/masked.py),
#   [`causal.py`](../../labkit/foundations/pretraining/causal.py),
#   [`electra.py`](../../labkit/foundations/pretraining/electra.py),
#   [`spans.py`](../../labkit/foundations/pretraining/spans.py): one short file per question.
# - Next: [PET](../03_fewshot/02_pet.ipynb) asks the blank-filling head for labels. It starts from `mini-bert-en`, which
#   `labkit zoo build` trains with the masked objective of this lesson, rare and judging words hidden more often.
