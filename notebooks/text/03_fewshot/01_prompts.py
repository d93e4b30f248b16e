# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts: asking a model in its own words
#
# A language model has read a great deal and has one skill: it says which word fits. *Prompting* puts a question so that this
# skill answers it. Nothing is trained in most of this lesson; everything hangs on how one asks: the **template** that the
# text is put into, the **verbalizer** that turns words into classes, the examples shown beforehand, and the model's own bias.
#
# **After this lesson you can**
#
# - write templates in a small typed language, say what is cut when a text is too long, and why the blank never is;
# - choose label words: one, several, of differing lengths, looked up in a knowledge base, or none at all;
# - measure a prompt's bias and divide it out (contextual calibration);
# - show a model examples in its context, and tell when that helps and when it harms.
#
# **45 minutes.** Before it: [pre-training](../01_foundations/04_pretraining.ipynb). Next: [PET](02_pet.ipynb), which trains
# what is only asked here.

# %%
import labkit

lab = labkit.setup(lesson="03/01")

# %% [markdown]
# Three strings, as always: try a hub model (`"bert-base-uncased"`), a folder, or a table of your own.

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/news"  # @param {type:"string"}
SHOTS = 4  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A question with a blank
#
# Let $T$ be a template that writes a text $x$ into a sentence with a blank, and $p(w \mid T(x))$ the probability that the
# model gives to word $w$ there. A verbalizer names a word $v(y)$ for each class $y$:
#
# $$q(y \mid x) = \frac{p\big(v(y) \mid T(x)\big)}{\sum_{y'} p\big(v(y') \mid T(x)\big)} .$$
#
# A masked language model fills the blank anywhere in the sentence; one that reads left to right has it at the end. That is
# all, and it is a few lines:

# %%
import torch

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()


def in_the_blank(sentence: str, most: int = 4) -> str:
    """The likeliest words for the [MASK] of the sentence."""
    inputs = tokenizer(sentence, return_tensors="pt")
    blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        top = model(**inputs).logits[0, blank].softmax(-1).topk(most)  # of the vocabulary
    words = tokenizer.convert_ids_to_tokens(top.indices.tolist())
    return ", ".join(f"{word} {chance:.2f}" for word, chance in zip(words, top.values, strict=True))


review = "we found the museum wonderful ."
for template in (
    "{} it was [MASK] .",
    "{} the [MASK] was great .",
    "{} this is news about [MASK] .",
):
    print(f"{template:<32}", in_the_blank(template.format(review)))

# %% [markdown]
# The same text, the same model, three ways to ask, and three questions: what it was like, what in it was great, what the text
# is about. The
# toolkit that this lesson follows, OpenPrompt (Ding et al. 2022), therefore takes a prompt apart into pieces that can be
# changed one by one. Ours are the same: *template*, *verbalizer*, and a *method* that joins them to a model.
#
# ## 2 · Templates
#
# The lines above have three faults. A text that contains `[MASK]` has two blanks. A long one is cut at its end, where
# the blank is. And `template.format` evaluates what it finds in braces, `{0.__class__}` included. So a template is **parsed**,
# into typed parts that are only ever looked up in a row:
#
# | written | what it is |
# |---|---|
# | `it was` | words |
# | `{text}`, `{text\|whole}` | a field of the row; cut where room is short, or never |
# | `{mask}`, `{mask*2}` | the blank, one or two tokens wide |
# | `{soft:it is}`, `{soft*3}` | trainable tokens that start as these words, or as nothing ([03/03](03_soft_prompts.ipynb)) |
# | `{meta:domain}` | another value of the row |
# | `{special:sep}` | a separator |

# %% tags=["nbval-check-output"]
from labkit.fewshot.prompts.template import Template

template = Template.parse("{meta:domain} review : {text} {soft:all in all} it was {mask} .")
for part in template.parts:
    print(repr(part))
print(
    "spelled again:",
    str(template) == "{meta:domain} review : {text} {soft:all in all} it was {mask} .",
)

# %% [markdown]
# What is no template is refused, with the place and the mend. Nothing typed here is ever run:

# %% tags=["nbval-check-output"]
from labkit.errors import UsageError

for wrong in (
    "{text.__class__} it was {mask} .",
    "{text} it was {msk} .",
    "{text} it was good .",
    "{text!r:>9} {mask}",
):
    try:
        Template.parse(wrong, fields=("text",))
    except UsageError as error:
        print(error)

