# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Prompts that are vectors
#
# PET's pattern, `it was ___ .`, is somebody's choice of words. But a model never reads words: it reads *vectors*, one per
# [token](../glossary.ipynb#token). So let a few of these vectors be free, and train them while the model stays
# [frozen](../glossary.ipynb#frozen). How much accuracy does this cost, and how few numbers are enough?
#
# **After this lesson you can** put trained vectors into a text, and into the attention of every layer; count what each
# method trains; compare methods by accuracy and trained numbers at once; and design a prompt that needs fewer numbers.
#
# **45 minutes.** Before it: [PET](02_pet.ipynb), whose [cloze](../glossary.ipynb#cloze) is used all through.

# %%
import labkit

lab = labkit.setup(lesson="03/03")

# %%
MODEL = "mini-bert-en"  # @param {type:"string"}
TASK = "world/subj"  # @param {type:"string"}
SHOTS = 16  # @param {type:"integer"}

# %% [markdown]
# ## 1 · Four vectors change an answer
#
# The task: does a text about a film mainly tell what happens (*objective*), or what somebody thinks of it (*subjective*)?
# Here is a test text that the untrained cloze gets wrong.

# %%
import copy

from labkit.fewshot.pet import PET

model, tokenizer = labkit.load_model(MODEL, head="mlm")
model.eval()
task = labkit.load_task(TASK).few_shot(SHOTS, seed=0)
rows, test, pet = task.splits["train"], task.splits["test"], PET.for_task(task, tokenizer)
answers = labkit.predict(model, pet, test[:50]).argmax(1)
text = next(row for row, answer in zip(test, answers, strict=False) if answer != row["label"])


def show(name, model):
    shares = labkit.predict(model, pet, [text])[0]
    print(f"{name:<17}", ", ".join(f"{label} {share:.0%}" for label, share in zip(task.labels, shares, strict=True)))


print(f"{text['text']}  ({task.labels[text['label']]})\n\ncloze: {pet.template}")
show("untrained:", model)

# %% [markdown]
# Now four vectors are put before every text. They start as the vectors of four random words, and only they are trained, for 20
# steps on 32 other texts (16 [shots](../glossary.ipynb#shot)):

# %%
from labkit.fewshot.soft_prompts import PromptTuning
from labkit.training import Batches

steered = PromptTuning(tokens=4).attach(copy.deepcopy(model))
before = {name: tensor.clone() for name, tensor in steered.state_dict().items()}
batches = Batches(rows, pet.collate, 16, seed=0)
labkit.fit(steered, pet.loss, batches, steps=20, lr=0.1, seed=0, progress=lab.progress)
show("with 4 vectors:", steered)

# %% tags=["nbval-check-output"]
changed = [name for name, tensor in steered.state_dict().items() if not tensor.equal(before[name])]
print(f"changed: {changed}, {before[changed[0]].numel()} numbers of {sum(t.numel() for t in model.parameters()):,}")

# %% [markdown]
# The model is the same as before, but its answer is another one. (The text was chosen to show it; all test texts follow soon.)
# So a task can be a file of 640 numbers, and one model can serve many tasks. This is **prompt tuning**, and the vectors are
# a [soft prompt](../glossary.ipynb#soft-prompt) (Lester et al. 2021, [*The power of
# scale*](https://arxiv.org/abs/2104.08691)).
#
# ## 2 · Vectors among words
#
# A text enters the model as a row of its [embedding](../glossary.ipynb#embedding) table per token, and from there on nobody
# asks which word it was. With $d = 2$ the text "[CLS] good [SEP]" may be $(1, 0), (0, 2), (3, 3)$. A prompt of two vectors,
# $(8, 8)$ and $(9, 9)$, goes behind the first token, because [CLS] keeps its place:
#
# $$(1, 0),\ (8, 8),\ (9, 9),\ (0, 2),\ (3, 3) \qquad \text{in general} \qquad
# e(\text{[CLS]}),\ p_1, \dots, p_n,\ e(w_1),\ e(w_2), \dots$$
#
# The $e(\cdot)$ are fixed, and the $p_i \in \mathbb{R}^d$ are trained.
#
# ### Exercise 1: put a prompt into a text
#
# *●●○ · 6 minutes*
#
# Word vectors (batch, tokens, d) and a prompt (n, d) in; (batch, tokens + n, d) out, with the same prompt behind the first
# token of each text. It is trained, so a gradient of the result has to reach it.
#
# ```python
# splice(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[8.0], [9.0]]))  # [[[1], [8], [9], [2], [3]]]
# ```

