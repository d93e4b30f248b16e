# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Writing text, and steering it
#
# A [language model](../glossary.ipynb#language-model) gives each [token](../glossary.ipynb#token) a probability to come next.
# That is not yet a text: somebody has to choose. How do we choose so that the text reads like text, and says what we want?
#
# **After this lesson you can** write a decoder: temperature, nucleus, beam search; say why the likeliest text is not the
# best one; compute BLEU by hand and say what other metrics see; steer a model with two others, and measure what that costs.
#
# **60 minutes.** Before it: [learning from raw text](04_pretraining.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="01/06")

# %%
MODEL = "mini-gpt-en"  # @param {type:"string"}
PROMPT = "the film"  # @param {type:"string"}

# %% [markdown]
# ## 1 · Two ways to go wrong
#
# The model goes on with a prompt. First it always takes the likeliest token (*greedy* choice). Then it draws each token at
# random, once as probable as the model says, once from a flattened distribution ([temperature](../glossary.ipynb#temperature) 1.8).

# %%
import torch

from labkit.foundations.generation import Sampler, Steps, decode, greedy, prompted

model, tokenizer = labkit.load_model(MODEL)


def go_on(choose, prompts, most=40, write=decode):
    """The prompts with what is written after them; `choose` takes logits (rows, vocabulary) to tokens (rows,)."""
    tokens = write(Steps(model, **prompted(tokenizer, prompts)), choose, most, eos=tokenizer.eos_token_id)
    written = tokenizer.batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [f"{prompt} {text}" for prompt, text in zip(prompts, written, strict=True)]


ways = {"greedy": greedy, "drawn": Sampler(seed=1), "drawn at 1.8": Sampler(temperature=1.8, seed=1)}
for name, choose in ways.items():
    print(f"{name}: {go_on(choose, [PROMPT])[0]}\n")

# %% [markdown]
# Greedy choice repeats itself: once "the … was both good and good" stands in the text, the same words are the likeliest again.
# The flattened distribution loses the thread within a few words. Good text is somewhere between the two.
#
# `Steps` holds the model and what it has computed for earlier tokens (its *cache*), so each new token costs one short pass.
# `decode` is the loop: logits, a choice, and on. The choice is yours.
#
# ## 2 · Temperature
#
# The logits $z$ are divided by a temperature $T$ before the [softmax](../glossary.ipynb#softmax):
#
# $$q_i = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}}$$
#
# $T < 1$ makes the likely words likelier, and near 0 only the likeliest is left. $T > 1$ makes all words more alike.
#
# ### Exercise 1: temperature
#
# *●○○ · 4 minutes*
#
# Logits (rows, vocabulary) and a temperature in; probabilities (rows, vocabulary) out.
#
# ```python
# next_shares(torch.tensor([[2.0, 1.0]]), 1.0)  # [[0.731, 0.269]], because e² / (e² + e) = 0.731
# next_shares(torch.tensor([[2.0, 1.0]]), 0.5)  # [[0.881, 0.119]], because e⁴ / (e⁴ + e²) = 0.881
# ```

# %%
from labkit.checks import generation as check


def next_shares(logits, temperature): ...  # your turn


next_shares = check.next_shares(next_shares)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Divide first, then take the softmax.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x.softmax(dim)`: along which dimension do the probabilities sum to 1?
# </details>
#
# <details><summary>Hint 3</summary>
#
# The vocabulary is the last dimension: `dim=-1`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def next_shares(logits, temperature):
#     return (logits / temperature).softmax(-1)
# ```
# </details>
#
# ## 3 · Cutting off the tail
#
# Each of the thousands of unlikely words is a small risk, and after one wrong word the next ones follow from it. So we refuse
# the tail. *Top-k* keeps the $k$ likeliest words. The [*nucleus*](../glossary.ipynb#nucleus) keeps as few of the likeliest
# as have the probability $p$ together (Holtzman et al. 2020, [*The curious case of neural text
# degeneration*](https://arxiv.org/abs/1904.09751), §3.1). Two small distributions, $k = 3$ and $p = 0.8$:

# %% tags=["nbval-check-output"]
from labkit.foundations.generation import filtered

