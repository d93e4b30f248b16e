# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts: one model, and many ways to ask it
#
# A language model has one skill: it says which word fits. *Prompting* puts a question so that this skill answers it.
# Nothing is trained in this lesson, so everything depends on how one asks. How much does it matter, and can one find
# out which way is good **without a single label**?
#
# **After this lesson you can** write a [prompt](../glossary.ipynb#prompt) as a template with label words, and say what
# is cut when a text is too long; measure a prompt's bias and divide it out; compare prompts without labels, and say
# when that misleads.
#
# **45 minutes.** Before it: [pre-training](../01_foundations/04_pretraining.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="03/01")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TEXTS = 150  # @param {type:"integer"}

# %% [markdown]
# ## 1 · A question with a blank
#
# One review, one model, and three ways to ask. The model fills the [blank](../glossary.ipynb#blank), `[MASK]`:

# %%
import torch

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()


def in_the_blank(sentence):
    """The model's probability for every word of its vocabulary, in the [MASK] of the sentence: (vocabulary,)."""
    inputs = tokenizer(sentence, return_tensors="pt")
    blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
    with torch.no_grad():
        return model(**inputs).logits[0, blank].softmax(-1)


def likeliest(sentence, most=4):
    top = in_the_blank(sentence).topk(most)
    return ", ".join(f"{tokenizer.decode(int(word))} {share:.2f}" for share, word in zip(*top, strict=True))


review = "we found the museum wonderful ."
for template in ("{} it was [MASK] .", "{} the [MASK] was great .", "{} this is news about [MASK] ."):
    print(f"{template:<32}", likeliest(template.format(review)))

# %% [markdown]
# The first asks what it was like, the second what in it was great, the third what the text is about. To get a *class*,
# choose a [label word](../glossary.ipynb#label-word) for each, and look at these words alone. If "bad" has the
# probability 0.02 in the blank and "great" has 0.06, then *negative* gets the share $0.02 / (0.02 + 0.06) = 0.25$ and
# *positive* gets $0.75$. It does not matter that both words are unlikely. With a template $T$ that writes the text $x$
# into a sentence, and a [verbalizer](../glossary.ipynb#verbalizer) $v$ that names a word for each class $y$:
#
# $$q(y \mid x) = \frac{p\big(v(y) \mid T(x)\big)}{\sum_{y'} p\big(v(y') \mid T(x)\big)} .$$
#
# These two, template and verbalizer, are the prompt. (A model that reads from left to right has its blank at the end;
# the rest is the same.)

# %%
bad, great = in_the_blank(f"{review} it was [MASK] .")[tokenizer.convert_tokens_to_ids(["bad", "great"])].tolist()
print(f"bad {bad:.3f}, great {great:.3f}: negative {bad / (bad + great):.2f}, positive {great / (bad + great):.2f}")

# %% [markdown]
# ## 2 · Templates: what the model reads
#
# The code above has three faults. A text that contains `[MASK]` has two blanks. A long text is cut at its end, where
# the blank is. And Python's `format` evaluates what stands in braces. So a template is **parsed** into typed parts,
# which are only looked up in a row of data (the parts are those of OpenPrompt, Ding et al. 2022):
#
# | written | what it is |
# |---|---|
# | `it was` | words |
# | `{text}`, `{text\|whole}` | a field of the row; cut where room is short, or never |
# | `{mask}`, `{mask*2}` | the blank, one or two tokens wide |
# | `{soft:it is}`, `{soft*3}` | trainable tokens ([03/03](03_soft_prompts.ipynb)) |
# | `{meta:domain}` | another value of the row |
# | `{special:sep}` | a separator |

# %% tags=["nbval-check-output"]
from labkit.errors import UsageError
from labkit.fewshot.prompts.template import Template

for part in Template.parse("{meta:domain} review : {text} it was {mask} .").parts:
    print(repr(part))
for wrong in ("{text.__class__} it was {mask} .", "{text} it was good ."):
    try:
        Template.parse(wrong, fields=("text",))
    except UsageError as error:
        print(error)