# %% [markdown]
# ### What is cut
#
# A model reads so many tokens and no more. The template's own words, the blank and the values must stay; the fields give way,
# **always the longest one first**, so that a short question survives beside a long text. Move the slider; then break the
# template and see what is said.

# %%
from labkit.widgets import template_playground

template_playground(
    tokenizer,
    {
        "text": "we found the oven wonderful , and the lid was really nice . simon tried it on monday in oslo .",
        "question": "is it a good oven ?",
        "domain": "kitchen",
    },
    "{meta:domain} : {text} {special:sep} {question} it was {mask} .",
    room=24,
)

# %% [markdown]
# ### Your turn: the longest first
#
# *●○○ · 5 minutes*
#
# Given the lengths of the fields in tokens and the room for all of them, return a list of the lengths that are kept, in the
# same order. Take tokens one by one from the field that is longest *at that moment*. Where several are longest, any of them
# may lose one.
#
# | `lengths` | `room` | result |
# |---|---|---|
# | `[10, 3, 8]` | 15 | `[6, 3, 6]`: 21 tokens are six too many; the first field loses two, then both long ones lose two each |
# | `[4, 2]` | 9 | `[4, 2]`: all of it fits |


# %%
from labkit.checks import prompts as check


def cut_longest(lengths, room): ...  # your turn


cut_longest = check.cut_longest(cut_longest)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# While the sum is larger than the room, something must go: a loop.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `lengths.index(max(lengths))` is the place of the longest.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Work on a copy, `left = list(lengths)`, take 1 from the longest, and look again.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def cut_longest(lengths, room):
#     left = list(lengths)
#     while sum(left) > room:
#         left[left.index(max(left))] -= 1
#     return left
# ```
# </details>
#
# The playground's row has fields of 21 and 6 tokens, and of 24 tokens of room 15 are left for them. What your function keeps
# there, with all the room and with less:

# %% tags=["nbval-check-output"]
for room in (27, 15, 10, 4):
    print(f"fields of 21 and 6 tokens, room for {room:>2}: kept", list(cut_longest([21, 6], room)))

# %% [markdown]
# ### Three kinds of template that have a name
#
# **Structured prompts** ask every task in one form of keys and values, so that one model can serve them all. With `{meta:…}`
# this is a matter of writing it down. **Rules** (PTR, Han et al. 2022, [*Prompt tuning with
# rules*](https://arxiv.org/abs/2105.11259)) take a hard question apart: "is this a *positive* review *of a hotel*?" is
# a conjunction of two small ones, each with a blank of its own, and its probability is the product of theirs. The library
# needs nothing new for it: two blanks, and label words of two pieces.

# %%
from itertools import product

from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.verbalizer import Verbalizer

things = {"hotels": "hotel", "phones": "phone", "books": "novel"}
verdicts = {"negative": "terrible", "positive": "wonderful"}
rules = {
    f"{verdict} review, {domain}": f"{word} {thing}"  # one blank for the verdict, one for the thing
    for (domain, thing), (verdict, word) in product(things.items(), verdicts.items())
}
conjunction = PET(
    "{text} all in all , a {mask} {mask} .", Verbalizer(rules, tokenizer, masks=2), tokenizer
)
for text in (
    "the lobby was awful .",
    "the battery was wonderful . anna called me on monday .",
    "the chapter was boring . anna read it in paris .",
):
    (found,) = labkit.predict(model, conjunction, [{"text": text}])
    print(f"{text:<50}", list(rules)[found.argmax()], f"({found.max():.2f})")

# %% [markdown]
# Neither the domains' names nor their words "hotel", "phone" and "novel" stand in these texts: the model knows what goes
# with what.
#
# **Coloured prompts** do the same to pictures: paint a red frame around a part of a picture and ask "in [MASK] colour"; the
# word in the blank names the part (CPT, Yao et al. 2021, [*CPT: colorful prompt tuning*](https://arxiv.org/abs/2109.11797)).
# Module 05 has the pictures and the models that read them.
#
# ## 3 · Verbalizers
#
# ### One word or several
#
# The news of this world come in fifteen topics. We ask for the topic's name, and for all the words that the task suggests;
# once in a sentence like those in which this model has read about topics, and once in a *strange* one, which it has never
# read. Nothing is trained:

# %%
from dataclasses import replace