for shares in ([0.85, 0.05, 0.04, 0.03, 0.03], [0.3, 0.25, 0.2, 0.15, 0.1]):
    for name, rule in (("top-3", {"k": 3}), ("nucleus", {"p": 0.8})):
        kept = filtered(torch.tensor([shares]).log(), **rule).softmax(-1)[0]
        print(f"{shares}  {name:<8}", " ".join(f"{share:.2f}" for share in kept))

# %% [markdown]
# Where the model is sure (first), the nucleus is one word and top-3 keeps two that do not fit. Where many words fit (second),
# the nucleus keeps four. What is kept is divided by its sum, so that it is a distribution again.
#
# ### Exercise 2: the nucleus
#
# *●●○ · 10 minutes*
#
# Probabilities (rows, vocabulary), in any order, and $p$ in; the same shape out: 0 outside the nucleus of each row, and each
# row sums to 1. The word that brings the sum to $p$ is kept.
#
# ```python
# nucleus(torch.tensor([[0.25, 0.5, 0.125, 0.125]]), 0.7)  # [[0.333, 0.667, 0, 0]]
# ```


# %%
def nucleus(shares, p): ...  # your turn


nucleus = check.nucleus(nucleus)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `down, order = shares.sort(-1, descending=True)`. A word is kept if the words *before* it have less than $p$ together.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `down.cumsum(-1) - down` is what stands before each word. Multiply `down` by the mask.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Back to the words' own places: `torch.zeros_like(shares).scatter(-1, order, down)`. Then divide by the sum.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def nucleus(shares, p):
#     down, order = shares.sort(-1, descending=True)
#     down = down * (down.cumsum(-1) - down < p)
#     kept = torch.zeros_like(shares).scatter(-1, order, down)
#     return kept / kept.sum(-1, keepdim=True)
# ```
# </details>
#
# Below, the bars show one step: what the model says, and what is drawn from. A dashed word was not the likeliest of its step.
#
# 1. Move *step* with $p = 0.9$. How many tokens are kept at the surest step, and at the least sure one?
# 2. Set *temperature* to 2. Why does the same $p$ now keep so many more?
# 3. Set $p = 1$ and find a $k$ that keeps as many at the least sure step. What does it keep at the surest?

# %%
from labkit.widgets import decoding_steps

decoding_steps(model, tokenizer, [PROMPT, "we watched the film on monday .", "the defendant is", "customer : hello ."])

# %% [markdown]
# ## 4 · The likeliest text is not the best
#
# How good is a text? Without a reference we can ask two things. How surprised is the model, token by token
# ([perplexity](../glossary.ipynb#perplexity))? And how much does a text repeat: which share of its runs of four tokens stood
# in it before? The measure of both is text that nobody decoded: reviews of this world that the model has never seen.
#
# **Predict** before you run the next cell: is the model more surprised by the world's own reviews, or by its greedy text?

# %%
from labkit.foundations.generation import perplexity, repetition
from labkit.world import World, corpus

reviews = [text for text in corpus(World(), "en", 400, ["reviews"], "held out") if 30 < len(text.split()) < 60][:40]
beginnings = [" ".join(text.split()[:4]) for text in reviews]


def measured(texts):
    return perplexity(model, tokenizer, texts), 100 * repetition([tokenizer.tokenize(text) for text in texts])


def drawn(temperature, p):
    random = torch.Generator().manual_seed(0)
    return lambda z: torch.multinomial(nucleus(next_shares(z, temperature), p), 1, generator=random)[:, 0]


# %%
from labkit.report import against

curves = {
    "the world's text": {"": measured([" ".join(text.split()[:44]) for text in reviews])},
    "greedy": {"": measured(go_on(greedy, beginnings))},
    "nucleus": {f"p = {p}": measured(go_on(drawn(1, p), beginnings)) for p in (0.2, 0.5, 0.95)},
    "temperature": {f"T = {T}": measured(go_on(drawn(T, 1), beginnings)) for T in (0.2, 0.5, 1, 1.5)},
}
against(curves, "perplexity under the model", "repeated runs of four tokens (%)")

# %% tags=["nbval-check-output"]
world_text, likeliest = curves["the world's text"][""], curves["greedy"][""]
print("greedy text surprises the model less than the world's own:", likeliest[0] < world_text[0])
print("and repeats more than ten times as much:", likeliest[1] > 10 * world_text[1])