# %%
import torch

from labkit.checks import soft_prompts as check


def splice(word_vectors, prompt): ...  # your turn


splice = check.splice(splice)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three pieces side by side: the first token, the prompt, the rest. `torch.cat` joins tensors along one dimension.
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.cat` needs the same batch size everywhere: `prompt.expand(len(word_vectors), -1, -1)` is the prompt once per text.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `word_vectors[:, :1]` keeps the dimension of the tokens, `word_vectors[:, 0]` loses it. Join along dimension 1.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def splice(word_vectors, prompt):
#     rows = prompt.expand(len(word_vectors), -1, -1)
#     return torch.cat([word_vectors[:, :1], rows, word_vectors[:, 1:]], 1)
# ```
# </details>
#
# Your function now steers the model. `Steered` is PET, but it reads the model's [logits](../glossary.ipynb#logit) for the blank
# behind your prompt, where the blank stands $n$ places further on. (The attention mask gets its ones by the same `splice`.)

# %% tags=["idea"]
class Prompted(torch.nn.Module):
    """A frozen copy of a model, and a module whose call gives a prompt (n, d)."""

    def __init__(self, model, prompt):
        super().__init__()
        self.body, self.soft_prompt = copy.deepcopy(model).requires_grad_(False), prompt
        self.get_input_embeddings = self.body.get_input_embeddings


class Free(torch.nn.Module):
    """A prompt all of whose numbers are free."""

    def __init__(self, vectors):
        super().__init__()
        self.weight = torch.nn.Parameter(vectors.clone())

    def forward(self):
        return self.weight


class Steered(PET):
    def mask_logits(self, model, batch, words=None):
        prompt = model.soft_prompt()
        vectors = splice(model.get_input_embeddings()(batch["input_ids"]), prompt)
        seen = splice(batch["attention_mask"][..., None].float(), torch.ones(len(prompt), 1))[..., 0]
        logits = model.body(inputs_embeds=vectors, attention_mask=seen).logits
        return logits[torch.arange(len(logits))[:, None], batch["mask_positions"] + len(prompt)]


method = Steered.for_task(task, tokenizer)

# %% [markdown]
# **Predict** before you run the next cell: the untrained cloze is right for 62 of 100 test texts. How many will it be with 640
# trained numbers and 50 steps?

# %%
from labkit.widgets.soft_prompt_neighbours import Recorder

words = model.get_input_embeddings().weight.detach()  # (vocabulary, d)


def tuned(prompt, steps, lr, on_step=None):
    """The model behind `prompt` after training, and its accuracy on the test texts in per cent."""
    one = Prompted(model, prompt)
    recorder = on_step and Recorder(one, every=on_step)
    labkit.fit(one, method.loss, batches, steps=steps, lr=lr, seed=0, on_step=recorder, progress=lab.progress)
    return one, 100 * labkit.evaluate(one, method, task, progress=lab.progress)["accuracy"], recorder


start = words[torch.randint(len(words), (4,), generator=torch.Generator().manual_seed(0))]
yours, accuracy, recorder = tuned(Free(start), steps=50, lr=0.1, on_step=5)
print(f"{accuracy:.1f} % with {sum(p.numel() for p in yours.parameters() if p.requires_grad)} trained numbers")

# %% tags=["nbval-check-output"]
steered.base_model.soft_prompt.weight.data = yours.soft_prompt().data
apart = labkit.predict(steered, pet, test[:50]) - labkit.predict(yours, method, test[:50])
print("the same answers as labkit's PromptTuning with your vectors:", bool(abs(apart).max() < 1e-4))

