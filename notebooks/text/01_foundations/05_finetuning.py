# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One body, many heads
#
# A pre-trained model turns a text into one vector per [token](../glossary.ipynb#token). That is all it does, and nobody
# asked for vectors. People ask for a class, for the names in a text, for the answer to a question. How does one and the
# same *body* give all of these, and how much of it must learn anew for each?
#
# **After this lesson you can** put a [head](../glossary.ipynb#head) for classes, tags, spans or options on a pre-trained
# body and train it; score a reader as SQuAD does; say when the body may stay [frozen](../glossary.ipynb#frozen), and
# what a reader has *not* learned when half of its answers are wrong.
#
# **45 minutes.** Before it: [pre-training](04_pretraining.ipynb).

# %%
import labkit

lab = labkit.setup(lesson="01/05")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
SENTENCES = 3  # @param {type:"integer"}

# %% [markdown]
# ## 1 · One text, three kinds of answer
#
# The course's world has a reading task: a passage, a question, and the words of the passage that answer it. Here each passage
# is cut to three sentences. Three copies of one body get three heads, each a single linear layer with random weights: one
# says *what kind of thing* the question asks for, one *tags* every word of the passage, one *points* at the answer.

# %%
from labkit.evaluation import answers
from labkit.foundations.finetuning.questions import as_form, names_in
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.foundations.native import native_head
from labkit.foundations.reading import Reader
from labkit.foundations.tagging import Tagger

body, tokenizer = labkit.load_model(MODEL)
reading = labkit.load_task("world/reading")
tasks = {form: as_form(reading, form, sentences=SENTENCES) for form in ("class", "tags", "span")}
kinds, tags = tasks["class"].labels, tasks["tags"].labels
reader = Reader(tokenizer, max_length=128, unanswerable=False, max_answer_length=8)
methods = {"class": HeadClassifier(tokenizer, ("question",)), "tags": Tagger(tokenizer, tags), "span": reader}
heads = {"class": add_head(body, kinds, "mean", seed=0), "tags": native_head(body, "token", tags, seed=0),
         "span": native_head(body, "span", seed=0)}  # fmt: skip

# %%
def people(row):
    return list(names_in(row["text"]).values()).count("person")


found = next(row for row in tasks["span"].splits["test"] if "who" in row["question"] and people(row) == 1)
row = {name: found[name] for name in ("text", "question")}


def show(row):
    kind = labkit.predict(heads["class"], methods["class"], [row])[0].argmax()
    named = answers(heads["tags"], methods["tags"], [row])[0]["spans"]
    print("class:", kinds[kind])
    print("tags: ", ", ".join(f"{one['text']} = {one['type']}" for one in named[:6]) or "none")
    print("span: ", answers(heads["span"], methods["span"], [row])[0]["text"])


print(row["text"], "\n" + row["question"], "\n")
show(row)

# %% [markdown]
# That is nonsense, because the heads know nothing. Now each is trained for a short time on labelled questions, together with
# its copy of the body:

# %%
from labkit.training import Batches

for form, steps in (("class", 30), ("tags", 50), ("span", 100)):
    batches = Batches(tasks[form].splits["train"], methods[form].collate, 16, seed=0)
    labkit.fit(heads[form], methods[form].loss, batches, steps=steps, lr=2e-3, seed=0, progress=lab.progress)
show(row)