# %% [markdown]
# Real text is *not* what a model finds likeliest: a text without surprise has nothing to say. Look for the point that lies
# nearest to the world's text. Here it is plain drawing, $T = 1$, or a nucleus of nearly everything, because this small model knows
# its small world well. A model of the web's text is wrong more often in its tail, and there a nucleus of 0.9 to 0.95 is the usual
# choice; Holtzman et al. found GPT-2's text at $p = 0.95$ nearest to people's. The numbers for a real model are in [the
# results](../../docs/results.md#decoding).
#
# ## 5 · Beam search
#
# Some tasks want the likeliest text all the same, for instance a translation. Greedy choice does not find it:

# %% tags=["nbval-check-output"]
first = {"a": 0.5, "b": 0.4, "c": 0.1}
second = {"a": {"x": 0.4, "y": 0.3, "z": 0.3}, "b": {"x": 0.9, "y": 0.1, "z": 0.0}, "c": {"x": 1.0, "y": 0.0, "z": 0.0}}
texts = {one + two: first[one] * second[one][two] for one in first for two in second[one]}
best = max(texts, key=texts.get)
print(f"greedy: ax, {texts['ax']:.2f}; the likeliest: {best}, {texts[best]:.2f}")

# %% [markdown]
# A [beam](../glossary.ipynb#beam-search) of two keeps *a* and *b* after the first step, extends both by every word, and keeps
# the best two of those six. In [log-probabilities](../glossary.ipynb#log-probability), which are added up,
#
# $$s(\text{beginning} + w) = s(\text{beginning}) + \log p(w \mid \text{beginning}) .$$
#
# Each further word makes $s$ smaller, so short texts win unfairly. Therefore finished texts are compared by
# $s / \text{length}^{\lambda}$, where $\lambda$ is the *length penalty*. Three words with $s = -2$ and six with $s = -3$: with
# $\lambda = 0$ the short text is better, with $\lambda = 1$ the long one ($-3/6$ is above $-2/3$).
#
# ### Exercise 3: a step of the beam
#
# *●●○ · 10 minutes*
#
# Logits (beams, vocabulary) after each beginning, the beginnings' scores (beams,) and `count` in. Of all beginnings with one
# more word the `count` best out, best first: their scores, the beams that they continue (*parents*) and the words, each (count,).
#
# ```python
# z = torch.tensor([[0.4, 0.3, 0.3], [0.9, 0.1, 1e-9]]).log()  # a and b of above
# beam_step(z, torch.tensor([0.5, 0.4]).log(), 2)  # scores log 0.36 and log 0.20, parents [1, 0], words [0, 0]
# ```


# %%
def beam_step(logits, score, count): ...  # your turn