# %% [markdown]
# A model has room for so many [tokens](../glossary.ipynb#token) and no more. The template's words, the blank and the
# values stay. The fields give way, **always the longest one first**, so that a short question survives beside a long
# text.
#
# ### Exercise 1: the longest first
#
# *●○○ · 5 minutes*
#
# The lengths of the fields in tokens, and the room for all of them, in; a list of the lengths that are kept, in the
# same order, out. Take tokens one by one from the field that is longest *at that moment*. Where several are longest,
# any of them may lose one.
#
# ```python
# cut_longest([10, 3, 8], 15)  # [6, 3, 6]: first the 10 loses two, then both long fields lose two each
# cut_longest([4, 2], 9)  # [4, 2]: all of it fits
# ```

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
# Your function cuts a text and a question, and the model answers. Look at what is left of each, and at the answer:

# %%
row = {
    "text": "we found the oven wonderful , and the lid was really nice . simon tried it on monday in oslo .",
    "question": "is it a good oven ?",
    "domain": "kitchen",
}
fields = [tokenizer.tokenize(row[name]) for name in ("text", "question")]
for room in (27, 15, 8, 2):
    kept = cut_longest([len(tokens) for tokens in fields], room)
    text, question = (" ".join(tokens[: int(n)]) for tokens, n in zip(fields, kept, strict=True))
    print(
        f"room for {room}: {text} | {question} |\n    it was ___: {likeliest(f'{text} {question} it was [MASK] .', 3)}"
    )

# %% [markdown]
# The playground does the same for whole templates. Break the template, and read what is said. Then answer by moving the
# slider: **how much room does this template need before "wonderful" is read?**

# %%
from labkit.widgets import template_playground

template_playground(tokenizer, row, "{meta:domain} : {text} {special:sep} {question} it was {mask} .", room=24)

# %% [markdown]
# ## 3 · Thirty-six ways to ask
#
# Somebody wants to know which reviews are positive, and has no label at all. Six templates and six pairs of words come
# to mind, for *negative* and *positive*. Some are odd, but a person could have written each of them:

# %%
from labkit.fewshot.auto_prompts.candidates import blank_log_probabilities

TEMPLATES = ("{text} it was {mask} .", "{text} all in all it was {mask} .", "{text} {mask} !", "so {mask} . {text}",
             "it is {mask} that {text}", "{mask} : {text}")  # fmt: skip
PAIRS = ("bad great", "terrible good", "poor wonderful", "no yes", "vile good", "dull splendid")


def ask(texts, templates, pairs):
    """What every prompt answers: {(template, words): (texts, classes)}."""
    found = {}
    for template in templates:
        said = blank_log_probabilities(model, tokenizer, Template.parse(template), texts)  # (texts, vocabulary)
        for words in pairs:
            ids = tokenizer.convert_tokens_to_ids(words.split())
            found[template, words] = said[:, ids].softmax(1)  # the label words' shares
    return found


# %% [markdown]
# **Predict**: guessing is right in 50 % of the reviews, and the best reader in 93 %. How many of the 36 prompts are
# below 60 %?

# %%
reviews = labkit.load_task("world/reviews").splits["test"][:TEXTS]


def right(answers, texts):
    """The share of texts whose likeliest class is the right one."""
    return (answers.argmax(1) == torch.tensor([text["label"] for text in texts])).float().mean().item()