# %% [markdown]
# The same body, three kinds of answer. (The question was chosen: it asks for a person, and its passage names only one.
# Section 6 takes all questions.) Now one head after the other.
#
# ## 2 · A class: many vectors become one
#
# A class belongs to the whole text, but the body gives a vector per token. So the vectors are [pooled](../glossary.ipynb#pooling): BERT takes the one
# of its first token, [CLS]; here we take the mean. Watch the [padding](../glossary.ipynb#padding): texts of one batch have
# different lengths, and the shorter ones are filled up. Two texts, $d = 2$:
#
# - $(1, 0), (3, 2), (2, 1)$: three real tokens, mean $(2, 1)$.
# - $(2, 2), (4, 0)$ and padding, $(9, 9)$: the mean of all is $(5, 3.67)$, that of the real tokens $(3, 1)$.
#
# The padding's vector must not count: the same text would get another answer in another batch.
# With $m_t = 1$ for real tokens and 0 for padding, and a weight $w_c$ and a bias $b_c$ for each class $c$:
#
# $$\bar h = \frac{\sum_t m_t h_t}{\sum_t m_t}, \qquad z_c = w_c \cdot \bar h + b_c .$$
#
# Only $w$ and $b$ are new. (Devlin et al. 2019, [*BERT*](https://arxiv.org/abs/1810.04805), §4.1.) **Matching** ("do these
# two texts say the same?") is the same head: the body reads "[CLS] first text [SEP] second text [SEP]" at once, so that each
# token can look at both; pairs of texts are among the tasks of [03/08](../03_fewshot/08_fewclue.ipynb).
#
# ### Exercise 1: the logits of classes
#
# *●○○ · 6 minutes*
#
# States (batch, tokens, d), mask (batch, tokens), weight (classes, d) and bias (classes,) in; logits (batch, classes) out. The
# model learns through them, so they keep their gradient.
#
# ```python
# states = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [2.0, 1.0]], [[2.0, 2.0], [4.0, 0.0], [9.0, 9.0]]])
# mask = torch.tensor([[1, 1, 1], [1, 1, 0]])  # 1: a real token
# weight, bias = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 10.0])
# class_logits(states, mask, weight, bias)  # [[2, 11], [3, 11]] for the two texts above
# ```

# %%
import torch

from labkit.checks import finetuning as check


def class_logits(states, mask, weight, bias): ...  # your turn


class_logits = check.class_logits(class_logits)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `mask[..., None]` has the shape (batch, tokens, 1), so it can multiply the states.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The pooled vectors are `(states * real).sum(1) / real.sum(1)` with `real = mask[..., None]`, (batch, d).
# </details>
#
# <details><summary>Hint 3</summary>
#
# A linear layer: `pooled @ weight.T + bias`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def class_logits(states, mask, weight, bias):
#     real = mask[..., None]
#     pooled = (states * real).sum(1) / real.sum(1)
#     return pooled @ weight.T + bias
# ```
# </details>
#
# Train a new head and a new copy of the body with your function. Before training it should be right as often as guessing,
# about once in twelve kinds.

# %% tags=["nbval-check-output"]
mine = add_head(body, kinds, "mean", seed=1)
batches = Batches(tasks["class"].splits["train"], methods["class"].collate, 16, seed=1)


def objective(model, batch):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    states = model.base_model(**inputs).last_hidden_state
    logits = class_logits(states, batch["attention_mask"], model.classifier.weight, model.classifier.bias)
    return torch.nn.functional.cross_entropy(logits, batch["labels"])


labkit.fit(mine, objective, batches, steps=30, lr=2e-3, seed=1, progress=lab.progress)
right = labkit.evaluate(mine, methods["class"], tasks["class"])["accuracy"]
print("more than nine questions of ten:", right > 0.9)

# %% [markdown]
# ## 3 · A tag per word: one label per piece, or none
#
# A tagger has the same linear layer and does not pool: every token gets its own logits. But people tag *words*, and a
# [tokenizer](../glossary.ipynb#tokenizer) may cut a word into pieces. The rule is BERT's: the word's **first** piece gets its
# tag; further pieces, [CLS] and [SEP] get the label −100, which the loss leaves out. `B-` begins a name, `I-` continues
# it, `O` is outside. Look at the unknown name "quimbleton" and its pieces:

# %% tags=["nbval-check-output"]
words, tagged = "quimbleton owns the wolf recorder .", ["B-person", "O", "O", "B-device", "I-device", "O"]
batch = methods["tags"].collate([{"text": words, "label": [tags.index(tag) for tag in tagged]}])
pieces = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
for piece, label in zip(pieces, batch["labels"][0].tolist(), strict=True):
    print(f"{piece:<8} {label:>4} {tags[label] if label >= 0 else 'not asked'}")