whole = labkit.load_task(TASK)
whole = replace(whole, splits={**whole.splits, "test": whole.splits["test"][:300]})  # for speed
task = whole.few_shot(SHOTS, seed=0)
texts = task.splits["unlabelled"][:200]  # no labels: anyone has these


def score(method):
    return labkit.evaluate(model, method, task, "test", progress=lab.progress)[task.metric]


named = PET.for_task(task, tokenizer)
several = PET.for_task(task, tokenizer, words=6, aggregate="mean")
strange = "topic : {mask} . {text}"  # this model has never read a text that begins so
report = labkit.Report()
for way, template in {"": named.template, ", asked strangely": strange}.items():
    report.add(f"one word a label{way}", task, score(PET(template, named.verbalizer, tokenizer)))
    report.add(f"all of its words{way}", task, score(PET(template, several.verbalizer, tokenizer)))
print(dict(list(several.verbalizer.words.items())[:3]), "…")
report.table()

# %% [markdown]
# Chance is 6.7 %. In the sentence that the model knows, the name alone goes most of the way to the ceiling, and two more
# words per topic add nothing. Asked strangely, the same words on the same model lose more than twenty points. So the model
# knows the topics in either case; how much of this knowledge the label words bring out depends on how one asks. A user of a
# model seldom knows what its pre-training text looked like, so in practice most templates are a little strange.
#
# ### Words of differing lengths
#
# Real label sets have names of all lengths: the 119 of IFLYTEK take two to eight Chinese characters. Give each length its own
# number of blanks, and score a text by its pieces,
#
# $$s(y \mid x) = \frac{1}{n} \sum_{i=1}^{n} \log p\big(v_i(y) \mid T_n(x)\big), \qquad T_n \text{ with } n \text{ blanks}.$$
#
# Why the mean? Each further piece can only take probability away; by the sum a short word always wins. `GenerativePET` can do
# both, and reads the pieces off at once or one after another. Reviews, with one word for *negative* and three for *positive*:

# %% tags=["nbval-check-output"]
from labkit.fewshot.prompts.generative import GenerativePET, LabelTexts

some = labkit.load_task("world/reviews").splits["test"][:300]
uneven = {"negative": "terrible", "positive": "very very good"}
for normalise in (False, True):
    how = GenerativePET(
        "{text} it was {mask} .", LabelTexts(uneven, tokenizer, normalise=normalise), tokenizer
    )
    answers = labkit.predict(model, how, some).argmax(1)
    right = (answers == [row["label"] for row in some]).mean()
    print(
        f"{'mean' if normalise else 'sum '} over pieces: says positive {answers.mean():4.0%}, right {right:4.0%}"
    )

# %% [markdown]
# By the sum it never says "very very good", whatever it reads. By the mean it does, if too seldom: the mean takes out the length,
# not that one phrase is less usual than the other.
#
# ### Words looked up: the knowledgeable verbalizer
#
# Hu et al. 2022 ([*Knowledgeable prompt-tuning*](https://arxiv.org/abs/2108.02035)) take label words from a knowledge base, a
# hundred per class rather than one. Here the base is the world's own lexicon, which knows a topic's persons, things and verbs:

# %%
from labkit.fewshot.prompts.knowledgeable import knowledgeable, related_words

candidates = related_words(task.words, task.language)
for label in ("sports", "finance"):
    if label in candidates:
        print(label, "→", ", ".join(candidates[label][:14]), "…", len(candidates[label]), "words")

# %% [markdown]
# Raw, such words cannot be compared: some are written often whatever the text says, others hardly ever. Three remedies, all
# from texts without labels. **Frequency**: words that the model hardly ever writes go. **Relevance**: let $q_v$ be the
# probabilities of word $v$ over the texts, and $v_y$ the name of class $y$; a word that behaves more like the other classes'
# names than like its own goes, that is, where
#
# $$R(v) = \cos(q_v, q_{v_y}) \cdot \frac{|Y| - 1}{\sum_{y' \neq y} \cos(q_v, q_{v_{y'}})} < 1 .$$
#
# **Calibration**: what counts is not $p(v \mid x)$ but by how much the text raises it, $p(v \mid x) / \bar p(v)$, with
# $\bar p(v)$ its mean over the texts. A class's score is the mean of that over its words.
#
# ### Your turn: relevance
#
# *●●○ · 10 minutes*
#
# `chances` (texts, words) holds each word's probability in each text, `owners` (words,) its class, and `names` (classes,)
# the number of the word that is each class's name. Return $R$, (words,).
#
# For example, two texts and three words: *sports* and *finance* are the names of the classes 0 and 1, and *coach* is of
# class 0. `chances = [[0.4, 0.3, 0.1], [0.3, 0.4, 0.0]]`, `owners = [0, 1, 0]`, `names = [0, 1]`. The columns of length 1 are
# (0.8, 0.6), (0.6, 0.8) and (1, 0). The cosine of *coach* is 0.8 with *sports* and 0.6 with *finance*, so its $R$ is
# $0.8 \cdot (2 - 1) / 0.6 = 1.33$. Both names have the cosine 1 with themselves and 0.96 with one another, so the result is
# `[1.04, 1.04, 1.33]`.