beam_step = check.beam_step(beam_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `score[:, None] + logits.log_softmax(-1)` holds all sums, (beams, vocabulary).
# </details>
#
# <details><summary>Hint 2</summary>
#
# `.flatten().topk(count)` gives the best of all, and their places in one long row.
# </details>
#
# <details><summary>Hint 3</summary>
#
# In a row of length `vocabulary` per beam, place `i` is beam `i // vocabulary` and word `i % vocabulary`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def beam_step(logits, score, count):
#     best, place = (score[:, None] + logits.log_softmax(-1)).flatten().topk(count)
#     return best, place // logits.shape[-1], place % logits.shape[-1]
# ```
# </details>
#
# The rest is bookkeeping: texts that end leave the beam for a pool. Your step inside labkit's `beam_search`, for 1, 4 and 16 beams:

# %%
from labkit.foundations.generation import beam_search


def my_step(logits, score, count):
    """One row at a time: `logits` (rows · beams, vocabulary), `score` (rows, beams)."""
    rows = [beam_step(z, s, count) for z, s in zip(logits.unflatten(0, score.shape), score, strict=True)]
    return tuple(torch.stack(part) for part in zip(*rows, strict=True))


def with_beams(steps, beams, most, eos):
    return beam_search(steps, most, beams, eos=eos, extend=my_step)


beamed = {beams: go_on(beams, beginnings[:12], write=with_beams) for beams in (1, 4, 16)}
for beams, texts in beamed.items():
    surprise, repeated = measured(texts)
    print(f"a beam of {beams:>2}: perplexity {surprise:.2f}, repeated {repeated:.1f} %: {texts[0][:110]}")

# %% [markdown]
# Follow the perplexity down the lines: wider beams find texts that the model likes more. Then compare the repetition with that
# of the world's text in section 4: no beam comes near it. Beam search solves its problem; for open writing it is the wrong one.
#
# ## 6 · Beside a reference
#
# A translation has references, texts by people. BLEU asks which share of the candidate's words, pairs, triples and fours (its
# [n-grams](../glossary.ipynb#n-gram)) stand in the reference. Simply counting would be cheated: all four words of "the the the the"
# stand in "the film opened in the city". So a count is *clipped* to how often the reference has the n-gram, here to 2 of 4. With
# these precisions $P_n$, $c$ words of the candidate and $r$ of the reference,
#
# $$\text{BLEU} = \min\big(1, e^{1 - r/c}\big) \cdot \big(P_1 P_2 P_3 P_4\big)^{1/4} .$$
#
# The first factor is a penalty for candidates that are too short: precision alone would reward leaving things out. (Papineni et
# al. 2002, [*BLEU*](https://aclanthology.org/P02-1040/), §2.)
#
# ### Exercise 4: clipped matches
#
# *●●○ · 7 minutes*
#
# Lists of words, a candidate and a reference, and $n$ in; out how many of the candidate's n-grams match, and how many it has.
#
# ```python
# clipped_matches("the the the the".split(), "the film opened in the city".split(), 1)  # (2, 4)
# clipped_matches("in the film".split(), "the film opened in the city".split(), 2)  # (2, 2)
# ```


# %%
def clipped_matches(candidate, reference, n): ...  # your turn


clipped_matches = check.clipped_matches(clipped_matches)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The n-grams of `words` are `zip(words, words[1:])` for $n = 2$; in general `zip(*(words[i:] for i in range(n)))`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `collections.Counter` counts them.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `a & b` of two Counters keeps the smaller count of each; `.total()` adds up.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# from collections import Counter
#
# def clipped_matches(candidate, reference, n):
#     mine, theirs = (Counter(zip(*(words[i:] for i in range(n)))) for words in (candidate, reference))
#     return (mine & theirs).total(), mine.total()
# ```
# </details>
#
# BLEU with your counts, beside the library's, and what three other metrics say of the same candidates:

# %% tags=["nbval-check-output"]
from labkit.foundations.generation import bleu, meteor, nist
from labkit.report import Table
from labkit.tasks.rouge import rouge_l

reference = "the film opened in oslo and the crowd loved it".split()


def my_bleu(words):
    shares = torch.tensor([m / total for m, total in (clipped_matches(words, reference, n) for n in (1, 2, 3, 4))])
    return float(shares.prod() ** 0.25) * min(1.0, torch.e ** (1 - len(reference) / len(words)))


rows = []
for text in ("the film opened in oslo and the crowd", "in oslo the crowd loved it and the film opened",
             "the film opens in oslo and crowds love it", "the movie started in oslo and people enjoyed it"):  # fmt: skip
    words = text.split()
    scores = my_bleu(words), *(f([words], [[reference]]) for f in (bleu, nist, meteor)), rouge_l(reference, words)
    rows.append((text, *(f"{score:.2f}" for score in scores)))
Table(("candidate", "your BLEU", "BLEU", "NIST", "METEOR", "ROUGE-L"), tuple(rows))

# %% [markdown]
# Compare each line with the first. In the second the halves are exchanged: BLEU and ROUGE-L (the longest common sequence) fall,
# METEOR and NIST (which weighs rare n-grams more, and has no upper end) do not. In the third METEOR matches "opens" with "opened"
# by their stem, while BLEU is 0, because no four words in a row match. The last line says the same as the reference, and no
# metric sees it: they compare words, not meaning.
#
# ## 7 · Steering
#
# Now the text shall be *positive*. There are three ways that leave the decoder alone: a **prefix** in the prompt, here "i loved
# it ."; a **tag** that begins every training text of a kind (CTRL, Keskar et al. 2019); and training one more model on wanted
# text only. The fourth changes the logits. An *expert* has been trained on wanted text, an *anti-expert* on unwanted text, and
# where the two disagree, the model is moved (Liu et al. 2021, [*DExperts*](https://arxiv.org/abs/2105.03023), §2):
#
# $$z + \alpha\,(z^{+} - z^{-}) .$$
#
# Logits for "the film was ___", with $\alpha = 1$: the expert's and the anti-expert's common preference for "long" cancels out.

# %% tags=["nbval-check-output"]
z, plus, minus = torch.tensor([[2.0, 1.0, 1.0], [3.0, 2.0, 0.0], [3.0, 0.0, 2.0]])
for alpha in (0, 1):
    shares = (z + alpha * (plus - minus)).softmax(0)
    print(f"alpha {alpha}: ", ", ".join(f"{w} {q:.2f}" for w, q in zip(("long", "great", "dull"), shares, strict=True)))

# %% [markdown]
# ### Exercise 5: the steered writer
#
# *●●● · 12 minutes*
#
# `models` are (base, expert, anti-expert). Each has `.logits` (rows, vocabulary) for the next token, and `.advance(tokens)`
# makes it read the tokens (rows,) that were chosen. `draw(shares)` takes probabilities (rows, vocabulary) to tokens (rows,). Write
# `most` tokens with your temperature and your nucleus; return them as (rows, most). Ends are cut off later.
#
# ```python
# # at every step: base.logits [[0, 1, 0]], expert.logits [[0, 0, 2]], anti.logits [[0, 0, 0]]; draw: the likeliest token
# steered_text((base, expert, anti), 0.0, 1.0, 0.9, 3, draw)  # [[1, 1, 1]]
# steered_text((base, expert, anti), 1.0, 1.0, 0.9, 3, draw)  # [[2, 2, 2]], because 0 + 1 · (2 − 0) is above 1
# ```


# %%
def steered_text(models, alpha, temperature, p, most, draw): ...  # your turn


steered_text = check.steered_text(steered_text)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In each of `most` rounds: three logits, one mixture, one draw, and all three models advance by the same tokens.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `nucleus(next_shares(mixture, temperature), p)` is what `draw` takes.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Collect the tokens in a list; `torch.stack(written, 1)` makes columns of them.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def steered_text(models, alpha, temperature, p, most, draw):
#     written = []
#     for _ in range(most):
#         base, expert, anti = (one.logits for one in models)
#         mixture = base + alpha * (expert - anti)
#         written.append(draw(nucleus(next_shares(mixture, temperature), p)))
#         for one in models:
#             one.advance(written[-1])
#     return torch.stack(written, 1)
# ```
# </details>
#
# Expert and anti-expert are copies of the model, each trained for 40 steps on reviews with one label. And who decides whether a
# text is positive? Not a writer: the untrained [cloze](../glossary.ipynb#cloze) of lesson
# [03/01](../03_fewshot/01_prompts.ipynb), with another model, the *reader*.

# %%
import copy

from labkit.fewshot.pet import PET
from labkit.foundations.pretraining import CausalLM
from labkit.training import Batches

task, objective = labkit.load_task("world/reviews"), CausalLM(tokenizer, max_length=64)
reader, reader_words = labkit.load_model("mini-bert-en", head="mlm")
cloze = PET.for_task(task, reader_words)


def trained_on(label):
    texts = [row["text"] for row in task.splits["train"] if row["label"] == label]
    rows = [{"input_ids": [*tokenizer(text)["input_ids"][:63], tokenizer.eos_token_id]} for text in texts]
    one, batches = copy.deepcopy(model), Batches(rows, objective.collate, 16, seed=0)
    labkit.fit(one, objective, batches, steps=40, lr=1e-3, seed=0, progress=lab.progress)
    return one.eval()


# %%
anti, expert = trained_on(0), trained_on(1)
starts = ["we watched the film on monday .", "i bought the camera in oslo on friday .", "the parcel came on tuesday ."] * 27


def steered(alpha, models=(model, expert, anti), prefix=""):
    """(perplexity, % read as positive) of texts after `starts`, and the texts."""
    steps = [Steps(one, **prompted(tokenizer, [prefix + start for start in starts])) for one in models]
    random = torch.Generator().manual_seed(0)
    tokens = steered_text(steps, alpha, 1.0, 0.9, 30, lambda q: torch.multinomial(q, 1, generator=random)[:, 0])
    tokens = tokens.masked_fill((tokens == tokenizer.eos_token_id).cumsum(1) > 0, tokenizer.pad_token_id)
    written = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    texts = [f"{start} {text}" for start, text in zip(starts, written, strict=True)]
    answers = labkit.predict(reader, cloze, [{"text": text} for text in texts])
    return (perplexity(model, tokenizer, texts), 100 * answers.argmax(1).mean()), texts


runs = {alpha: steered(alpha) for alpha in (-3, -2, -1, 0, 1, 2, 3)}
for name, alpha in (("not steered", 0), ("positive", 1), ("negative", -1)):
    print(f"{name}: {runs[alpha][1][0]}")

# %% [markdown]
# **Predict**: what happens with an $\alpha$ of 3, three times as much as in the last two lines?

# %%
curves = {
    "alpha above 0": {f"{alpha}": runs[alpha][0] for alpha in (0, 1, 2, 3)},
    "alpha below 0": {f"{alpha}": runs[alpha][0] for alpha in (0, -1, -2, -3)},
    "a prefix": {"": steered(0, prefix="i loved it . it was great . ")[0]},
    "the expert alone": {"": steered(0, models=(expert, expert, anti))[0]},
}
against(curves, "perplexity under the model that is steered", "read as positive (%)")

# %% tags=["nbval-check-output"]
noise = 100 * (2 * 0.25 / len(starts)) ** 0.5  # the standard error of a difference, at most
unwanted, free, wanted = (runs[alpha][0][1] for alpha in (-1, 0, 1))
print("alpha 1 and −1 are beyond two standard errors of alpha 0:", min(wanted - free, free - unwanted) > 2 * noise)
print("the prefix does no less than alpha 1:", curves["a prefix"][""][1] >= wanted)
print("alpha 3 costs more than three times the perplexity:", runs[3][0][0] > 3 * runs[0][0][0])

# %% [markdown]
# Follow the upper line from its left end. Up to $\alpha = 1$ more texts become positive at nearly the same perplexity. After that
# the perplexity rises and fewer are: with large weights the sum favours words that no single model would write, and the text
# falls apart. On the lower line the texts fall apart too, and yet nearly all of them are still read as negative: a reader cannot be
# trusted with text of a kind that it has never seen. So control must be measured beside fluency.
#
# Look at the other two points as well. The prefix needs no training, and here it does no less than any $\alpha$. The expert *alone* is about as
# good as the best steering, because it is as large as the model that it steers. DExperts is for the other case: a large model that
# you cannot train, moved by two small ones.
#
# All of these leave the model as it is. A model that is trained for it can also read what is asked for in an encoder of its own, at which
# each layer of the decoder looks first ([GSum](https://arxiv.org/abs/2010.08014), Dou et al. 2021;
# [`guided.py`](../../labkit/foundations/generation/guided.py)). Asked for one of three facts of a text, such a model and one that
# reads the wish as a prefix are right equally often ([numbers](../../docs/results.md#asking-for-one-of-three-facts)).
#
# ## 8 · All words at once
#
# All decoders so far write from left to right, one pass per token. A masked model can fill all blanks in *one* pass, but each
# without knowing the others. *Mask-predict* hides the least sure words again and fills them beside the rest (Ghazvininejad et al.
# 2019, [*Mask-Predict*](https://arxiv.org/abs/1904.09324), §3). Eight blanks in 1, 2 and 8 passes:

# %%
from labkit.foundations.generation import mask_predict

blanks = "we watched the film on monday . " + " ".join(["[MASK]"] * 8) + " . it was great ."
ids = reader_words(blanks, return_tensors="pt")["input_ids"]
for passes in (1, 2, 8):
    filled = mask_predict(reader, ids, reader_words.mask_token_id, passes)[0]
    print(f"{passes} pass{'es' * (passes > 1)}: {reader_words.decode(filled[8:-6])}")

# %% [markdown]
# In the first line, words stand beside one another that were not chosen for each other. In the last, one word is settled per pass,
# each beside those before, and the words fit together. In between lies the bargain: fewer passes than words, more errors.
#
# ## 9 · Text that a program can check
#
# Some texts have a contract: a poem has a form, a sum has a value, a report names its facts. A program can hold the writer to it,
# or check what is written. The form of a quatrain (五言絕句 *wuyan jueju*, four lines of five characters) is `5，5。5，5。`.
# Here a writer draws from one fixed distribution over six characters and some marks. The second time a *mask* sets the
# [logits](../glossary.ipynb#logit) of all that does not fit to $-\infty$.

# %%
import random

from labkit.foundations.generation.verse import END, Form, Held
from labkit.foundations.sequences.language_model import character_tokenizer
from labkit.report.pages import page

glosses = dict(zip("山水月花雲風", "hill water moon flower cloud wind".split(), strict=True))
form, characters = Form.parse("5，5。5，5。"), character_tokenizer("".join(glosses) + "，。" + END)


class Fixed:
    room, logits = 99, torch.zeros(1, len(characters))  # always the same

    def advance(self, tokens): ...


for name, writer in (("free", Fixed()), ("held", Held(Fixed(), characters, [form]))):
    poem = characters.decode(decode(writer, Sampler(seed=3), len(form.places))[0], skip_special_tokens=True).replace(END, "")
    print(f"{name}: {poem}   faults: {len(form.faults(poem))}   {[glosses.get(one, one) for one in poem[:6]]}")
print(*(f"{r.method}, {r.task}: {r.value:.0%}" for r in page("verse").report.rows if r.task == "五言絕句"), sep="\n")

# %% [markdown]
# Held to the form, a writer cannot break it. Asked for it by name (as *YueFu* does, Liao et al. 2019,
# [arXiv 1907.00151](https://arxiv.org/abs/1907.00151)), a small GPT of Tang verse often miscounts: the last two lines are its shares of right poems.
#
# Of a word problem only the *value* of the expression counts, and a beam often holds a right expression that is not the likeliest.
# *Generate & Rank* (Shen et al. 2021, [arXiv 2109.03034](https://arxiv.org/abs/2109.03034)) teaches the model to rank as well. Its
# wrong examples are its own beam, and right expressions that are changed a little; algebra says which are wrong. Look at both
# lists. Then compare the lines of the table, of small models from nothing on Chinese problems (Math23K). "Any of the 10" is the
# most that ranking could reach. The ranker alone is far below the beam: what a pre-trained model learned to judge in the paper
# (80.8 → 85.4 %), this one has not learned in 600 steps. Training both together still did not harm the writing.

# %%
from labkit.errors import UsageError
from labkit.foundations.generation.math_problems import with_bank
from labkit.world.expressions import evaluate

pens = {"text": "NUM0 pens cost NUM1 crowns . what do NUM2 pens cost ?", "label": "NUM1 / NUM0 * NUM2"}
right, wrong = with_bank(None, None, [pens], random.Random(1), edits=8)[0]["candidates"]
print(f"right: {right}\nwrong: {wrong}\nvalue: {evaluate(right[0], [4, 20, 7])}")
try:
    evaluate("9 ** 9 ** 9")
except UsageError as error:
    print(error)
value = {(one.method, one.task): f"{one.value:.1%}" for one in page("math_problems").report.rows}
kept = ("Math23K", "Math23K, 1 operator", "Math23K, 4 or more operators")
lines = tuple((method, *(value[method, task] for task in kept)) for method in dict.fromkeys(method for method, _ in value))
Table(("Math23K", "all", "1 operator", "4 or more"), lines)

# %% [markdown]
# ## 10 · The answer
#
# How to choose depends on what is wanted. For open text, draw, and refuse the tail where the model is not to be trusted with it.
# For the likeliest text, search with a beam. For text of a kind, begin with a prefix, which is free; a pair of experts adds a dial, $\alpha$.
# And measure two things at a time, because each measure alone has a text that cheats it: perplexity the greedy loop, precision a
# single word, control a text that has fallen apart.
#
# ## To read, and to go on
#
# - Holtzman et al. 2020, §4–6; Papineni et al. 2002, §2; Liu et al. 2021, §3 (they steer GPT-2 away from toxic text).
# - [All numbers](../../docs/results.md#decoding): speed beside `transformers.generate`, and quality for every $T$, $k$ and $p$.
# - Next: [asking a model in its own words](../03_fewshot/01_prompts.ipynb), where the prompt does all the work.