# %% [markdown]
# Every word is asked for exactly once, so a word of many pieces does not weigh more than others. Part-of-speech tagging and
# word segmentation are the same head with other tags.
#
# ## 4 · A span: where does the answer begin, where does it end?
#
# The third head points at a [span](../glossary.ipynb#span). It gives each token two numbers: how well the answer could *begin* here, and how well it could *end* here. The
# model reads question and passage together, "[CLS] question [SEP] passage [SEP]". Four tokens with their two numbers:

# %%
start, end = torch.tensor([1.0, 4.0, 2.0, 0.0]), torch.tensor([5.0, 1.0, 3.0, 2.0])
print("best beginning: token", int(start.argmax()), "· best end: token", int(end.argmax()))
for first, last in ((1, 0), (1, 1), (1, 2), (0, 0), (2, 2)):
    print(f"from {first} to {last}: {start[first]:.0f} + {end[last]:.0f} = {start[first] + end[last]:.0f}")

# %% [markdown]
# The best beginning is token 1 and the best end is token 0, so the two best together are no answer at all. The *pair* must be
# chosen, among those that end no earlier than they begin and are not longer than $\ell$ tokens:
#
# $$(\hat a, \hat b) = \arg\max_{a \,\le\, b \,<\, a + \ell} \; s_a + e_b .$$
#
# Here it is the pair from 1 to 2. Among pairs with the same sum, any is right. (Devlin et al. 2019, §4.2.)
#
# ### Exercise 2: the best span
#
# *●●○ · 8 minutes*
#
# `start` (tokens,), `end` (tokens,) and the largest number of tokens in; out the first token, the last token and the sum of
# their two numbers. A number may be −∞: no answer can begin or end there.
#
# ```python
# best_span(torch.tensor([5.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 3.0]), 2)  # (0, 1, 7.0); 0 to 2 is too long
# ```


# %%
def best_span(start, end, longest): ...  # your turn


best_span = check.best_span(best_span)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two loops: `first` over all tokens, `last` from `first` on.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `last` runs over `range(first, min(first + longest, len(end)))`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Keep the best so far, and begin with a first pair, not with the score 0: all scores may be negative.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def best_span(start, end, longest):
#     spans = [(a, b) for a in range(len(start)) for b in range(a, min(a + longest, len(end)))]
#     first, last = max(spans, key=lambda span: float(start[span[0]] + end[span[1]]))
#     return first, last, float(start[first] + end[last])
# ```
# </details>
#
# Now your function answers with the trained head. It needs three things from a batch: the two numbers, and `characters`,
# the place in the passage of each token (−1 where a token is not of the passage, and there the numbers become −∞):


# %%
def spans(model, method, rows):
    """Start and end (rows, tokens), −∞ outside the passages, and the tokens' characters (rows, tokens, 2)."""
    batch = method.collate(rows)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        out = model.eval()(**inputs)
    outside = batch["characters"][..., 0] < 0
    return *(one.masked_fill(outside, -torch.inf) for one in (out.start_logits, out.end_logits)), batch["characters"]


start, end, characters = spans(heads["span"], reader, [row])
first, last, score = best_span(start[0], end[0], 8)
print(f"tokens {first} to {last}, score {score:.1f}:", row["text"][characters[0, first, 0] : characters[0, last, 1]])