# %%
def relevance(chances, owners, names): ...  # your turn


relevance = check.relevance(relevance)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A word's vector $q_v$ is a *column* of `chances`. Cosines are scalar products of columns of length 1.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `unit = chances / chances.norm(dim=0)`; then `alike = unit.T @ unit[:, names]` is (words, classes).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `own = alike[torch.arange(len(owners)), owners]`; the sum over the others is `alike.sum(1) - own`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def relevance(chances, owners, names):
#     unit = chances / chances.norm(dim=0)
#     alike = unit.T @ unit[:, names]
#     own = alike[torch.arange(len(owners)), owners]
#     return own * (len(names) - 1) / (alike.sum(1) - own)
# ```
# </details>
#
# Now with the model's own probabilities. We take a few words that were looked up for the first topic, and a few of the second
# topic, as if they had been looked up for the first:

# %%
from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities

(first, own), (second, others), *_ = candidates.items()
known = tokenizer.get_vocab()
looked_up = [word for word in own[1:] if word in known][:3]
stray = [word for word in others[1:] if word in known][:3]
asked = [*(some[0] for some in candidates.values()), *looked_up, *stray]  # the names of all topics come first
owners = torch.tensor([*range(len(candidates)), *[0] * len(looked_up + stray)])
chances = blank_log_probabilities(model, tokenizer, named.template, texts).exp()  # (texts, vocabulary)
chances = chances[:, tokenizer.convert_tokens_to_ids(asked)]
found = relevance(chances, owners, torch.arange(len(candidates)))
print(f"R as words for {first!r}:")
for word, value in zip(asked[len(candidates) :], found[len(candidates) :].tolist(), strict=True):
    print(f"    {word:<14}{value:6.2f}   from {first if word in looked_up else second}")

# %% [markdown]
# The words of *story* have by far the largest $R$. But the words of *culture* are above 1, too: $R$ compares with the *mean*
# likeness to the fourteen other topics, and the one topic that they belong to raises that mean only a little. So $R < 1$ finds
# words that are no nearer to their label than to the average topic, rather than words that fit another label better.
#
# Here are the steps one after the other, on all the words:

# %%
steps = {
    "looked up, calibrated": {"share": 1.0, "least": 0.0},
    "… and relevant": {"share": 1.0},
    "… and frequent": {},
}
for way, template in {"": named.template, ", asked strangely": strange}.items():
    one = PET(template, named.verbalizer, tokenizer)
    report.add(f"one word, calibrated{way}", task, score(one.calibrated(model, texts)))
    for name, settings in steps.items():
        method, sifted = knowledgeable(model, template, candidates, tokenizer, texts, **settings)
        report.add(name + way, task, score(method))
        print(f"{name + way:<40}{sifted}")
report.table()

# %% [markdown]
# Two things to see. **Where the name had said it all, knowledge adds nothing.** Asked strangely, the words that were looked up
# bring back about half of what was lost, without one labelled text. Most of that comes from their number and not from
# the calibration, as the row with one calibrated word shows: in an unfamiliar sentence the probability of a single word is
# noisy, and the mean over two dozen words per topic is less so.
#
# And **the sieve has nothing to do**: relevance drops hardly a word, and the half that is "rare" is not missed. The paper
# needs a sieve because its knowledge base is a web dictionary full of stray words; ours is the list from which these news
# were written. So let us add stray words, more than there are good ones, and count what the sieve keeps of either:

# %%
import random