# %% [markdown]
# ### What did the vectors become?
#
# Each started as the vector of a word. Move the slider through the training. **The question**: after how many steps is a vector
# no longer nearest to its own word, and does the word that it is nearest to then *mean* anything for this task?

# %%
from labkit.widgets import soft_prompt_neighbours

soft_prompt_neighbours(recorder, tokenizer)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Look at the cosines. At the end, the nearest word of each vector has a cosine of about a third, which is hardly more than a
# random direction has (about a fifth). So the vectors have left the words, and no hidden sentence can be read from their
# neighbours. They went where no word is, which a template of words cannot do.
# </details>
#
# ## 3 · Numbers in every layer
#
# A prompt stands below the first layer, so the higher layers see only what the lower ones have made of it. **Prefix tuning** (Li &
# Liang 2021, [paper](https://arxiv.org/abs/2101.00190); P-tuning v2: Liu et al. 2022,
# [paper](https://arxiv.org/abs/2110.07602)) gives *each layer* $n$ [keys and values](../glossary.ipynb#attention) of its own,
# and the text's tokens attend to them as to any others. One token, one prefix, $d = 1$:
#
# - The token's query is 1.1. The prefix has the key 0 and the value 4, the token itself the key 1 and the value 2.
# - The scores are 0 and 1.1. Their softmax gives the weights 0.25 and 0.75.
# - The token receives $0.25 \cdot 4 + 0.75 \cdot 2 = 2.5$, where it received 2 without the prefix.
#
# In symbols, with $P_k, P_v \in \mathbb{R}^{n \times d}$ trained in each layer, and the rest frozen:
#
# $$\mathrm{Attn}(Q) = \mathrm{softmax}\!\left(\frac{Q\,[P_k ; K]^\top}{\sqrt{d}}\right) [P_v ; V] .$$
#
# A prefix has no queries, because nothing is computed at its own places.
#
# ### Exercise 2: attention with a prefix
#
# *●●○ · 9 minutes*
#
# Queries, keys and values (tokens, d), prefix keys and values (n, d) in, for one head; what attention gives, (tokens, d), out.
# Every token sees the whole text and the whole prefix.
#
# ```python
# one = torch.ones(1, 1)
# prefix_attention(1.1 * one, one, 2 * one, 0 * one, 4 * one)  # [[2.5]], as above
# ```


# %%
def prefix_attention(queries, keys, values, prefix_keys, prefix_values): ...  # your turn