# %% [markdown]
# ### When is an answer right?
#
# "the wolf recorder" or "wolf recorder"? SQuAD first cleans both answers (small letters, no punctuation, no articles) and
# then gives two scores: [exact match](../glossary.ipynb#exact-match), 1 if the words are the same in the same order, else 0; and
# [F1](../glossary.ipynb#f1) of the words. "north cedar" is right, "in north cedar city" is given:
#
# | | |
# |---|---|
# | words in common | 2 |
# | precision: of the given words | 2 / 4 |
# | recall: of the right words | 2 / 2 |
# | F1, their harmonic mean | 2 · ½ · 1 / (½ + 1) = 0.667 |
#
# In symbols, with $n$ common words, $P = n / |\text{given}|$ and $R = n / |\text{told}|$:
# $\;F_1 = 2PR / (P + R) = 2n / (|\text{told}| + |\text{given}|)$. A word that stands twice counts twice, as often as *both*
# answers have it. If one answer is empty, F1 is 1 if both are, else 0. (Rajpurkar et al. 2016,
# [*SQuAD*](https://arxiv.org/abs/1606.05250), §6.1.)
#
# ### Exercise 3: exact match and F1
#
# *●●○ · 7 minutes*
#
# The words of the right answer and of the given one, both cleaned already, in; exact match and F1 out.
#
# ```python
# answer_scores(["north", "cedar"], ["in", "north", "cedar", "city"])  # (0, 0.667)
# answer_scores(["far", "away"], ["far", "far", "away"])  # (0, 0.8): only one "far" is common
# ```


# %%
def answer_scores(told, given): ...  # your turn


answer_scores = check.answer_scores(answer_scores)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `collections.Counter(words)` counts each word; `a & b` keeps the smaller count of each.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `(Counter(told) & Counter(given)).total()` is the number of common words.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Treat the case that one list is empty before you divide.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def answer_scores(told, given):
#     from collections import Counter
#
#     exact = float(list(told) == list(given))
#     if not told or not given:
#         return exact, exact
#     common = (Counter(told) & Counter(given)).total()
#     return exact, 2 * common / (len(told) + len(given))
# ```
# </details>

# %% tags=["nbval-check-output"]
from labkit.foundations.reading import plain_answer

for told, given in (("the Wolf recorder", "wolf recorder."), ("karen dubois", "karen drake"), ("far away", "far far away")):
    exact, f1 = answer_scores(plain_answer(told, "en"), plain_answer(given, "en"))
    print(f"told “{told}”, given “{given}”: exact {float(exact):.0f}, F1 {float(f1):.2f}")

# %% [markdown]
# ## 5 · One of several options: one number each
#
# In multiple choice the options change with every question, so there cannot be a weight per class. Instead the body reads the
# question once *with each option*, a head with **one** output gives each reading a score, and a
# [softmax](../glossary.ipynb#softmax) runs over the options of one question. Two questions: the first has the scores
# $(2, 1, 0)$, so its options have the shares $(0.665, 0.245, 0.090)$. The second has only two options with the scores
# $(0, 1)$; the batch needs a third number, which is padding and gets the score $-\infty$. (0 would be a score like any
# other.) Its shares are $(0.269, 0.731, 0)$. If the first option is right both times, the loss is
# $-\tfrac12 (\ln 0.665 + \ln 0.269) = 0.861$. In symbols, with the score $s_o$ of option $o$ and the right one $r$:
#
# $$L = -\log \frac{e^{s_r}}{\sum_{o \,\text{real}} e^{s_o}}, \quad \text{a mean over the questions.}$$
#
# ### Exercise 4: the loss of a choice
#
# *●○○ · 5 minutes*
#
# Scores (questions, options), `real` (questions, options, True for real options) and the right options (questions,) in; the
# mean loss, one number, out.
#
# ```python
# scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 5.0]])
# real = torch.tensor([[True, True, True], [True, True, False]])  # the 5 is padding
# choice_loss(scores, real, torch.tensor([0, 0]))  # 0.861
# ```


# %%
def choice_loss(scores, real, right): ...  # your turn