good = {word for some in candidates.values() for word in some}
vocabulary = sorted(
    word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2 and word not in good
)
stray = random.Random(0).sample(vocabulary, min(len(vocabulary), 30 * len(candidates)))
mixed = {
    label: (*some, *stray[30 * number : 30 * number + 30])
    for number, (label, some) in enumerate(candidates.items())
}
report = labkit.Report()
for way, template in {"": named.template, ", asked strangely": strange}.items():
    for name in ("looked up, calibrated", "… and relevant"):
        method, sifted = knowledgeable(model, template, mixed, tokenizer, texts, **steps[name])
        kept = [word for some in sifted.words.values() for word in some]
        print(
            f"{name + way:<40}{sum(w in good for w in kept)} good words kept, {sum(w not in good for w in kept)} stray"
        )
        report.add(name + way, task, score(method))
report.table()

# %% [markdown]
# The sieve does what it should: because this model knows the names, by which a word is judged, it keeps nearly every good word
# and drops most of the stray ones. Whether that pays is again a matter of how one asks. In the known sentence the stray words
# do little harm. Asked strangely, where each good word says less, they cost some points, and the sieve brings most
# of these back.
#
# ## 4 · Calibration
#
# Every prompt is biased before it has read anything. Half of the sentences of `world/subj` tell a plot, which is objective,
# half give an opinion; asked "that is [MASK]", with the words *fact* and *opinion*, the model mostly says the same:

# %%
from collections import Counter

from labkit.fewshot.prompts.in_context import content_free

subj = labkit.load_task("world/subj")
plain = PET.for_task(subj, tokenizer)
empty = content_free(plain.template)  # texts that say nothing
print("its answers:", Counter(labkit.predict(model, plain, subj.splits["test"]).argmax(1).tolist()))
for row, (fact, opinion) in zip(empty, labkit.predict(model, plain, empty), strict=True):
    print(f"text {row['text']!r:<6} objective {fact:.2f}  subjective {opinion:.2f}")

# %% [markdown]
# *Contextual calibration* (Zhao et al. 2021, [*Calibrate before use*](https://arxiv.org/abs/2102.09690)) asks about a text
# **without content**, such as "N/A", and takes the answer $q(y \mid \varnothing)$ for the bias. Divide by it:
#
# $$\hat q(y \mid x) = \frac{q(y \mid x) / q(y \mid \varnothing)}{\sum_{y'} q(y' \mid x) / q(y' \mid \varnothing)} .$$
#
# ### Your turn: calibrated
#
# *●○○ · 5 minutes*
#
# `p` (batch, classes) are the answers, `p_free` (classes,) is the answer to the text without content. Return the calibrated
# answers, (batch, classes).
#
# For example, `p = [[0.6, 0.4]]` and `p_free = [0.8, 0.2]`: the ratios are 0.75 and 2, their sum is 2.75, and the result is
# `[[0.27, 0.73]]`. The answer has changed, because 0.4 is more than the second label gets from a text that says nothing.


# %%
def calibrated(p, p_free): ...  # your turn


calibrated = check.calibrated(calibrated)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the ratio, then make each row sum to 1.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `p / p_free` divides column by column: (batch, classes) by (classes,).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.sum(-1, keepdim=True)` keeps the shape (batch, 1), by which the rows can be divided.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def calibrated(p, p_free):
#     ratio = p / p_free
#     return ratio / ratio.sum(-1, keepdim=True)
# ```
# </details>
#
# With texts of the task at hand, though without labels, there is a second way: divide by the *mean answer over them*. This is
# the $\bar p$ of the knowledgeable verbalizer. Your function does both; it only needs another `p_free`. (In the library it is
# one method, `calibrated(model, rows)`, which divides the probability of each *word* before the softmax.)

# %%
def answers(rows):
    """The untrained cloze's label probabilities, (rows, classes)."""
    return torch.from_numpy(labkit.predict(model, plain, rows, progress=False))


report = labkit.Report()
p, truth = answers(subj.splits["test"]), torch.tensor([row["label"] for row in subj.splits["test"]])
for name, changed in {
    "as it is": p,
    "divided by the answer to nothing": calibrated(p, answers(empty).mean(0)),
    "divided by the mean answer": calibrated(p, answers(subj.splits["unlabelled"][:200]).mean(0)),
}.items():
    report.add(name, subj, (changed.argmax(1) == truth).float().mean().item())
report.table()