prefix_attention = check.prefix_attention(prefix_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First make the keys and the values longer, then compute attention as ever. `torch.cat([a, b])` puts rows below rows.
# </details>
#
# <details><summary>Hint 2</summary>
#
# Scores: `queries @ all_keys.T / queries.shape[1] ** 0.5`, of shape (tokens, n + tokens).
# </details>
#
# <details><summary>Hint 3</summary>
#
# Softmax over the last dimension, so that each query's weights sum to 1; then `weights @ all_values`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def prefix_attention(queries, keys, values, prefix_keys, prefix_values):
#     all_keys = torch.cat([prefix_keys, keys])
#     all_values = torch.cat([prefix_values, values])
#     scores = queries @ all_keys.T / queries.shape[1] ** 0.5
#     return scores.softmax(-1) @ all_values
# ```
# </details>
#
# Does it do the work of the model's own attention? labkit puts a prefix of large random numbers into a copy. In a second copy,
# your function takes the place of the attention in all four layers and all five heads, with the same prefix:

# %%
from labkit.fewshot.soft_prompts import Prefix

prefixed, by_hand = Prefix(tokens=8, std=1.0).attach(copy.deepcopy(model)), copy.deepcopy(model)


def attention(own, keys, values):
    """A layer's attention for one text, with prefix keys and values (heads, n, d_head), by your function."""

    def forward(states, *_, **__):  # (1, tokens, d)
        parts = [linear(states)[0].chunk(own.num_attention_heads, 1) for linear in (own.query, own.key, own.value)]
        heads = [prefix_attention(*inputs) for inputs in zip(*parts, keys, values, strict=True)]
        return torch.cat(heads, 1)[None], None

    return forward


for number, layer in enumerate(by_hand.base_model.encoder.layer):
    layer.attention.self.forward = attention(layer.attention.self, *prefixed.base_model.prefix.layer(number))

# %% tags=["nbval-check-output"]
two = [labkit.predict(one, pet, test[:20], batch_size=1) for one in (prefixed, by_hand)]
moved = abs(two[0] - labkit.predict(model, pet, test[:20])).max()
print("the prefix moves the answers:", bool(moved > 0.01))
print("by your attention, the same answers:", bool(abs(two[0] - two[1]).max() < 1e-4))

# %% [markdown]
# ## 4 · What trains?
#
# These are the usual places for trained numbers. Except in P-tuning, the model is frozen.
#
# - **Prompt tuning**: $n$ vectors before the text. **PPT** (Gu et al. 2022, [paper](https://arxiv.org/abs/2109.04332)) trains
#   the prompt first without labels. Texts are cut in two, and the blank between two halves says whether they belong together:
#   `one night a pilot ___ steals a map .` → "yes".
# - **Prefix tuning**: $n$ keys and $n$ values in each of $L$ layers.
# - **WARP** (Hambardzumyan et al. 2021, [paper](https://arxiv.org/abs/2101.00121)): $n$ vectors in place of the pattern's
#   words, and for each class $c$ a vector $\theta_c$ in place of its [label word](../glossary.ipynb#label-word)'s:
#   $s_c = \theta_c \cdot f(h)$ with $f(h)$, the state in the blank.
# - **P-tuning** (Liu et al. 2021, [*GPT understands, too*](https://arxiv.org/abs/2103.10385)): the pattern's words become
#   vectors, as in `{text} {soft:that is} {mask} {soft:.}`, and *all weights* train with them. In the paper a small network
#   (an LSTM) computes these vectors while they train, so that neighbours depend on each other.
#
# With 2 tokens, 3 layers, $d = 4$ and 5 classes: a prompt has $2 \cdot 4 = 8$ numbers. A prefix has
# $3 \cdot 2 \cdot 2 \cdot 4 = 48$, and WARP has $(2 + 5) \cdot 4 = 28$.
#
# ### Exercise 3: count them
#
# *●○○ · 4 minutes*
#
# The tokens $n$, the layers $L$, the width $d$ and the number of classes in; a dictionary out.
#
# ```python
# trained_weights(2, 3, 4, 5)  # {"prompt tuning": 8, "prefix": 48, "WARP": 28}
# ```


# %%
def trained_weights(n, layers, d, classes): ...  # your turn


trained_weights = check.trained_weights(trained_weights)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Count vectors, then multiply by their length $d$.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A prefix has a key and a value per token in each layer. Heads divide a vector among themselves; they do not add to it.
# </details>
#
# <details><summary>Hint 3</summary>
#
# WARP has $n$ vectors in the text and one per class.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def trained_weights(n, layers, d, classes):
#     return {"prompt tuning": n * d, "prefix": 2 * layers * n * d, "WARP": (n + classes) * d}
# ```
# </details>

# %% tags=["nbval-check-output"]
from labkit.fewshot.soft_prompts import WARP
from labkit.measure import trainable

kinds = {"prompt tuning": (4, PromptTuning(tokens=4)), "prefix": (8, Prefix(tokens=8)),
         "WARP": (3, WARP.for_task(task, tokenizer))}  # fmt: skip
for name, (n, kind) in kinds.items():
    counted = trained_weights(n, model.config.num_hidden_layers, model.config.hidden_size, len(task.labels))[name]
    print(f"{name:<14}{n} tokens: {trainable(kind.attach(copy.deepcopy(model))):>6,} by the model, {counted:>6,} by you")

# %% [markdown]
# ## 5 · Accuracy against trained numbers
#
# A method is good if it is accurate *and* trains few numbers, so two things must be compared at once. Three methods: A trains
# 10 numbers and is right in 70 %, B trains 100 and is right in 75 %, C trains 1,000 and is right in 72 %. C is beaten by B,
# which trains fewer and is better. A and B do not beat each other, because A trains fewer and B is better. They are the
# [front](../glossary.ipynb#front).
#
# On the left are our methods with 16 shots and 100 steps, each at its own learning rate, all on the same
# [draw](../glossary.ipynb#draw) ([the numbers](../../docs/results.md#soft-prompts)). On the right are methods on Gemma 3,
# a real language model of 268 million weights, with 16 shots of real film reviews, three draws; *LoRA* trains small matrices
# beside the frozen ones (lesson [03/06](06_delta_tuning.ipynb)). Circles and the line are the front, crosses are beaten, the
# dashed line trains nothing. **Predict** before you look: is a prompt of 16 vectors more accurate than one of a single vector?

# %%
from dataclasses import replace

from labkit.report.trade_off import points, trade_off

frozen = [replace(row, method=row.method.removesuffix(", large")) for row in labkit.report.results("soft_prompts").rows
          if row.task == "world/subj" and row.method.endswith("large")]  # fmt: skip
whole = [row for row in labkit.report.results("fewshot_bert").rows
         if row.task == "world/subj" and row.method in ("PET", "P-tuning", "WARP", "fine-tune [mean]")]  # fmt: skip
mini = points(row for row in [*frozen, *whole] if row.seed == 0)
gemma = points(row for row in labkit.report.results("gemma").rows if row.task == "SST-2")
names = {"zero-shot calibrated": "cloze, calibrated", "head (LoRA)": "head, LoRA", "cloze (LoRA)": "cloze, LoRA",
         "P-tuning": "P-tuning, LoRA", "cloze (all weights)": "cloze, all weights"}  # fmt: skip
large = {name: gemma[method] for method, name in names.items()} | {"linear probe": (641, gemma["linear probe"][1])}
trade_off({"mini-bert-en, world/subj": mini, "gemma-270m, SST-2": large})

# %% [markdown]
# **On the left**: 160 numbers, a single vector, bring 15 of the 20 points that PET, which trains all weights, brings over the
# untrained cloze. Two vectors in place of the label words bring as much. With numbers in every layer (prefix) it is 18 of 20.
#
# More vectors before the text are not better here. But do not blame their number: your four vectors of section 2 reached 76 %,
# and the same four are at 70.5 % in the picture. There the rate of 1 and 100 steps come from another draw, for which they
# were the best of those tried, and here you took 0.1 and 50. So a soft prompt is hard to tune, and that is a cost too.
#
# One draw says only so much: three points may be noise. For two of the methods there are five draws of eight tasks:

# %% tags=["nbval-check-output"]
eight = labkit.report.results("fewshot_bert")
for one, theirs in {"WARP": -25.7, "P-tuning": -2.2}.items():
    for task_name, other in (("world/subj", theirs), (None, {"WARP": -18.1, "P-tuning": 0.4}[one])):
        found = eight.compare(one, "PET", task=task_name)
        print(f"{one} minus PET, {task_name or 'mean of 8 tasks'}: {100 * found.difference:+.1f} points "
              f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]; Xu et al. 2022, real tasks, RoBERTa: {other:+.1f}")

# %% [markdown]
# WARP, with 800 numbers and a frozen model, loses to PET beyond noise, though not as much as in the table of Xu et al. (2022,
# [paper](https://arxiv.org/abs/2204.00166)). P-tuning loses too: its LSTM begins with random vectors, and 32 texts have to
# teach the model to read them.
#
# **On the right** freezing is a *gain*. To train all 268 million weights on 32 sentences is no better than to calibrate the
# untrained cloze, and LoRA, with one number in 364, is eight points above it. Vectors in place of the pattern's words (P-tuning) add
# nothing to LoRA.
#
# And larger models? Lester et al. saw prompt tuning far behind for the small T5, and level with training all weights for
# models of billions, where five vectors are 20,480 numbers beside 11 billion. A prompt can only ask for what the frozen model knows,
# and a larger model knows more.
#
# ## 6 · A prompt of your own
#
# Must every number of a prompt be free? A prompt of four vectors has $4 \cdot 160$ numbers, but they can be *computed* from fewer.
# Two vectors, each a mixture of the same two words $(1, 0)$ and $(0, 2)$, with shares that are trained:
#
# - shares $(1, 0)$ and $(0.5, 0.5)$ give the vectors $(1, 0)$ and $(0.5, 1)$: four numbers, and $d$ can be as large as you like.
#
# ### Exercise 4: design a prompt
#
# *●●● · 12 minutes*
#
# The model's word vectors (vocabulary, d) in; a `torch.nn.Module` out, whose call without arguments gives a prompt (n, d) with 1
# to 16 vectors, and which trains **fewer than d numbers**. Invent something: mixtures of words, one number per word vector, steps
# along a few random directions, a product of two small tensors …
#
# ```python
# prompt = own_prompt(torch.randn(300, 160))
# prompt().shape  # for example (4, 160)
# sum(p.numel() for p in prompt.parameters() if p.requires_grad)  # for example 32, in any case less than 160
# ```


# %%
def own_prompt(words): ...  # your turn


own_prompt = check.own_prompt(own_prompt)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Like `Free` above, but `forward` computes. What trains is a `torch.nn.Parameter`; what is fixed, such as some word vectors, is
# kept with `self.register_buffer("some", words[:8].clone())`.
# </details>
#
# <details><summary>Hint 2</summary>
#
# A mixture: shares (4, 8) times words (8, d) is a prompt (4, d) of 32 numbers.
# </details>
#
# <details><summary>Hint 3</summary>
#
# `torch.eye(4, 8)` are shares that begin with one whole word each. Take random words:
# `torch.randint(len(words), (8,))`, with a generator, so that it can be repeated.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# class Mixture(torch.nn.Module):
#     def __init__(self, words):
#         super().__init__()
#         places = torch.randint(len(words), (8,), generator=torch.Generator().manual_seed(0))
#         self.register_buffer("some", words[places])
#         self.shares = torch.nn.Parameter(torch.eye(4, 8))
#
#     def forward(self):
#         return self.shares @ self.some
#
#
# def own_prompt(words):
#     return Mixture(words)
# ```
# </details>
#
# It learns for as many steps as the others did, and joins the picture. (Change `lr` and run the cell again: few numbers often need
# larger steps.)

# %%
mine = own_prompt(words)
yours, accuracy, _ = tuned(mine, steps=100, lr=0.1)
count = sum(p.numel() for p in mine.parameters() if p.requires_grad)
print(f"{accuracy:.1f} % with {count} numbers")
trade_off({"mini-bert-en, world/subj": mini | {"yours": (count, accuracy)}}, own=("yours",))

# %% [markdown]
# labkit's answer to the exercise (it stands in the picture here, if you have not written one) trains 32 numbers: each vector is a
# mixture of the same eight words. It lies between the two results of four *free* vectors, with a twentieth of their numbers. With
# few examples such a constraint costs little, because less can be learned by heart. But if you try many designs on these test
# texts, the best of them looks better than it is (the [winner's curse](../glossary.ipynb#winners-curse)); an honest choice is
# made on the dev split.
#
# ## 7 · So, what does freezing cost?
#
# On the small model, with 16 shots, a few points. A hundred numbers bring most of what training brings, and the last points are the
# expensive ones: they take ten thousand numbers in all layers, or all weights. On the larger model freezing costs nothing here.
# What is gained is the same everywhere: one model in memory, and a file of a few kilobytes per task.
#
# ## Read on
#
# - The papers linked above; Liu et al. 2022 answer Lester et al. for small models.
# - [`prompt.py`](../../labkit/fewshot/soft_prompts/prompt.py), [`prefix.py`](../../labkit/fewshot/soft_prompts/prefix.py),
#   [`ptuning.py`](../../labkit/fewshot/soft_prompts/ptuning.py), [`warp.py`](../../labkit/fewshot/soft_prompts/warp.py) and
#   [`ppt.py`](../../labkit/fewshot/soft_prompts/ppt.py) are short. `fold_soft_tokens` writes trained vectors behind the word
#   table, so that any program that uses `transformers` can load the model.
# - Next, [03/04](04_cp_tuning.ipynb): a soft template that serves every task, and no label words at all.