asked = ask(reviews, TEMPLATES, PAIRS)
order = sorted(asked, key=lambda prompt: right(asked[prompt], reviews))
print("below 60 %:", sum(right(p, reviews) < 0.6 for p in asked.values()), "of", len(asked))
for template, words in (order[0], order[len(order) // 2], order[-1]):
    print(f"{right(asked[template, words], reviews):.0%}  {template} [{words}]")

# %% [markdown]
# Same model, same reviews, nothing trained: more than half of the prompts are near guessing, and others are near the
# best reader. So asking decides. What is wrong with the bad ones? Look at what three of them say on average, and a good
# one:

# %% tags=["nbval-check-output"]
for template, words in (("so {mask} . {text}", "no yes"), ("{text} it was {mask} .", "no yes"),
                        ("{text} it was {mask} .", "vile good"), ("{text} it was {mask} .", "bad great")):  # fmt: skip
    mean = asked[template, words].mean(0).tolist()
    print(f"{template:<24}{words:<10} mean answer: negative {mean[0]:.2f}, positive {mean[1]:.2f}")

# %% [markdown]
# ## 4 · Every prompt has a bias
#
# After nearly every review "no" is much likelier than "yes" in this blank, so the answer is always *negative*. This is
# the prompt's [prior](../glossary.ipynb#prior). It can be divided out. Let the mean answer be $(0.8, 0.2)$, and the
# answer to one review $(0.6, 0.4)$. The ratios are $0.6 / 0.8 = 0.75$ and $0.4 / 0.2 = 2$; divided by their sum,
# $2.75$, they are $(0.27, 0.73)$. The answer has changed, because 0.4 is twice as much as *positive* usually gets here.
# With the prior $\bar q$:
#
# $$\hat q(y \mid x) = \frac{q(y \mid x) / \bar q(y)}{\sum_{y'} q(y' \mid x) / \bar q(y')} .$$
#
# This is [calibration](../glossary.ipynb#calibration). Zhao et al. (2021, [*Calibrate before
# use*](https://arxiv.org/abs/2102.09690)) take the answer to a text without content, such as "N/A", for the prior. If
# there are texts of the task, the mean answer over them serves as well or better, and they need no labels.
#
# ### Exercise 2: calibration
#
# *●○○ · 5 minutes*
#
# Answers `p` (texts, classes) and the prior `p_free` (classes,) in; the calibrated answers, (texts, classes), out.
#
# ```python
# calibrated(torch.tensor([[0.6, 0.4]]), torch.tensor([0.8, 0.2]))  # [[0.27, 0.73]], as above
# ```


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
# `p / p_free` divides column by column: (texts, classes) by (classes,).
# </details>
#
# <details><summary>Hint 3</summary>
#
# `.sum(-1, keepdim=True)` keeps the shape (texts, 1), by which the rows can be divided.
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

# %%
even = {prompt: calibrated(p, p.mean(0)) for prompt, p in asked.items()}
for prompt in (
    ("so {mask} . {text}", "no yes"),
    ("{text} it was {mask} .", "vile good"),
    ("{mask} : {text}", "no yes"),
):
    print(f"{' ['.join(prompt)}]: {right(asked[prompt], reviews):.0%} → {right(even[prompt], reviews):.0%}")

# %% tags=["nbval-check-output"]
before, after = (sum(right(p, reviews) for p in some.values()) / len(some) for some in (asked, even))
print(f"mean of {len(asked)} prompts: {before:.0%}, calibrated {after:.0%}")

# %% [markdown]
# The first prompt always said *negative*, and yet it knew nearly all of the answers. The last one hardly gains, because
# it has not only a bias: its answers have little to do with the reviews. How can one tell the two apart without labels?
#
# ## 5 · A good prompt answers differently to different texts
#
# Three prompts, two texts, and what each answers:
#
# - A answers $(0.9, 0.1)$ and $(0.1, 0.9)$; the mean is $(0.5, 0.5)$.
# - B answers $(0.9, 0.1)$ both times; the mean is $(0.9, 0.1)$.
# - C answers $(0.5, 0.5)$ both times; so is the mean.
#
# Only A's answers depend on the text: each of them is decided, and their mean is not. B always says the same, and C
# never decides. How undecided an answer is, is its [entropy](../glossary.ipynb#entropy) $H(q) = -\sum_y q(y) \log
# q(y)$: here $H(0.9, 0.1) = 0.33$ and $H(0.5, 0.5) = 0.69$. Take the entropy of the mean, and subtract the mean of the
# entropies: A gets $0.69 - 0.33 = 0.37$, B gets $0.33 - 0.33 = 0$, and C gets $0.69 - 0.69 = 0$. In symbols, over the
# texts $x$:
#
# $$I = H\big(\bar q\big) - \frac{1}{n} \sum_x H\big(q(\cdot \mid x)\big), \qquad \bar q = \frac{1}{n} \sum_x q(\cdot \mid x) .$$
#
# This is the [mutual information](../glossary.ipynb#mutual-information) of text and answer: by how much the text
# decides the answer. Sorensen et al. (2022, [*An information-theoretic approach to prompt engineering without ground
# truth labels*](https://arxiv.org/abs/2203.11364)) choose prompts by it.
#
# ### Exercise 3: mutual information
#
# *●●○ · 8 minutes*
#
# Answers (texts, classes) in; $I$ in nats (natural logarithms), one number, out. A probability may be 0, and $0 \log 0$
# counts as 0.
#
# ```python
# mutual_information(torch.tensor([[0.9, 0.1], [0.1, 0.9]]))  # 0.37, prompt A
# mutual_information(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # 0.69
# ```


# %%
def mutual_information(p): ...  # your turn


mutual_information = check.mutual_information(mutual_information)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `-torch.xlogy(q, q).sum(-1)` is the entropy over the last dimension, and `torch.xlogy(0, 0)` is 0.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The mean answer is `p.mean(0)`, (classes,). The entropies of the answers are (texts,).
# </details>
#
# <details><summary>Hint 3</summary>
#
# Write `entropy` as a function, and use it twice: `entropy(p.mean(0)) - entropy(p).mean()`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mutual_information(p):
#     def entropy(q):
#         return -torch.xlogy(q, q).sum(-1)
#
#     return float(entropy(p.mean(0)) - entropy(p).mean())
# ```
# </details>
#
# Now the 36 prompts. To the right stands what your function finds, without labels; the height needs labels. A circle is
# a prompt as it was asked, a square the same prompt calibrated. **Predict**: where do the circles at 50 % stand?

# %%
from labkit.report import scatter

found = {prompt: float(mutual_information(p)) for prompt, p in asked.items()}
groups = {
    name: [(found[prompt], 100 * right(p, reviews)) for prompt, p in some.items()]
    for name, some in (("as asked", asked), ("calibrated", even))
}
scatter(
    groups,
    "mutual information of text and answer (nats), no labels",
    "right (%)",
    "36 prompts for one question, one model",
)

# %% [markdown]
# Look at the left third first. Where the answer hardly depends on the text, the circles lie at 50 %. Calibration lifts
# some of them far up, and cannot lift others. Then look at the right: prompts whose answers depend much on the text are
# right in about nine of ten, and calibration changes nothing, because they have no bias. So for reviews one can choose
# a prompt without a label.
#
# ## 6 · Choosing without labels
#
# ### Exercise 4: the chosen prompt
#
# *●●○ · 8 minutes*
#
# Answers of several prompts (prompts, texts, classes) in; the place of the prompt with the largest mutual information,
# and its calibrated answers (texts, classes), out. The prior is the mean answer of that prompt.
#
# ```python
# a = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
# b = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
# choose_prompt(torch.stack([b, a]))  # (1, a): prompt 1; its mean answer is even, so a stays as it is
# ```


# %%
def choose_prompt(answers): ...  # your turn


choose_prompt = check.choose_prompt(choose_prompt)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `[mutual_information(p) for p in answers]` is one number per prompt.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `max(range(len(answers)), key=lambda i: mutual_information(answers[i]))` is the place of the largest.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `calibrated(best, best.mean(0))` with `best = answers[place]`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def choose_prompt(answers):
#     place = max(range(len(answers)), key=lambda i: mutual_information(answers[i]))
#     best = answers[place]
#     return place, calibrated(best, best.mean(0))
# ```
# </details>
#
# Use it on reviews, and on a second question: does a sentence state a fact or an opinion (`world/subj`)? There are six
# templates again, and four pairs of words that the task suggests. **Predict**: is the chosen prompt good on both?

# %%
from labkit.report import Table

subj = labkit.load_task("world/subj")
facts = subj.splits["test"][:TEXTS]
OTHER = ("{text} that is {mask} .", "{text} this is pure {mask} .", "{text} this is a {mask} .", "{mask} : {text}",
         "now comes pure {mask} . {text}", "here is an {mask} : {text}")  # fmt: skip
told = ask(facts, OTHER, [" ".join(pair) for pair in zip(*subj.words.values(), strict=False)])
lines = []
for name, some, texts in (("reviews", asked, reviews), ("facts or opinions", told, facts)):
    (first, *_), prompts = some.values(), list(some)
    place, answers = choose_prompt(torch.stack(list(some.values())))
    scores = (sum(right(p, texts) for p in some.values()) / len(some), right(first, texts),
              right(calibrated(first, first.mean(0)), texts), right(answers, texts))  # fmt: skip
    lines.append((name, *(f"{100 * score:.0f}" for score in scores), " · ".join(prompts[int(place)])))
Table(("right (%)", "mean of all", "first", "first, calibrated", "chosen, calibrated", "which"), tuple(lines))

# %% tags=["nbval-check-output"]
error = 2 * (2 * 0.25 / TEXTS) ** 0.5  # two standard errors of a difference, at most
chosen = {name: right(choose_prompt(torch.stack(list(some.values())))[1], texts)
          for name, some, texts in (("reviews", asked, reviews), ("facts or opinions", told, facts))}  # fmt: skip
best = {"reviews": max(right(p, reviews) for p in even.values()),
        "facts or opinions": max(right(calibrated(p, p.mean(0)), facts) for p in told.values())}  # fmt: skip
for name, value in chosen.items():
    print(
        f"{name}: the chosen prompt is behind the best one by more than two standard errors: {best[name] - value > error}"
    )

# %% [markdown]
# On reviews the choice is as good as the best prompt. On facts and opinions it is not: the chosen prompt is far behind,
# and the first prompt with calibration alone is ahead of it. Its answers depend most on the texts, but not in the way
# that was meant. ("story" is also a topic of this world's news, so it may fit a text for another reason.) Mutual
# information says *that* the answers depend on the texts. It cannot say on what in them.
#
# ## 7 · Two more ways to ask
#
# **Words of several pieces.** Real label names have all lengths: the 119 of FewCLUE's IFLYTEK take two to eight Chinese
# characters. Give each as many blanks as it has pieces, and add up the log-probabilities of the pieces. Each piece can
# only take probability away, so the sum prefers short names, and one takes the *mean* over the pieces instead. In a
# review, *negative* is now "terrible", and *positive* is "very very good":

# %%
from labkit.fewshot.prompts.generative import GenerativePET, LabelTexts

uneven = {"negative": "terrible", "positive": "very very good"}
for normalise in (False, True):
    how = GenerativePET(TEMPLATES[0], LabelTexts(uneven, tokenizer, normalise=normalise), tokenizer)
    for name, one in (("as asked", how), ("calibrated", how.calibrated(model, reviews))):
        p = torch.from_numpy(labkit.predict(model, one, reviews, progress=False))
        said = f"says positive {(p.argmax(1) == 1).float().mean():.0%}, right {right(p, reviews):.0%}"
        print(f"{'mean' if normalise else 'sum '} over pieces, {name}: {said}")

# %% [markdown]
# By the sum it never says "very very good". The mean takes out the length, and calibration takes out that the phrase is
# less usual than the word.
#
# **Solved examples in front.** GPT-3 solves a task after it has read a few solved examples, with no weight changed:
# this is [in-context learning](../glossary.ipynb#in-context-learning) (Brown et al. 2020, [*Language models are
# few-shot learners*](https://arxiv.org/abs/2005.14165)). **Predict**: our model has read single texts of up to 64
# tokens. What will two solved reviews do to its answers? And a story that judges nothing?

# %%
fronts = {
    "nothing": "",
    "two verdicts": "it was bad . it was great . ",
    "two solved reviews": "the lamp was awful . it was bad . the soup was lovely . it was great . ",
    "a story": "we met on the field after lunch . the racket came from moscow on tuesday , and zoe tried it first . "
    "ian stood near the stage . petra gave me a ticket for the opera . she told me about it . ",
}
for name, front in fronts.items():
    ((prompt, p),) = ask(reviews, [front + TEMPLATES[0]], ["bad great"]).items()
    score, mended = right(p, reviews), right(calibrated(p, p.mean(0)), reviews)
    print(f"{name:<20}{len(tokenizer.tokenize(front)):>3} tokens in front: {score:.0%} right, calibrated {mended:.0%}")

# %% [markdown]
# The longer the text in front, the worse the answer, and the story does the most harm although it says nothing about
# the question. Most reviews have 30 to 60 tokens, so behind the story the blank stands where this model has never seen
# one in pre-training. It cannot have learned to use examples either. Large models have read thousands of tokens at a
# time, and the paper found that they do use them; but even there the *order* of four examples moves the score between
# guessing and the best (Lu et al. 2022, [*Fantastically ordered prompts*](https://arxiv.org/abs/2104.08786)).
#
# **And many more**: several words per class, words looked up in a lexicon and sifted, several templates that vote, the
# [likelihood of the whole text](../glossary.ipynb#pseudo-log-likelihood), [prototypes](../glossary.ipynb#prototype).
# They are measured on four tasks (300 test rows each; [all
# numbers](../../docs/results.md#prompts-on-a-frozen-model-and-with-four-examples-a-class)). Are they better than one
# word, calibrated?

# %% tags=["nbval-check-output"]
from labkit.report.pages import page

measured = page("prompts").report
for task in ("world/reviews", "world/news", "world/subj", "world/fewclue/eprstmt"):
    rows = [row for row in measured.rows if row.task == task and row.seed == 0]
    score = {
        row.method: row.value
        for row in rows
        if not row.method.startswith(("trained", "prototypes", "in context", "order"))
    }
    best = max(score, key=score.get)
    one = score["cloze, calibrated on texts"]
    print(
        f"{task:<22} one word {score['cloze']:.1%}, calibrated {one:.1%}; the best of {len(score)}: {score[best]:.1%} ({best})"
    )

# %% [markdown]
# The best of ten ways is at most three points ahead of one calibrated word. Of 300 rows that is [within the
# noise](../glossary.ipynb#beyond-noise), and the best of ten looks better than it is.
#
# ## 8 · So, how should one ask?
#
# With one model and one question, the way of asking decided between guessing and nine right answers of ten. Two things
# help without a label. **Calibrate** on texts of the task: it costs little, and on average over the 36 prompts it
# gained eleven points. Compare prompts by **mutual information**: where it is near 0, the answers hardly depend on the
# text, and where it is high, they do. Whether they depend on what you mean, it does not say. For that, look at some
# answers, or get a few labels: what these add is the question of the next lesson.
#
# ## Read on
#
# - Ding et al. 2022, [*OpenPrompt*](https://arxiv.org/abs/2111.01998): the toolkit whose parts these are. Liu et al. 2023,
#   [*Pre-train, prompt, and predict*](https://arxiv.org/abs/2107.13586): a map of the field.
# - In `labkit/fewshot/prompts/`: [`knowledgeable.py`](../../labkit/fewshot/prompts/knowledgeable.py) (Hu et al. 2022, words from a
#   knowledge base), [`ensemble.py`](../../labkit/fewshot/prompts/ensemble.py), [`in_context.py`](../../labkit/fewshot/prompts/in_context.py),
#   [`perplexity.py`](../../labkit/fewshot/prompts/perplexity.py), [`prototypical.py`](../../labkit/fewshot/prompts/prototypical.py) (Cui et
#   al. 2022), [`causal_prompt.py`](../../labkit/fewshot/prompts/causal_prompt.py) for models that read left to right. Rules that join
#   several blanks (Han et al. 2022, [*PTR*](https://arxiv.org/abs/2105.11259)) are templates with two `{mask}`.
# - Next, 03/02: [PET](02_pet.ipynb) trains what is only asked here.