# %% [markdown]
# Both help, and the mean answer helps more. The texts without content do not even agree with one another: two of them lean to
# *objective*, as the answers to real sentences do, and "." leans the other way.
#
# ## 5 · Learning in context
#
# GPT-3 was shown a few solved examples in its prompt and solved the next, with no weight changed (Brown et al. 2020,
# [*Language models are few-shot learners*](https://arxiv.org/abs/2005.14165)). `InContext` writes the template once for each
# demonstration, with its blank filled in, and then the question:

# %%
from labkit.fewshot.prompts.in_context import InContext, demonstrations
from labkit.report import results

reviews = labkit.load_task("world/reviews").few_shot(SHOTS, seed=0)
ask = PET.for_task(reviews, tokenizer)
shown = demonstrations(reviews.splits["train"], 2, classes=2, seed=0)
how = InContext(ask.template, ask.verbalizer, tokenizer, shown)
ids = how.collate([{"text": "what a splendid oven ."}])["input_ids"][0]
print(tokenizer.decode(ids))

# %% [markdown]
# A model that reads left to right gets the same from `labkit.fewshot.prompts.causal_prompt.CausalPrompt`, where the blank comes last:
# with `gpt2` from the hub it is the experiment of the paper.
#
# What does *our* model make of it? It has four layers and has read texts of up to 64 tokens, none of which held solved
# examples. It cannot have learned to learn in context, and we measure what happens to a model that has not, with a few
# draws of demonstrations:

# %%
measured = results("prompts")
context = labkit.Report(
    row for row in measured.rows if row["shown"] is not None and row.task == "world/reviews"
)
context.bounds = measured.bounds
context.lines(
    "shown",
    label="demonstrations before the question",
    title="world/reviews: the cloze without any is at 90",
)


# %% tags=["nbval-check-output"]
def verdict(difference, least=0.04):
    """Whether a paired difference leaves 0 out of its 95 % interval, and is more than a dozen of the 300 test rows."""
    points = f"{100 * difference.difference:+5.1f} points"
    if difference.low > 0 and difference.difference > least:
        return f"{points}, ahead"
    behind = difference.high < 0 and difference.difference < -least
    return f"{points}, behind" if behind else f"{points}, no difference beyond noise"


for name in ("world/reviews", "world/news", "world/subj", "world/fewclue/eprstmt"):
    shown_two = measured.compare("in context, 2 shown", "cloze", task=name)
    mended = measured.compare("in context calibrated, 2 shown", "in context, 2 shown", task=name)
    print(f"{name:<22} two shown against none {verdict(shown_two)}")
    print(f"{'':<22} calibrated against raw {verdict(mended)}")

# %% [markdown]
# A demonstration does not help here, it **harms**: with two solved reviews before the question, a model that was right nine times
# in ten is at chance. Only on the topics does calibration bring back a little. Before the next cell, make a guess: which part of
# a demonstration does the harm, the verdict words, or the review? We put three things in front of each review: two verdicts,
# two short solved reviews, and a story that judges nothing.

# %%
fronts = {
    "nothing": "",
    "two verdicts": "it was bad . it was great . ",
    "two short solved reviews": "the lamp was awful . it was bad . the soup was lovely . it was great . ",
    "a story": "we met on the field after lunch . the racket came from moscow on tuesday , and zoe tried it first . "
    "ian stood near the stage . petra gave me a ticket for the opera . she told me about it . ",
}
for name, front in fronts.items():
    how = PET(front + "{text} it was {mask} .", ask.verbalizer, tokenizer)
    right = labkit.predict(model, how, some[:150]).argmax(1) == [row["label"] for row in some[:150]]
    print(f"{name:<26}{len(tokenizer.tokenize(front)):>3} tokens before the review: {right.mean():.0%} right")

# %% [markdown]
# It is neither. The longer the text in front, the worse the answer, and the story does the most harm, though there is no
# opinion in it. Most reviews have 30 to 60 tokens, and in pre-training this model never read past the 64th: with forty tokens
# in front, the blank stands where it has never seen one. There it gives mostly one answer, whatever the review says, and a
# division cannot bring back what was not read. (Large models are trained on thousands of tokens, so they have the room; that
# they also *use* what stands there is what Brown et al. found.)
#
# In models that do read them, the order of the demonstrations matters as well. The same four in ten orders, here:

# %%
every = labkit.Report(row for row in measured.rows if row.method.startswith("order of four"))
every.bounds = measured.bounds
every.plot(title="Reviews: four examples, ten orders")

# %% [markdown]
# Each dot is one order. In the paper, GPT-3's accuracy on SST-2 moves between chance and the best published figure by the order of
# four examples alone (Lu et al. 2022, [*Fantastically ordered prompts*](https://arxiv.org/abs/2104.08786)). Here all ten lie at
# chance, raw and calibrated: an order can only matter where the examples are read.
#
# ## 6 · Several templates
#
# Which template is best is not known beforehand. Ask with all of them and average the log-probabilities: `TemplateEnsemble`.
# With labelled rows at hand, each template's accuracy there is its weight. (Several *models* that vote are in
# [03/02](02_pet.ipynb).)

# %%
from labkit.fewshot.prompts.ensemble import TemplateEnsemble

ensemble = TemplateEnsemble.for_task(task, tokenizer)
report = labkit.Report()
for number, member in enumerate(ensemble.members, start=1):
    report.add(f"template {number}: {member.template}", task, score(member))
report.add("all three", task, score(ensemble))
report.add("all three, weighted on dev", task, score(ensemble.weighted(model, task.splits["dev"])))
report.add("all three, calibrated", task, score(ensemble.calibrated(model, texts)))
report.table()

# %% [markdown]
# These three templates are about equally good, all being sentences that the model knows, so their mean is no better than its
# members. What an ensemble gives is insurance against a bad choice.
#
# ## 7 · Without words: prototypes and label vectors
#
# The word in the blank is chosen by the vector $h$ that the model has there. Why not use $h$ itself? Two ways, both with a few
# labelled examples:
#
# - the **soft verbalizer**: a trainable vector $v_y$ per class takes the place of a word's row in the output table,
#   $q(y \mid x) = \mathrm{softmax}(h \cdot v_y + b_y)$ (as in WARP, Hambardzumyan et al. 2021). It may start from a word;
# - the **prototypical verbalizer** (ProtoVerb, Cui et al. 2022): project $h$, pull examples of one class together and others
#   apart, and learn a prototype $c_y$ in the middle of each class; the answer is the nearest.

# %%
import copy
import inspect

from labkit.fewshot.prompts.prototypical import ProtoVerb, contrast
from labkit.training import Batches

print(inspect.getsource(contrast))
rows = task.splits["train"]
prototypes = ProtoVerb(named.template, task.labels, tokenizer)
learner = prototypes.attach(copy.deepcopy(model), rows, seed=0)
batches = Batches(rows, prototypes.collate, 16, seed=0)
labkit.fit(learner, prototypes.loss, batches, steps=60, lr=3e-3, seed=0, progress=lab.progress)
prototypes.fitted(learner, rows)  # takes them off: the model is a plain one again
value = labkit.evaluate(learner, prototypes, task, "test", progress=lab.progress)[task.metric]
print(f"prototypes of {SHOTS} examples a class: {100 * value:.1f} %")

# %% [markdown]
# ## 8 · All of it, measured
#
# Four tasks, the first 300 test rows, and a few draws (column n) of four examples per class (`python benchmarks/prompts.py run`;
# [its rows](../../labkit/results/prompts.json)). First what trains nothing. It is the same in every draw, so its noise is that of
# the test rows: below we call no difference one that is smaller than four points.

# %%
untrained = labkit.Report(
    row
    for row in measured.rows
    if not row.method.startswith(("trained", "prototypes", "order", "in context"))
)
untrained.bounds = measured.bounds
untrained.table()

# %% tags=["nbval-check-output"]
pairs = {
    "calibrated on nothing": ("cloze, calibrated without content", "cloze"),
    "calibrated on texts": ("cloze, calibrated on texts", "cloze"),
    "knowledgeable": ("words, knowledgeable unsifted", "words, several calibrated on texts"),
    "its sieve": ("words, knowledgeable sifted", "words, knowledgeable unsifted"),
}
for name in ("world/reviews", "world/news", "world/subj", "world/fewclue/eprstmt"):
    print(name)
    for what, (method, base) in pairs.items():
        print(f"    {what:<24}{verdict(measured.compare(method, base, task=name))}")