choice_loss = check.choice_loss(choice_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `scores.masked_fill(~real, -torch.inf)` takes the padding out.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.nn.functional.cross_entropy` is a softmax and minus the logarithm of the right share, and a mean.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Its arguments are (questions, options) and (questions,).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def choice_loss(scores, real, right):
#     return torch.nn.functional.cross_entropy(scores.masked_fill(~real, -torch.inf), right)
# ```
# </details>
#
# Train with it. The model is transformers' classifier with one output; labkit's `Choice` puts each option behind its question.

# %%
from labkit.foundations.finetuning.choice import Choice

choice, scorer = Choice(tokenizer), native_head(body, "sequence", num_labels=1, seed=0)


def choosing(model, batch):
    there = batch["attention_mask"].any(-1)
    return choice_loss(choice.logits(model, batch), there, batch["labels"])


two = as_form(reading, "choice", sentences=2)
batches = Batches(two.splits["train"], choice.collate, 8, seed=0)
history = labkit.fit(scorer, choosing, batches, steps=50, lr=2e-3, seed=0, progress=lab.progress)
asked = two.splits["test"][:200]
chosen = labkit.predict(scorer, choice, asked).argmax(1)
share = sum(int(a) == one["label"] for a, one in zip(chosen, asked, strict=True)) / 200
kind = sum(1 / one["alike"] for one in asked) / 200
print(f"right, of up to four options: {share:.0%}; by a random name of the right kind: {kind:.0%}")

# %% [markdown]
# ## 6 · A whole test set
#
# One example shows little. Put your functions together, and score the reader of section 1 on questions that it has not seen.
#
# ### Exercise 5: reading and scoring
#
# *●●○ · 8 minutes*
#
# `start` and `end` (n, tokens), `characters` (n, tokens, 2), the n texts, the n right answers and the largest number of
# tokens in; out the mean exact match and the mean F1. Cut each answer out of its text, as the last cell of exercise 2 does,
# and clean both answers by `plain_answer(answer, "en")`.
#
# ```python
# start, end = torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([[0.0, 1.0, 4.0]])
# characters = torch.tensor([[[-1, -1], [0, 3], [4, 8]]])
# read_and_score(start, end, characters, ["ben paid"], ["Ben."], 8)  # (0, 0.667): it read "ben paid"
# ```


# %%
def read_and_score(start, end, characters, texts, told, longest): ...  # your turn


read_and_score = check.read_and_score(read_and_score)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A loop over the texts; in it `best_span`, the cut, `answer_scores`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `texts[i][characters[i, first, 0] : characters[i, last, 1]]` is the answer to question `i`.
# </details>
#
# <details><summary>Hint 3</summary>
#
# Add up exact and F1, and divide both by `len(texts)` at the end.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# from labkit.foundations.reading import plain_answer
#
#
# def read_and_score(start, end, characters, texts, told, longest):
#     exact = f1 = 0.0
#     for i, text in enumerate(texts):
#         first, last, _ = best_span(start[i], end[i], longest)
#         given = text[characters[i, first, 0] : characters[i, last, 1]]
#         one = answer_scores(plain_answer(told[i], "en"), plain_answer(given, "en"))
#         exact, f1 = exact + one[0], f1 + one[1]
#     return exact / len(texts), f1 / len(texts)
# ```
# </details>
#
# Who knew only *what kind of thing* is asked for, and picked at random among the names of that kind, would get a score that
# can be computed. **Predict**: is your reader far above it, near it, or below?

# %%
test = tasks["span"].splits["test"][:200]
texts, told = [row["text"] for row in test], [row["answer"] for row in test]
exact, f1 = read_and_score(*spans(heads["span"], reader, test), texts, told, 8)
guess = sum(1 / row["alike"] for row in test) / len(test)
apart = 2 * (2 * 0.25 / len(test)) ** 0.5  # two standard errors of a difference, at most
print(f"your scores: exact {float(exact):.1%}, F1 {float(f1):.1%}; a name of the right kind: exact {guess:.1%}")
print("apart by more than two standard errors:", abs(float(exact) - guess) > apart)

# %% [markdown]
# So what this head has learned is the *kind*, hardly *which one*: in "who designed the wolf recorder ?"
# it does not find the sentence about the same recorder. To do so it would have to compare the question's words with the
# passage's. Is that the cause? A test: tell it. Each token of the passage that stands in the question too gets a **mark**
# (Chen et al. 2017, [*DrQA*](https://arxiv.org/abs/1704.00051), §3.2: the feature "exact match"). The marks take the place
# of BERT's token types, so the model does not change at all:

# %%
from labkit.foundations.finetuning.marked import Marked

marked, informed = Marked(reader), native_head(body, "span", seed=0)
batches = Batches(tasks["span"].splits["train"], marked.collate, 16, seed=0)
labkit.fit(informed, marked.loss, batches, steps=100, lr=2e-3, seed=0, progress=lab.progress)
exact_marked, f1_marked = read_and_score(*spans(informed, marked, test), texts, told, 8)
print(f"words marked: exact {float(exact_marked):.1%}, F1 {float(f1_marked):.1%}")
print("marks help, beyond two standard errors:", float(exact_marked) - float(exact) > apart)

# %% [markdown]
# Same body, same questions, same number of steps: with the marks it finds the right name more often. A far larger
# BERT needs none: it compares the words by its attention. This one does not; section 8 asks whether a longer training helps.
#
# ## 7 · Must the body learn too?
#
# If the body stays frozen, its vectors are [features](../glossary.ipynb#feature): they are computed once and serve many tasks, and only the head is
# trained. Which layer should the head read? ELMo lets each task decide, by a learned mix of all layers:
#
# $$\tilde h_t = \gamma \sum_{l} s_l\, h_{t,l}, \qquad s = \mathrm{softmax}(w) .$$
#
# **Predict**: which gets further with 16 labelled rows, a frozen body or one that learns? And with 1 000? The picture shows
# the F1 of the tags and the exact match of the span, with marks, over three seeds.

# %%
from labkit.report.pages import page

measured, picture = page("finetuning").report, labkit.Report()
for one in measured.rows:
    if one["rows"] and one.method != "last layer" and (one.metric == "f1") == (one["form"] == "tags"):
        name = f"{one['form']}: {one.method}"
        picture.add(name, f"{one['rows']} rows", one.value, seed=one.seed, metric="score", rows=one["rows"])
drawn = labkit.Report(one for one in picture.rows if "class" not in one.method)
drawn.lines("rows", label="labelled rows", title="A frozen body with a mix of layers, and a body that learns")

# %% tags=["nbval-check-output"]
for form in ("class", "tags", "span"):
    for size in (16, 1000):
        found = picture.compare(f"{form}: fine-tuned", f"{form}: mix of layers", task=f"{size} rows")
        side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "no difference beyond noise"
        print(f"{form:<5} {size:>4} rows: fine-tuned minus frozen {100 * found.difference:+5.1f} points, {side}")
for task in ("atis, intents", "atis, slots"):
    some = [f"{one.method} {one.value:.1%}" for one in measured.rows if one.task == task]
    print(f"{task}: {'; '.join(some)}")

# %% [markdown]
# Two kinds of question behave differently:
#
# - **What stands in the vectors already**, a linear layer can read: the kind that a question asks for (class) and the names in
#   a passage (tags). So a frozen body comes close to one that learns.
# - **What does not stand in them**, no head can read. To point at the answer, a token must know whether marks stand *near*
#   it, and in pre-training there were no marks. So with 1 000 rows the body that learns is far ahead. With 16 it is not: so
#   few rows do not teach a body anything new.
#
# Peters et al. 2019 ([*To tune or not to tune?*](https://arxiv.org/abs/1903.05987)) found the same on real tasks: features do
# as well where the task is like the pre-training, and worse where it is not. The last two lines are 893 real
# questions about flights (ATIS; one seed, 4 478 rows to learn from), far from what the body has read. All three ways beat the
# guess from counts, and the body that learns is ahead both times.
#
# ## 8 · Other readers
#
# Two more answers to the lesson's question. **BiDAF** (Seo et al. 2017, [*BiDAF*](https://arxiv.org/abs/1611.01603)), the
# reader before BERT, has no pre-trained body, only word vectors, and was *built* to compare: for each pair of a passage's
# token $h$ and a question's token $u$ it computes a similarity $w \cdot [h; u; h \odot u]$, and attention flows both ways.
# **UnifiedQA** (Khashabi et al. 2020, [*UnifiedQA*](https://arxiv.org/abs/2005.00700)) has no heads: an encoder-decoder
# *writes* the answer to every kind of question, which stands in one form, question, options if there are any, passage:

# %%
from labkit.foundations.finetuning.questions import FORMS
from labkit.foundations.finetuning.text_to_text import to_text

for form in ("span", "choice", "yes or no"):
    one = to_text(as_form(reading, form, sentences=1).splits["test"][0], FORMS[form][1])
    print(f"{one['text']}\n    → {one['label']}\n")

# %% [markdown]
# No part of the model is told which kind a question is; its text says it. All readers, on passages of three sentences (three
# seeds; [all numbers](../../docs/results.md#one-body-many-heads)):

# %%
measured.plot(task="world/reading, span, 3 sentences", metric="exact_match", title="Reading: exact match", ranked=True)

# %% tags=["nbval-check-output"]
for form in ("choice", "yes or no"):
    some = [one for one in measured.rows if one.task == f"world/reading, {form}, 3 sentences"]
    for method in dict.fromkeys(one.method for one in some):
        values = [one.value for one in some if one.method == method]
        print(f"{form:<9} {method:<38} {sum(values) / len(values):.1%}")
standing = next(one.value for one in measured.rows if one.metric == "in_passage")
print(f"names that text to text writes and that stand in the passage: {standing:.1%}")

# %% [markdown]
# Six points are two standard errors of 300 questions. Look for three things:
#
# - **BiDAF** compares by construction, and still knows the kind alone. A model that is built to compare must also learn what
#   to compare, and 1 000 questions are few: SQuAD has about 88 000.
# - **BERT without marks** is above the kind by less than the noise. Five times as many steps (one seed) add nothing, so it is
#   not a matter of patience.
# - **Text to text** is below: it has to *write* the name, piece by piece, and many names that it writes do not stand in the
#   passage (the last line). A span head cannot make this mistake. UnifiedQA starts from T5, up to thousands of times as large.
#
# The options with marks are above the kind by hardly more than the noise, and "yes or no" stays at a coin's throw: one label
# per question says less about where to look than a span does, and both had 120 steps only.
#
# ## 9 · So, what is in the body?
#
# One vector per token, and a linear layer is enough to turn it into any kind of answer: pool it for a class, take it as it
# is for a tag, give two numbers for a span, one number for an option. How much must learn anew depends on the question. For
# what the vectors hold already, the head is nearly enough. For the rest, the body must learn too. And a low exact match does
# not say what is missing. To find out, compare with who knows the kind alone, and give the model the missing piece.
#
# ## Read on
#
# - The papers linked above; Peters et al. 2018, [*ELMo*](https://arxiv.org/abs/1802.05365), for the mix of layers.
# - In `labkit/foundations/finetuning/`, one short file each: [`choice.py`](../../labkit/foundations/finetuning/choice.py),
#   [`bidaf.py`](../../labkit/foundations/finetuning/bidaf.py),
#   [`features.py`](../../labkit/foundations/finetuning/features.py),
#   [`marked.py`](../../labkit/foundations/finetuning/marked.py),
#   [`text_to_text.py`](../../labkit/foundations/finetuning/text_to_text.py).
#   [`reading.py`](../../labkit/foundations/reading.py) also reads long texts in windows, and knows questions without an
#   answer.
# - Coreference ("whom does *she* mean?") asks for two spans, intent and slots for a class and tags at once, a conversation for
#   a span with the earlier turns before the question: the same heads.
# - Next: [03/06](../03_fewshot/06_delta_tuning.ipynb) trains a little of the body and keeps the rest.