# %% [markdown]
# Read it by rows. **Where the words are the model's own, nothing is left to gain**: on reviews, news and the Chinese reviews one word
# in one template is as good as any number of words, templates and calibrations. **Calibration** pays where the label words
# are unevenly common, on facts against opinions; there the mean over real texts is better than a text without content. If
# you have texts of the task, without labels, use them.
#
# **Knowledge harms on one task, and there the sieve repairs it.** A look at what was looked up for `world/subj` says why:

# %% tags=["nbval-check-output"]
print("objective →", ", ".join(related_words(subj.words, subj.language)["objective"][:14]), "…")

# %% [markdown]
# "story", a word for a plot, is also a topic of the news, and the lexicon hands over that topic's whole list: strangers, orphans
# and sailors. These are real stray words, such as the paper's dictionary has, and dropping them gives the points back.
#
# And with four examples per class to train on, where only the verbalizer differs:

# %%
learned = labkit.Report(
    row for row in measured.rows if row.method.startswith(("trained", "prototypes"))
)
learned.bounds = measured.bounds
learned.table()

# %% [markdown]
# Four examples per class teach this model nothing that it could not say before: on no task is a row clearly ahead of the best
# untrained rows above. On facts against opinions one word is the worst choice even with training, and random vectors
# and prototypes, which need not say *fact*, come about as far as calibration did without training. On the other tasks the rows
# differ only in how much they lose.
# **Vectors drawn at random** must find in four examples what a word brings along: on the news they stay far behind, and on reviews
# they can end below chance. **Prototypes** need no words and keep up, but for one draw of the English reviews, where they are far
# *below* chance too. Vectors that start from words are PET, and end where PET ends.
#
# Below chance is worth a look. What does the untrained cloze say to the eight examples of the first two draws?

# %% tags=["nbval-check-output"]
for draw in (0, 1):
    eight = labkit.load_task("world/reviews").few_shot(4, seed=draw).splits["train"]
    says = labkit.predict(model, ask, eight, progress=False).argmax(1)
    agrees = sum(int(answer == row["label"]) for answer, row in zip(says, eight, strict=True))
    print(f"draw {draw}: the cloze gives {agrees} of 8 examples their label")

# %% [markdown]
# In draw 0 most of the eight are reviews that the model misreads, or whose label is wrong (some are, in this world as in others).
# A method that has nothing but these eight learns the two classes the wrong way round. One that starts from the words *bad* and
# *great* does not. That is what a verbalizer is for when examples are few.
#
# ### A last way to ask: the whole text's likelihood
#
# Instead of looking into the blank, fill it in and ask how likely the *whole text* has become: hide each token in turn and add
# up their log-probabilities (the pseudo-log-likelihood, Salazar et al. 2020, [*Masked language model
# scoring*](https://arxiv.org/abs/1910.14659)). It suits long candidates, endings or idioms, and costs one pass per token.

# %%
from labkit.fewshot.prompts.perplexity import PerplexityChoice

for bad in ("really awful", "a truly awful thing"):
    endings = {"negative": bad, "positive": "really great"}
    choice = PerplexityChoice("{text} it was {mask} .", endings, tokenizer)
    for text in ("we found the oven wonderful .", "what a horrible screen ."):
        ((negative, positive),) = labkit.predict(model, choice, [{"text": text}])
        print(f"{text:<32} {bad}: {negative:.2f}   really great: {positive:.2f}")

# %% [markdown]
# With two endings of the same form it chooses well. "A truly awful thing" it never chooses, even for the horrible screen,
# because that phrase is unlikely after any review. So compare the likelihoods of texts only where the texts have the same form.
#
# ## Read on
#
# - Ding et al. 2022, [*OpenPrompt*](https://arxiv.org/abs/2111.01998): the toolkit whose parts these are.
# - Liu et al. 2023, [*Pre-train, prompt, and predict*](https://arxiv.org/abs/2107.13586): a map of the field.
# - `labkit/fewshot/prompts/`: [`template.py`](../../labkit/fewshot/prompts/template.py), [`verbalizer.py`](../../labkit/fewshot/prompts/verbalizer.py),
#   [`generative.py`](../../labkit/fewshot/prompts/generative.py), [`knowledgeable.py`](../../labkit/fewshot/prompts/knowledgeable.py),
#   [`in_context.py`](../../labkit/fewshot/prompts/in_context.py), [`prototypical.py`](../../labkit/fewshot/prompts/prototypical.py).
# - Next, 03/02: [PET](02_pet.ipynb) trains the cloze, and lets models teach one another.
