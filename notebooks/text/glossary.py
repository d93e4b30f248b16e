# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Glossary
#
# The terms of this course that a newcomer may not know, in alphabetical order: what each is, why it matters or an
# example with a number, and the lesson that teaches it. Where Chinese texts have a usual word, it stands in brackets.
# [The map of the course](index.ipynb) leads back to the lessons; [Help](help.ipynb) is about what does not work.
#
# [0–9](#digits) · [A](#A) · [B](#B) · [C](#C) · [D](#D) · [E](#E) · [F](#F) · [G](#G) · [H](#H) · [I](#I) · [K](#K) ·
# [L](#L) · [M](#M) · [N](#N) · [O](#O) · [P](#P) · [Q](#Q) · [R](#R) · [S](#S) · [T](#T) · [U](#U) · [V](#V) · [W](#W)
# · [Z](#Z)
#
# A link in a lesson leads to its term. In JupyterLab the first click may only open this page, at its top; click once more.
#
# Before the alphabet, three examples show the words that most lessons of module 03 use.

# %%
import labkit

lab = labkit.setup()

# %% [markdown]
# **The words for data.** A *task* consists of *rows*, and a row has a text and, if it is labelled, a *label*. The rows are
# divided into *splits*: one to train, one to choose settings (dev), one to test. *Two shots* are two training rows per
# label; the *draw* decides which ones. Look at the second line of the output: another seed is another draw, with other rows.

# %% tags=["nbval-check-output"]
task = labkit.load_task("world/reviews")
first, second = (task.few_shot(shots=2, seed=seed).splits["train"] for seed in (0, 1))

print("splits:", {split: len(rows) for split, rows in task.splits.items()}, "labels:", task.labels)
print("2 shots:", len(first), "rows; the same in both draws:", first == second)
print(f"chance: {100 * task.chance:.1f} %, ceiling: {100 * task.ceiling:.1f} %")
for row in first[:2]:
    print(f"{task.labels[row['label']]}: {row['text'][:80]} …")

# %% [markdown]
# **The words for prompts.** A *pattern* writes the text into a sentence with a *blank*. The result is a *cloze*. A
# *verbalizer* names a *label word* for each label. A language model gives each of these words a *logit* in the blank, and
# the *softmax* of the logits is the answer. Nothing is trained for the task, so this is the *untrained cloze*.

# %%
import torch

model, tokenizer = labkit.load_model("mini-bert-en", head="mlm")
model.eval()

pattern = "{text} it was {mask} ."
verbalizer = {"negative": "bad", "positive": "great"}
cloze = pattern.format(text="the plot was dull .", mask=tokenizer.mask_token)

inputs = tokenizer(cloze, return_tensors="pt")
blank = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()  # its place
with torch.no_grad():
    logits = model(**inputs).logits[0, blank]  # (vocabulary,)
logits = logits[tokenizer.convert_tokens_to_ids(list(verbalizer.values()))]  # of the two label words

print(cloze)
for label, logit, p in zip(verbalizer, logits, logits.softmax(0), strict=True):
    print(f"{label} ({verbalizer[label]}): logit {logit:.1f}, probability {p:.2f}")

# %% [markdown]
# **The words for results.** Two methods are measured on the same three draws (the numbers are invented). The table shows
# the *mean* ± *standard deviation*. The two deviations overlap, but the *paired interval*, which looks at the difference
# in each draw, does not contain 0, so the difference is *beyond noise*.

# %% tags=["nbval-check-output"]
report = labkit.Report(title="two methods, three draws")
for seed, (a, b) in enumerate([(0.82, 0.80), (0.86, 0.83), (0.84, 0.80)]):
    report.add("A", "a task", a, seed=seed)
    report.add("B", "a task", b, seed=seed)

print(report.table())
print(report.compare("A", "B"))

# %% [markdown]
# ## <a id="digits"></a>0–9
#
# <a id="1f1b"></a>**1F1B**: A schedule for [pipeline parallelism](#pipeline-parallelism) in which a stage, after a few
# forward passes, does one forward and one backward pass in turn. The first of four stages then keeps the activations of
# at most four micro-batches, however many the batch is cut into. Lesson [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="3-d-parallelism"></a>**3-D parallelism** (三维并行): Data, pipeline and tensor parallelism used together, so that
# every rank has three coordinates. A grid of 2 × 2 × 2 takes eight processes. Lesson
# [06/04](06_parallel/04_model_parallel.ipynb).

# %% [markdown]
# ## A
#
# <a id="ablation"></a>**ablation** (消融实验): A measurement in which one part of a system is left out, or parts are added
# one by one. The change of the score says what the part is worth beside the others. Lesson
# [03/08](03_fewshot/08_fewclue.ipynb).
#
# <a id="accuracy"></a>**accuracy** (准确率): The share of rows that are answered correctly. With 870 right answers to
# 1,000 test rows it is 87 %, and its [standard error](#standard-error) is about one point. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="activation"></a>**activation** (激活值): What a layer has computed for the tokens of a batch, kept until the
# backward pass has used it. Activations grow with the number and the length of the texts in a batch; weights do not.
# Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="activation-checkpointing"></a>**activation checkpointing** (激活重计算): Keeping only the input of a group of layers
# in the forward pass, and computing the rest again when its gradient is needed. It saves most of the memory for
# activations and costs one more forward pass, which is about a third more arithmetic per step. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="adam"></a>**Adam**: An [optimizer](#optimizer) that keeps two running averages for each weight, of its gradient
# and of the gradient's square, and scales its steps by them. In fp32 the averages take 8 bytes per weight, twice as
# much as the weight itself. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="adapter"></a>**adapter** (适配器): A small network with a narrow middle, the bottleneck, which is put behind a
# part of a frozen model and trained alone. For a model of width 768 and a bottleneck of 16 it has 2 · 768 · 16 = 24,576
# weights and a few biases. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="all-gather"></a>**all-gather** (全收集): A [collective](#collective) in which every rank begins with one part and
# ends with all parts. On a ring of four ranks each sends three quarters of the whole. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="all-reduce"></a>**all-reduce** (全归约): A [collective](#collective) after which every rank has the sum of all
# ranks' tensors. Data parallelism adds up gradients with it; it is a reduce-scatter followed by an all-gather. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="attention"></a>**attention** (注意力): The part of a Transformer in which each token takes a weighted mean over
# what other tokens offer (their *values*); the weights say how well its *query* fits their *keys*. A layer does this
# several times side by side, in attention heads: BERT-base has 12 per layer. Lessons
# [03/03](03_fewshot/03_soft_prompts.ipynb), [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="auc"></a>**AUC** (曲线下面积): *Area under the curve*: of a thing that is wanted and one that is not, drawn at random,
# how often has the wanted one the higher score? 50 % is what a coin gets, 100 % is never wrong; no threshold is needed.
# Lesson [02/04](02_knowledge/04_kgbert.ipynb).

# %% [markdown]
# ## B
#
# <a id="backbone"></a>**backbone** (主干模型): The pre-trained model without its head: it turns a text into hidden states.
# If it is frozen, many tasks can share one backbone. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="backward-pass"></a>**backward pass** (反向传播): Going through the model from the loss back to the input, to
# compute the gradient of each weight. It takes about twice the arithmetic of the forward pass, and it needs the
# activations that the forward pass has kept. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="bank-conflict"></a>**bank conflict** (存储体冲突): Lanes of one warp ask for different words of the same bank of
# [shared memory](#shared-memory), so they have to queue. There are 32 banks; with a stride of 32 words all 32 lanes
# meet in one of them, and the access takes 32 passes instead of one. Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="beam-search"></a>**beam search** (束搜索): A search that extends several beginnings of a text word by word, and
# keeps only the best few, the *beam*, after each word. With a beam of 6 and a vocabulary of 1,000 words it rates 6,000
# continuations at a time and keeps 6. Lessons [01/06](01_foundations/06_generation.ipynb), [03/05](03_fewshot/05_auto_prompts.ipynb).
#
# <a id="bert"></a>**BERT**: An encoder that has been pre-trained to fill hidden words, looking at both sides of the gap
# (Devlin et al. 2019). BERT-base has 110 million weights; `mini-bert-en`, the model of most lessons in module 03, is
# built in the same way and has 1.5 million. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="beyond-noise"></a>**beyond noise**: Said of a difference whose 95 % [paired interval](#paired-interval) does
# not contain 0. It is no proof: of 20 comparisons between methods that are equally good, one is expected to look so by
# chance. Lesson [03/05](03_fewshot/05_auto_prompts.ipynb).
#
# <a id="bf16"></a>**bf16**: A number format of 16 bits with 8 bits of exponent and 7 of fraction. It reaches as far as
# fp32, so it needs no [loss scale](#loss-scale), but it has only two to three decimal digits. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="bitfit"></a>**BitFit**: A [delta](#delta) that trains the biases of a model and nothing else. In BERT-base they
# are about 0.1 % of the weights. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="blank"></a>**blank** (空位): The place in a cloze that the model fills: `[MASK]` in a masked language model, the
# end of the text in one that reads left to right. A label word that the tokenizer cuts into two pieces takes two
# blanks. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="bleu"></a>**BLEU**: A score for a text beside texts that people wrote for the same purpose: which share of its
# words, pairs, triples and fours stand in them, and less if it is too short. A copy has 1; translations by machines have
# about 0.3 to 0.5. Lesson [01/06](01_foundations/06_generation.ipynb).
#
# <a id="block-of-threads"></a>**block (of threads)** (线程块): Threads of a kernel that run on the same part of a GPU,
# share its [shared memory](#shared-memory), and can wait for one another. A block of 256 threads is eight warps. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="bm25"></a>**BM25**: A score for a passage by the words of a query: rare words count more, a word that stands there
# often counts little more than once, and long passages get less. A word that stands in all passages adds nearly 0. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="bpe"></a>**BPE** (字节对编码): *Byte-pair encoding*: a vocabulary of pieces of words that begins with single characters
# and joins the most frequent pair of neighbours, again and again. A word that was never seen falls apart into known
# pieces: "lowest" into "low" and "est". Lesson [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="bucket"></a>**bucket** (梯度桶): Gradients of several weights that are sent together, because a few large messages
# are faster than many small ones. As soon as a bucket is full its all-reduce starts, while the backward pass goes on.
# Lesson [06/03](06_parallel/03_data_parallel.ipynb).

# %% [markdown]
# ## C
#
# <a id="calibration"></a>**calibration** (校准): Taking a prompt's bias out of its answers: each label's probability is
# divided by its [prior](#prior), and the results are scaled to sum to 1. With a prior of 0.8 and 0.2, an answer of 0.7
# and 0.3 becomes 0.37 and 0.63: the decision is reversed. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="causal-language-model"></a>**causal language model** (因果语言模型): A language model that reads from left to right
# and predicts the next token, as GPT does. A text of 12 tokens gives it 11 questions to learn from. Lesson
# [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="causal-mask"></a>**causal mask** (因果掩码): What keeps a token from looking at the tokens after it: the scores of
# attention above the diagonal are −∞ before the softmax. So one pass over a text of 50 tokens answers 49 questions for
# the next token. Lesson [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="ceiling"></a>**ceiling** (上限): The best score that any reader could reach on a task. This course knows it,
# because its texts are generated: if one label in ten of a two-way task is flipped at random, nobody can be right in
# more than 90 % of the rows. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="centroid"></a>**centroid** (质心): The mean of several vectors, such as the features of all texts of one domain and
# one label. Meta-KD calls a text typical if its feature points the same way as such means. Lesson
# [04/02](04_compression/02_meta_kd.ipynb).
#
# <a id="chance"></a>**chance** (随机水平): The score of guessing without reading the text. It is 50 % with two equally
# frequent classes and 6.7 % with fifteen; a method near chance answers as if it had not read the text. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="checkpoint"></a>**checkpoint** (检查点): The saved state of a training: weights, optimizer state, and the step it
# had reached. Whoever starts again from it loses only the steps since then. (Activation checkpointing is another
# thing.) Lesson [06/07](06_parallel/07_deepspeed.ipynb).
#
# <a id="cloze"></a>**cloze** (完形填空): A text with a gap whose word answers a question about it: "the plot was dull. it
# was ___ ." A language model fills gaps already, so a cloze turns it into a classifier without new weights. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="cls-token"></a>**CLS token**: `[CLS]`, the token that begins every input of BERT; `[SEP]` ends each of its
# texts. "fine-tune [CLS]" in a table is a head on the hidden state of this token, "fine-tune [mean]" one on the mean
# over all tokens. Lesson [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="coalesced-access"></a>**coalesced access** (合并访存): Loads in which the lanes of a warp read neighbouring
# addresses, so that every byte that moves is wanted. 32 lanes that read 4 bytes each then move 4 sectors; if each reads
# 32 bytes further on, the same 128 bytes move 32 sectors. Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="collective"></a>**collective** (集合通信): An operation that all ranks carry out together, such as all-reduce or
# broadcast. If one rank does not take part, all others wait. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="continued-pre-training"></a>**continued pre-training** (继续预训练): Training a pre-trained model further, on the
# texts of the tasks that will follow, before it sees the few labelled examples. The texts of the test set must not be
# among them. Lesson [03/08](03_fewshot/08_fewclue.ipynb).
#
# <a id="contrastive-loss"></a>**contrastive loss** (对比损失): A loss on pairs: the vectors of two texts with the same
# label shall be similar, those of texts with different labels shall not. Sixteen labelled texts make 16 · 15 / 2 = 120
# pairs. Lesson [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="cosine-similarity"></a>**cosine similarity** (余弦相似度): How far two vectors point the same way: 1 for the same
# direction, 0 for a right angle, −1 for opposite directions. For (1, 0) and (1, 1) it is 0.71; their lengths do not
# matter. Lessons [01/01](01_foundations/01_words.ipynb), [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="cp-tuning"></a>**CP-Tuning**: *Contrastive prompt tuning* (Xu et al. 2022): a cloze without label words, whose
# vectors in the blank are trained to be similar within a class and different between classes. A text gets the class of
# the most similar labelled text, so nobody has to choose a word. Lesson [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="cross-encoder"></a>**cross-encoder** (交叉编码器): A model that reads two texts together, such as a query and a
# passage, and says how well they fit. Nothing can be computed beforehand, so it reads the 20 passages that a faster
# search has found, not all 2,000. Lesson [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="cross-entropy"></a>**cross-entropy** (交叉熵): The loss −log p, where p is the probability that the model gave to
# the right answer, as a mean over rows or tokens. A guess between two answers has a loss of ln 2 = 0.69, an answer with
# p = 0.9 one of 0.11. Lesson [01/04](01_foundations/04_pretraining.ipynb).

# %% [markdown]
# ## D
#
# <a id="data-parallelism"></a>**data parallelism** (数据并行): Every device has a copy of the model and computes the
# gradients for its own part of the batch; then all take the mean and the same step. The result is that of one device,
# up to rounding. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="ddp"></a>**DDP** (分布式数据并行): *Distributed data parallel*, PyTorch's form of data parallelism: gradients travel
# in buckets while the backward pass still runs. Each rank keeps all 16 bytes of every weight; under [ZeRO](#zero-stage)
# it keeps less. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="decoder"></a>**decoder** (解码器): A network that writes a text token by token, each from those before it; in T5
# an encoder reads and a decoder writes. In BERT the last matrix, which scores all words of the vocabulary for a blank,
# has this name too. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="delta"></a><a id="delta-tuning"></a><a id="peft"></a>**delta, delta tuning, PEFT** (参数高效微调):
# *Parameter-efficient fine-tuning*: the small part that is trained while the model itself stays frozen: a LoRA, an
# adapter, a soft prompt. Ten tasks then need one model and ten small files in place of ten models. Lesson
# [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="demonstration"></a>**demonstration** (示例): A solved example that is written into the text in front of the
# question. It changes no weight, but every demonstration makes the text longer, and a model reads only so many tokens.
# Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="discriminator"></a>**discriminator** (判别器): In ELECTRA, the network that says of each token whether it is the
# original one or was put there by the *generator*, a smaller network. It learns from all tokens; a masked language
# model learns from the 15 % that are hidden. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="distant-supervision"></a>**distant supervision** (远程监督): Labelling text with a graph: a text that names both
# ends of a fact is taken to state it. It costs nothing, and many labels are wrong: "anna left Oslo" does not say that she
# was born there. Lesson [02/01](02_knowledge/01_knowledge_graphs.ipynb).
#
# <a id="distillation"></a><a id="kd"></a>**distillation, KD** (知识蒸馏): Training a small model, the *student*, to give
# the answers of a large one, the *teacher*. The student learns from [soft labels](#soft-label) on many unlabelled
# texts; the last step of PET does the same with an ensemble as its teacher. Lessons [03/02](03_fewshot/02_pet.ipynb),
# [04/01](04_compression/01_distillation.ipynb).
#
# <a id="domain"></a>**domain** (领域): What texts are about, or where they come from: reviews of books and reviews of
# kitchen things are two domains of one task, with other words for the same praise. Lesson
# [04/02](04_compression/02_meta_kd.ipynb).
#
# <a id="draw"></a>**draw** (抽样): One random choice of the few training examples, repeatable by its seed. With few
# examples the score depends much on the draw, so a table gives the mean over several, and all methods get the same
# ones. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="dual-encoder"></a>**dual encoder** (双塔模型): A model that turns each text into a vector alone. The vectors of all
# passages are kept, so a query costs one encoding and a search for the nearest vectors. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).

# %% [markdown]
# ## E
#
# <a id="elastic-network"></a>**elastic network** (弹性网络): A network whose first heads and neurons, and some of whose
# layers, are a smaller network that answers too. Twelve sizes then need one file and one training. Lesson
# [04/05](04_compression/05_elastic.ipynb).
#
# <a id="embedding"></a>**embedding** (嵌入): The vector by which a token enters the model: a row of a table that has one
# row for each entry of the vocabulary. In BERT-base the table has 30,522 rows of 768 numbers, a fifth of all weights.
# Lesson [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="emulator"></a>**emulator** (模拟器): Here: a program that runs the course's CUDA kernels on a CPU, with real
# barriers and shared memory. It shows whether a kernel is right, and says nothing about its speed. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="encoder"></a>**encoder** (编码器): A network that reads a whole text, from both sides at once, and gives a hidden
# state for each token. BERT is an encoder. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="ensemble"></a>**ensemble** (集成): Several models, or several prompts for one model, whose answers are averaged.
# It is about as good as the best of them, and nobody has to know beforehand which one that is. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="entailment"></a>**entailment** (文本蕴含): A text entails a statement if the statement follows from it: "the film
# was great" entails "somebody liked a film". Any classification can be asked so, with one statement for each label,
# which makes one task of many. Lesson [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="entity-linking"></a>**entity linking** (实体链接): Saying which entity of a graph a name in a text means. "Falcon"
# may be a bank or a medicine; the other names beside it decide. Lesson
# [02/01](02_knowledge/01_knowledge_graphs.ipynb).
#
# <a id="entity-stream"></a>**entity stream** (实体流): In ERNIE, vectors of a graph's entities that run beside the states of the
# tokens: one at the first token of each name, none elsewhere. In the last layers tokens attend to tokens, entities to entities, and
# the two meet in the feed-forward part. Lesson [02/02](02_knowledge/02_entities.ipynb).
#
# <a id="entropy"></a>**entropy** (熵): How undecided a distribution is: 0 if one answer is certain, ln 2 = 0.69 if two
# are equally likely. A loss may reward entropy, so that a model does not become too sure of easy cues. Lesson
# [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="evolutionary-search"></a>**evolutionary search** (进化搜索): Looking for the best of very many candidates: keep
# the best of those tried so far, change them a little (mutation) or mix two of them (crossover), try these, and so on.
# Lesson [04/05](04_compression/05_elastic.ipynb).
#
# <a id="exact-match"></a>**exact match** (完全匹配): The share of answers whose words are exactly the right ones, after small
# letters, no punctuation and no articles. "The wolf recorder" matches "wolf recorder", "a recorder" does not. Lesson
# [01/05](01_foundations/05_finetuning.ipynb).

# %% [markdown]
# ## F
#
# <a id="f1"></a>**F1** (F1 值): The harmonic mean of precision (which share of the answers "flight" was right) and
# recall (which share of the flights was found); *macro F1* is its mean over the classes. If three questions of four are
# about flights, always answering "flight" has an accuracy of 75 % but a low macro F1, because the F1 of every other
# class is 0. Lesson [03/08](03_fewshot/08_fewclue.ipynb).
#
# <a id="feature"></a>**feature** (特征): A number, or a vector, that a classifier is given. A [frozen](#frozen) pre-trained
# model gives its hidden states as features: they are computed once per text, and only a [head](#head) learns. Lesson
# [01/05](01_foundations/05_finetuning.ipynb).
#
# <a id="few-shot-learning"></a>**few-shot learning** (小样本学习): Learning a task from a handful of labelled examples, in
# this course mostly 16 per class. With two classes these are 32 rows, where the full training sets have some thousands.
# Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="fine-tuning"></a>**fine-tuning** (微调): Training all weights of a pre-trained model for one task, most often
# with a new head. It is the baseline of module 03. With thousands of labels it works well; with sixteen per class it
# often stays near chance, because the new head starts at random. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="forward-pass"></a>**forward pass** (前向传播): Computing the answer and the loss from the input, layer by layer. It
# takes about two operations, a multiplication and an addition, per weight and token. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="fp16"></a>**fp16** (半精度): A number format of 16 bits with 5 bits of exponent and 10 of fraction. Numbers above
# 65,504 overflow and very small gradients become 0, so training in it needs a [loss scale](#loss-scale). Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="front"></a>**front** (帕累托前沿): Of several models, those that no other beats: no other is as small and as
# accurate, and better in one of the two. Which of them to take depends on the limit; the others need not be looked at.
# Lesson [04/07](04_compression/07_landing.ipynb).
#
# <a id="frozen"></a>**frozen** (冻结): Not changed by training. A frozen weight needs neither a gradient nor an optimizer
# state: in 16 bits it takes 2 bytes, where a trained one takes 16. Lesson [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="fusion"></a>**fusion** (算子融合): Doing several operators in one kernel, so that what lies between them stays in
# registers. Two element-wise operators, one after the other, move a tensor through memory four times (read, write,
# read, write); fused, they move it twice. Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="fuzzy-pet"></a>**Fuzzy-PET**: PET with several label words for each class, whose probabilities are added up.
# The answer then depends less on the choice of any single word. Lesson [03/02](03_fewshot/02_pet.ipynb).

# %% [markdown]
# ## G
#
# <a id="gloo"></a><a id="nccl"></a>**gloo, NCCL**: Libraries that carry the messages between ranks: gloo between
# processes on CPUs, NCCL between GPUs. Without a GPU, all of this course's messages go through gloo. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="gradient-accumulation"></a>**gradient accumulation** (梯度累积): Taking a large batch in several parts, adding up
# their gradients, and making one step. Four parts of 16 texts make a batch of 64 with the activations of 16. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="graph-convolution"></a>**graph convolution** (图卷积): A layer that adds to each node's vector a part of its
# neighbours', so that it says who it stands beside. A node with one neighbour keeps half of itself; a network of such
# layers is a *GCN*. Lesson [02/04](02_knowledge/04_kgbert.ipynb).

# %% [markdown]
# ## H
#
# <a id="hard-negatives"></a>**hard negatives** (难负例): Wrong answers that look right, such as the first passages of a search
# that do not answer the query. A model learns more from them than from wrong answers drawn at random. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="head"></a>**head** (分类头): The last layer, which turns hidden states into answers. A new head for 2 labels on a
# model of width 160 has 2 · 160 + 2 = 322 weights that start at random; the head that fills blanks comes pre-trained.
# (For attention heads see [attention](#attention).) Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="hidden-state"></a><a id="hidden-vector"></a>**hidden state, hidden vector** (隐藏状态): The vector that a model has
# for a token between two layers; its length is the model's width, 768 in BERT-base. In the last layer it says what the
# token means in this text. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="hook"></a>**hook** (钩子): A function of yours that PyTorch calls at a certain moment, for instance when a layer
# has run or a gradient is complete. With hooks one can measure or change a model without editing its code. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="huffmans-code"></a>**Huffman's code** (霍夫曼编码): Codes of 0 and 1 for words, short for frequent ones, of which none
# begins another: the least digits that a text can need, if each word has a code. Lesson [01/01](01_foundations/01_words.ipynb).

# %% [markdown]
# ## I
#
# <a id="in-batch-negatives"></a>**in-batch negatives** (批内负例): The right answers of the other rows of a batch, taken as wrong
# ones. With 32 pairs in a batch, each query has 31 of them without any further encoding. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="in-context-learning"></a>**in-context learning** (上下文学习): Doing a task after reading a few
# [demonstrations](#demonstration) in the prompt, with no weight changed. GPT-3, with 175 billion weights, was the first
# model known for it. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="instruction-tuning"></a>**instruction tuning** (指令微调): Training one model on many tasks, each asked in words,
# so that it can be asked for kinds of tasks that it has never met. In the paper on FLAN it made models of 68 and 137
# billion weights better on such tasks, and those of 8 billion and fewer worse. Lesson
# [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="intrinsic-dimension"></a>**intrinsic dimension** (本征维度): How many free numbers are enough to learn a task, if
# the weights may move only along that many fixed random directions. It is far smaller than the number of weights, which
# is one reason why a small delta can be enough. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="inverted-index"></a>**inverted index** (倒排索引): For each word the list of the passages that hold it. A query of five
# words reads five lists, however many passages there are. Lesson [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="ipet"></a>**iPET**: PET in generations: several models label texts for one another, and each generation trains
# on more of them than the last. No model learns from its own answers. Lesson [03/02](03_fewshot/02_pet.ipynb).

# %% [markdown]
# ## K
#
# <a id="kernel"></a>**kernel** (核函数): A function that many threads of a GPU run at once. (The kernel of a notebook is
# another thing: the process that runs its cells.) Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="kl-divergence"></a>**KL divergence** (KL 散度): How far a distribution q is from another, p: the mean, over p, of
# ln (p / q). It is 0 only where both are the same, and not the same the other way round. A student's (0.5, 0.5) is 0.193
# from a teacher's (0.8, 0.2). Lesson [04/01](04_compression/01_distillation.ipynb).
#
# <a id="knowledge-graph"></a>**knowledge graph** (知识图谱): Facts written as triples of subject, relation and object, such
# as (Oslo, capital of, Norway). It can be walked, turned into vectors, and used to label text. Lessons
# [02/01](02_knowledge/01_knowledge_graphs.ipynb), [02/03](02_knowledge/03_dkplm.ipynb),
# [03/08](03_fewshot/08_fewclue.ipynb).

# %% [markdown]
# ## L
#
# <a id="label"></a><a id="class"></a>**label, class** (标签, 类别): A label is the right answer of a row, such as
# "positive"; a class is all rows that share one label. In labkit a row holds the label's number, and `task.labels`
# their names. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="label-word"></a>**label word** (标签词): The word that stands for a label in the blank, such as "great" for
# *positive*. The words of the classes should be about equally common, because a common word is likely after any text.
# Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="lamb"></a>**LAMB**: An optimizer for large batches: Adam's update of each weight matrix is scaled to the length
# of that matrix. With a learning rate of 0.01 every matrix moves by 1 % of its own length. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="language-model"></a>**language model** (语言模型): A model that gives each word a probability to stand at some
# place in a text. It learns from raw text, which has no labels and of which there is plenty. Lesson
# [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="leak"></a>**leak** (数据泄漏): Something of the test that stands in the training data: a text, a wording, a task.
# The test score then shows what was remembered and not what was learned. Lesson
# [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="learning-rate"></a>**learning rate** (学习率): How far a step of training goes. A few weights have to move far, so
# the rate of a delta is ten times that of fine-tuning or more; a comparison is fair only if each method has a rate that
# was chosen for it. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="lm-bff"></a>**LM-BFF**: A method by Gao et al. (2021) that finds templates and label words by search with a
# language model. "(T)", "(L)" and "(T+L)" in a table say what was searched for: the template, the label words, or both.
# Lesson [03/05](03_fewshot/05_auto_prompts.ipynb).
#
# <a id="log-probability"></a>**log-probability** (对数概率): The logarithm of a probability, 0 at most: ln 0.5 = −0.69. For
# several words in a row log-probabilities are added, where probabilities are multiplied, so a longer phrase has a
# smaller sum. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="logit"></a>**logit** (对数几率): A score before the softmax, any real number. Only differences count: logits of 2
# and 0 and logits of 5 and 3 both mean 88 % and 12 %. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="long-tail"></a>**long tail** (长尾): The many entities or words that are each rare, and together frequent. If a
# thousand entities have one mention each, a model meets none of them often enough to learn it by heart. Lessons
# [02/01](02_knowledge/01_knowledge_graphs.ipynb), [02/03](02_knowledge/03_dkplm.ipynb).
#
# <a id="lora"></a>**LoRA** (低秩适配): *Low-rank adaptation*: the frozen matrix W becomes W + BA (times a constant), where
# A and B are thin and only they are trained. For a matrix of 768 × 768 and rank 8 these are 12,288 numbers in place of
# 589,824. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="loss-scale"></a>**loss scale** (损失缩放): A large factor by which the loss is multiplied before an fp16 backward
# pass, so that small gradients do not become 0; afterwards they are divided by it. A *dynamic* scale is halved when a
# gradient overflows and doubled after enough good steps. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="lru"></a>**LRU** (最近最少使用): *Least recently used*: when a memory is full, what was not used for the longest time
# makes room. For a loop it is the worst choice: with 47 places for 48 layers every pass fetches all 48. Lesson
# [06/06](06_parallel/06_offload.ipynb).
#
# <a id="lstm"></a>**LSTM** (长短期记忆网络): A [recurrent network](#rnn) with a second vector, the cell. Gates between 0 and 1 say
# how much of the cell is kept, written and shown at each word, so that a gradient can reach far back: a forget gate of
# 0.95 keeps 0.95²⁰ = 36 % of it over 20 words. Lesson [01/02](01_foundations/02_sequences.ipynb).

# %% [markdown]
# ## M
#
# <a id="margin"></a>**margin** (间隔): How far from perfect a pair may stay before a contrastive loss acts on it. With a
# margin of 0.4, unlike pairs shall come down to a similarity of 0.4 and like pairs up to 0.6. Lesson
# [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="masked-language-model"></a>**masked language model** (掩码语言模型): A language model that is trained to name hidden
# tokens from both sides. Of all tokens 15 % are asked for; of these 80 % become `[MASK]`, 10 % another token, and 10 %
# stay. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="master-weight"></a>**master weight** (主权重): An fp32 copy of a 16-bit weight, which takes the optimizer's steps.
# In bf16, 1 + 0.001 is rounded to 1, so without it small steps would be lost. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="merge"></a>**merge** (合并): Adding a trained delta into the weights that it changes, so that the model is a
# plain one again and no slower. A LoRA can be merged; an adapter cannot, because there is a non-linear function between
# its two matrices. Lesson [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="meta-learning"></a>**meta-learning** (元学习): Learning a start from which a few steps lead far on a new task.
# Reptile goes some steps on one task, moves the start a part of that way, and turns to the next task. Lesson
# [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="micro-batch"></a>**micro-batch** (微批次): A part of a batch that goes through the model at once; the gradients of
# all parts are added up before the step. A batch of 64 rows makes four micro-batches of 16. Lesson
# [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="mixed-precision"></a>**mixed precision** (混合精度): Training with weights, gradients and activations in 16 bits
# and the optimizer in 32. A weight takes 2 + 2 + 12 = 16 bytes, as many as in plain fp32; what becomes smaller are the
# activations. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="mlp"></a>**MLP** (前馈网络): *Multi-layer perceptron*: two matrices with a non-linear function, such as GELU,
# between them. Each Transformer layer has one, usually 4 d wide, which holds two thirds of the layer's weights. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="model-parallelism"></a>**model parallelism** (模型并行): Cutting one model over several devices, because none can
# hold it: between its layers ([pipeline](#pipeline-parallelism)) or inside its matrices
# ([tensor](#tensor-parallelism)). To train 175 billion weights takes 2.8 TB, and a large GPU has 80 GB. Lesson
# [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="mrr"></a>**MRR** (平均倒数排名): *Mean reciprocal rank*: the mean of 1 / rank of the right answer, or of the first of
# several. Ranks 1, 2 and 10 give (1 + 0.5 + 0.1) / 3 = 0.53, so the first places count most. MRR@10 counts 0 where none is
# among the first ten. Lessons [02/01](02_knowledge/01_knowledge_graphs.ipynb), [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="multi-task-training"></a>**multi-task training** (多任务训练): Training one model on the rows of several tasks. A
# temperature sets how often each is read: with temperature 1 in proportion to its rows, with a very high one equally
# often. Lesson [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="mutual-information"></a>**mutual information** (互信息): By how much knowing one thing reduces the
# [entropy](#entropy) of another. If a prompt answers half of the texts with 0.9 to 0.1 and the others with 0.1 to 0.9, its
# answers have 0.69 nats without the text and 0.33 with it, so 0.37 in common. Lesson
# [03/01](03_fewshot/01_prompts.ipynb).

# %% [markdown]
# ## N
#
# <a id="n-gram"></a>**n-gram** (n 元组): *n* words that stand side by side in a text. "we saw the film" has four of one word,
# three of two, two of three, and one of four. Lesson [01/06](01_foundations/06_generation.ipynb).
#
# <a id="ndcg"></a>**NDCG** (归一化折损累计增益): A score of a ranking that counts each right answer by 1 / log2(1 + its place),
# divided by the sum of the best possible ranking. An answer at place 3 counts 0.5. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="nearest-neighbour"></a>**nearest neighbour** (最近邻): The labelled text whose vector is most similar to that of
# the text in question; its label is the answer. It needs neither label words nor a trained head. Lesson
# [03/04](03_fewshot/04_cp_tuning.ipynb).
#
# <a id="nucleus"></a><a id="top-p"></a>**nucleus, top-p** (核采样): The fewest of the likeliest next tokens that have the
# probability *p* together; only these may be drawn. With p = 0.9 it is one token where the model is sure and a hundred
# where it is not. Lesson [01/06](01_foundations/06_generation.ipynb).

# %% [markdown]
# ## O
#
# <a id="offload"></a>**offload** (卸载): Keeping what is not needed at the moment in a larger and slower memory, the
# host's or the disk's. In training it is first the optimizer state, 12 of the 16 bytes per weight. Lesson
# [06/06](06_parallel/06_offload.ipynb).
#
# <a id="one-hot"></a>**one-hot** (独热向量): A vector with a 1 in one place and 0 elsewhere, which says only *which*
# word it is. Two different ones have the product 0. Lesson [01/01](01_foundations/01_words.ipynb).
#
# <a id="online-softmax"></a>**online softmax** (在线 softmax): A softmax whose maximum and sum are found in one pass over
# a row: when a larger value comes, the sum so far is scaled to it. FlashAttention is built on it. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="onnx"></a>**ONNX** (开放神经网络交换格式): A file format for trained networks as a graph of standard operators, which
# other programs than PyTorch run, such as onnxruntime and OpenVINO. Lesson [04/07](04_compression/07_landing.ipynb).
#
# <a id="optimizer"></a><a id="optimizer-state"></a>**optimizer, optimizer state** (优化器): The rule that turns gradients
# into new weights, such as Adam, and what it keeps for each weight from step to step. Adam's state in mixed precision
# is two averages and the master weight, 12 bytes: six times the size of the 16-bit weight itself. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="outlier"></a>**outlier** (离群值): An activation that is far larger than the others of its token, 60 where they are
# near 1. If a token is rounded to 8 bits, its largest number sets the step, so one outlier costs all others their
# precision. Lesson [04/04](04_compression/04_quantization.ipynb).
#
# <a id="overfitting"></a>**overfitting** (过拟合): Learning the training rows by heart: all of them are answered
# correctly, and new rows no better than before. With 32 training rows and 1.5 million weights it happens soon. Lesson
# [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="overlap"></a>**overlap** (通信与计算重叠): Sending while computing goes on, so that the time for it is hidden. A time
# line shows it: two bars at the same time in different lanes. Lesson [06/03](06_parallel/03_data_parallel.ipynb).

# %% [markdown]
# ## P
#
# <a id="p-tuning"></a>**P-tuning**: PET with trained vectors in place of the template's words; they are trained
# together with the model. A small LSTM may produce them, and is thrown away afterwards. Lesson
# [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="padding"></a>**padding** (填充): Tokens without meaning that bring the texts of a batch to one length. Texts of 5
# and 9 tokens need four of them; the attention mask and the loss leave them out. Lesson
# [06/01](06_parallel/01_memory.ipynb).
#
# <a id="paired-interval"></a>**paired interval** (配对置信区间): The 95 % interval of the mean difference between two
# methods, taken draw by draw. Differences of 2, 3 and 4 points in three draws give 3 ± 2.5. An easy draw helps both
# methods, so it does not count for either. Lesson [03/05](03_fewshot/05_auto_prompts.ipynb).
#
# <a id="parameter"></a><a id="weight"></a>**parameter, weight** (参数, 权重): A number in a model that training sets. In 16
# bits it takes 2 bytes, so a billion of them fill 2 GB. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="parameter-server"></a>**parameter server** (参数服务器): One process that collects the gradients of all others,
# makes the step, and hands out the new weights. It is simple, but everything passes through one place: with N ranks it
# sends N − 1 copies of the model per step. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="pattern"></a><a id="template"></a>**pattern, template** (模板): The sentence that a text is written into, with a
# place for the text and a blank: `{text} it was {mask} .` "Pattern" is PET's word for it, "template" that of most
# others. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="perplexity"></a>**perplexity** (困惑度): e to the mean [cross-entropy](#cross-entropy) per token. A model with a
# perplexity of 20 is as unsure about the next token as one that guesses evenly among 20. Lesson
# [01/02](01_foundations/02_sequences.ipynb), [01/06](01_foundations/06_generation.ipynb).
#
# <a id="pet"></a>**PET**: *Pattern-exploiting training* (Schick & Schütze 2021): a task is written as a cloze, and the
# pre-trained head that fills blanks is trained on the few examples. No weight starts at random. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="pipeline-bubble"></a>**pipeline bubble** (流水线气泡): The time in which stages of a pipeline wait because the first
# micro-batch has not reached them or the last has left. With 4 stages and 8 micro-batches it is 3 / 11 = 27 % of a
# step. Lesson [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="pipeline-parallelism"></a>**pipeline parallelism** (流水线并行): Each device (*stage*) holds some of the layers and
# hands its results on to the next, as in a production line. The batch is cut into micro-batches, so that several stages
# work at once. Lesson [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="policy-gradient"></a>**policy gradient** (策略梯度): A way to learn from choices that cannot be differentiated: draw
# a choice, and raise the logarithm of its probability in proportion to the reward that it brought. Lesson
# [02/01](02_knowledge/01_knowledge_graphs.ipynb).
#
# <a id="pooling"></a>**pooling** (池化): Making one vector of a text from the vectors of its tokens: the first token's, or the
# mean of all. [Padding](#padding) must not count. Lesson [01/05](01_foundations/05_finetuning.ipynb).
#
# <a id="positional-encoding"></a>**positional encoding** (位置编码): What tells attention where a token stands: a vector added
# to its embedding, or a number or vector that depends on the distance of two tokens. An encoder without one cannot tell
# "dog bites man" from "man bites dog". Lesson [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="pre-training"></a>**pre-training** (预训练): Training a language model on a large amount of raw text, once, before
# any task. What it learns there is what a prompt asks for later. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="prefix-tuning"></a>**prefix tuning** (前缀微调): Trained keys and values in every layer, which the text's tokens
# attend to, while the model stays frozen. Eight of each in a model of 12 layers and width 768 are 2 · 8 · 12 · 768 =
# 147,456 numbers. Lesson [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="prior"></a>**prior** (先验): What a prompt answers before it has read anything: measured on a text without
# content, or as the mean answer over many texts. If it is far from even, the prompt is biased, and
# [calibration](#calibration) helps. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="probe"></a>**probe** (探测): A question that shows what a model knows without teaching it to answer: "anna reed was
# born in ___ .", with all cities to choose from. Lesson [02/03](02_knowledge/03_dkplm.ipynb).
#
# <a id="prompt"></a>**prompt** (提示): The words around a text that tell a language model what is asked of it. The same
# text in two prompts can get two answers. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="prompt-tuning"></a>**prompt tuning** (提示微调): Training a [soft prompt](#soft-prompt) before the text while the
# whole model is frozen (Lester et al. 2021). Twenty vectors of width 768 are 15,360 numbers per task. Lesson
# [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="prototype"></a>**prototype** (原型): A vector that stands for a class, such as the mean of its examples' vectors.
# A text gets the class of the nearest prototype. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="pruning"></a>**pruning** (剪枝): Leaving out weights, [attention](#attention) heads or layers that matter little.
# Half of a fine-tuned model's weights can often become 0 without a change in its answers. Lesson
# [04/03](04_compression/03_pruning.ipynb).
#
# <a id="pseudo-label"></a>**pseudo-label** (伪标签): A label that a model has given to an unlabelled text, used for
# training as if it were true. Only the surest are taken, because wrong ones are learned as well. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="pseudo-log-likelihood"></a>**pseudo-log-likelihood** (伪对数似然): A score for a whole text from a masked language
# model: each token is hidden in turn, and the log-probabilities of the right ones are added up. A text of 20 tokens
# takes 20 passes. Lesson [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="pseudo-token"></a>**pseudo token** (伪词元): A vector read in the place of a word's. DKPLM makes it of a fact in a
# [knowledge graph](#knowledge-graph): if (h, r, t) holds, h is read as the vector of t less that of r. Lesson
# [02/03](02_knowledge/03_dkplm.ipynb).

# %% [markdown]
# ## Q
#
# <a id="quantization"></a>**quantization** (量化): Storing numbers in fewer bits, for instance a row of weights as whole
# numbers from −127 to 127 and one scale. Eight bits take a quarter of fp32's bytes. Lessons
# [06/02](06_parallel/02_kernels.ipynb), [04/04](04_compression/04_quantization.ipynb).

# %% [markdown]
# ## R
#
# <a id="rank"></a>**rank** (进程编号): One of the processes that train together, and its number, from 0 to N − 1. On a
# cluster each usually has a GPU of its own; in this course they are processes on your machine. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="rank-correlation"></a>**rank correlation** (秩相关): How alike two orders of the same things are: 1 if both are the
# same, 0 if they have nothing to do with each other, −1 if one is the other reversed. Times of 1, 2, 9 ms and predictions
# of 3, 4, 5 ms have the rank correlation 1. Lesson [04/05](04_compression/05_elastic.ipynb).
#
# <a id="rank-of-a-matrix"></a>**rank of a matrix** (矩阵的秩): The number of independent directions in a matrix. A product
# of a 768 × 8 and an 8 × 768 matrix has a rank of at most 8, which is what [LoRA](#lora) makes use of. Lesson
# [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="reciprocal-rank-fusion"></a>**reciprocal rank fusion**: A way to join rankings whose scores cannot be compared: a
# passage gets 1 / (60 + place) from each ranking. It needs no training. Lesson
# [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="reduce-scatter"></a>**reduce-scatter** (归约散射): A [collective](#collective) after which each rank has one part
# of the sum of all tensors. It is the first half of an all-reduce; ZeRO puts the optimizer's step between the two
# halves. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="register"></a>**register** (寄存器): The fastest memory of a GPU: at most 255 numbers of 32 bits that belong to
# one thread. What stays in registers between two steps need not go through memory. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="residual-connection"></a>**residual connection** (残差连接): What a part of a network finds is *added* to what went
# in, x + f(x), so a layer changes a state rather than replaces it, and gradients reach the first layers of a deep
# network undiminished. Lesson [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="ring-all-reduce"></a>**ring all-reduce** (环形全归约): An all-reduce in which each rank talks only to its neighbours
# in a ring and passes on one part at a time. Each sends 2 (N − 1) / N times the tensor: less than twice its size for
# any number of ranks. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="rnn"></a><a id="recurrent-network"></a>**RNN, recurrent network** (循环神经网络): A network that reads one word after
# another. At each word the same weights make a new [state](#hidden-state) of the word and the old state, so texts may
# have any length. Lesson [01/02](01_foundations/02_sequences.ipynb).
#
# <a id="roofline"></a>**roofline** (屋顶线模型): The highest speed that a kernel can have: the chip's operations per second,
# or its bytes per second times the kernel's operations per byte, whichever is less. Adding two 16-bit tensors is one
# operation for 6 bytes, so memory limits it. Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="row"></a>**row** (样本): One example of a task: its text or texts and, where it is known, its label. It is a line
# of a table, hence the name. Lesson [03/02](03_fewshot/02_pet.ipynb).

# %% [markdown]
# ## S
#
# <a id="safetensors"></a>**safetensors**: A file format for weights that holds numbers and nothing that could be run.
# labkit reads models only from such files and JSON; a pickled file can run code when it is opened. Lesson
# [03/06](03_fewshot/06_delta_tuning.ipynb).
#
# <a id="sampled-softmax"></a>**sampled softmax** (采样 softmax): A [softmax](#softmax) over the right word and some that are
# drawn, instead of the whole vocabulary. Each drawn word stands for others, so its score is corrected for how often it is
# drawn. Lesson [02/03](02_knowledge/03_dkplm.ipynb).
#
# <a id="sector"></a>**sector** (扇区): 32 bytes of a GPU's memory, the least that it moves. Whoever needs 4 bytes of a
# sector moves all 32. Lesson [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="seed"></a>**seed** (随机种子): The number from which a random generator starts; the same seed gives the same
# choices. `labkit.setup(seed=1)` sets another one, and a method is measured with several. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="self-training"></a>**self-training** (自训练): A model labels unlabelled texts, adds its surest answers to the
# training rows, and is trained anew. It helps if sure answers are mostly right, which can be measured first. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="sentinel"></a>**sentinel** (哨兵词元): A token that stands for a hidden span in T5's pre-training and names it in
# the answer. "thank you `<0>` me to your party" asks for "`<0>` for inviting". Lesson
# [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="shard"></a>**shard** (分片): A rank's part of something that is cut over all ranks: of the optimizer state, the
# gradients or the weights. With 8 ranks a shard is an eighth. Lesson [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="shared-memory"></a>**shared memory** (共享内存): A small fast memory on the chip for the threads of one block,
# about 100 KB. A block loads a [tile](#tile) into it once and uses it many times. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="shot"></a>**shot**: One labelled example per class. "16 shots" of a task with 15 topics are 240 rows. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="sigmoid"></a>**sigmoid** (S 型函数): σ(s) = 1 / (1 + e^−s), which turns any score into a probability: 0 becomes 0.5,
# 2 becomes 0.88, −2 becomes 0.12. Lesson [01/01](01_foundations/01_words.ipynb).
#
# <a id="soft-label"></a>**soft label** (软标签): A label that is a distribution: 0.8 positive, 0.2 negative. It also tells
# a student which wrong answer was nearly right. Lessons [03/02](03_fewshot/02_pet.ipynb),
# [04/01](04_compression/01_distillation.ipynb).
#
# <a id="soft-prompt"></a>**soft prompt** (软提示): Vectors that take the place of a prompt's words and are trained. They
# need not be the vector of any word. Lesson [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="softmax"></a>**softmax**: It turns scores into probabilities: the exponential of each, divided by the sum of
# all. Scores of 2 and 0 become 0.88 and 0.12. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="span"></a>**span** (片段): Tokens that stand side by side, given by the first and the last of them. The answer to a
# question may be a span of the passage, a name in a text is one. Lesson [01/05](01_foundations/05_finetuning.ipynb).
#
# <a id="sparsity"></a>**sparsity** (稀疏度): The share of a matrix's numbers that are 0. At 90 % one weight of ten is left;
# the file is smaller only if it is stored in a form that leaves out zeros. Lesson
# [04/03](04_compression/03_pruning.ipynb).
#
# <a id="split"></a>**split** (数据划分): A part of a task's rows with one use: *train* to learn from, *dev* to choose
# settings by, *test* to score once at the end. A score on rows that were used to choose is too high. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="standard-deviation"></a>**standard deviation** (标准差): How far single results typically lie from their mean;
# "84.0 ± 2.0" in a table is a mean and a standard deviation over draws. For 82, 84 and 86 it is 2. Lesson
# [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="standard-error"></a>**standard error** (标准误): How far a mean typically lies from its true value: the standard
# deviation divided by the square root of the count. An accuracy p on m rows has one of √(p (1 − p) / m): 1.7 points for
# 87 % on 400 rows. Lesson [03/02](03_fewshot/02_pet.ipynb).
#
# <a id="straight-through-estimator"></a>**straight-through estimator** (直通估计): A way to train through rounding, whose
# own gradient is 0 nearly everywhere: the model computes with the rounded weights, and the gradient is passed on to the
# full weights as if there had been no rounding. Lesson [04/04](04_compression/04_quantization.ipynb).
#
# <a id="super-network"></a>**super-network** (超网络): A network that is trained at random sizes of itself, so that any of
# its many thousand sub-networks can be judged without training it. Lesson [04/05](04_compression/05_elastic.ipynb).
#
# <a id="svd"></a><a id="singular-value-decomposition"></a>**SVD, singular value decomposition** (奇异值分解): It writes a
# table as a sum of simple ones, each a column times a row, the most important first. The first 50 of 2 800 give each word
# 50 numbers. Lesson [01/01](01_foundations/01_words.ipynb).

# %% [markdown]
# ## T
#
# <a id="teacher-forcing"></a>**teacher forcing** (教师强制): In training, a [decoder](#decoder) reads the right tokens before
# the one that it has to write, and not its own. When it writes alone it also reads its own mistakes; this difference is
# called *exposure bias*. Lesson [01/02](01_foundations/02_sequences.ipynb).
#
# <a id="temperature"></a>**temperature** (温度): A number by which logits are divided before the softmax. Logits of 2 and
# 0 give 0.88 and 0.12 at temperature 1, and 0.73 and 0.27 at 2: the answer is less sure. Lessons
# [01/06](01_foundations/06_generation.ipynb), [03/02](03_fewshot/02_pet.ipynb),
# [04/01](04_compression/01_distillation.ipynb).
#
# <a id="tensor-parallelism"></a>**tensor parallelism** (张量并行): Cutting the matrices of each layer over several devices,
# which compute parts of the same product and add them up. It sends much, in every layer, so the devices should be in
# one machine. Lesson [06/04](06_parallel/04_model_parallel.ipynb).
#
# <a id="ternary-weights"></a>**ternary weights** (三值权重): Weights that are −α, 0 or α, with one α for a matrix or a row.
# They take two bits each, a sixteenth of fp32's bytes. A ternary matrix is the sum of two binary ones, in which each
# weight is −α/2 or α/2. Lesson [04/04](04_compression/04_quantization.ipynb).
#
# <a id="tf-idf"></a>**TF-IDF** (词频-逆文档频率): A weight for a word in a text: how often it stands there, times a number that
# is large for words which few texts have. Lesson [02/05](02_knowledge/05_retrieval.ipynb).
#
# <a id="tile"></a>**tile** (分块): A small square of a matrix that a block of threads loads into shared memory. With
# tiles of 32 × 32 a matrix product loads a 32nd of the numbers that it would load without. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="token"></a>**token** (词元): A piece of text as the model reads it: a word, a part of a word, a sign; in Chinese
# models of BERT's kind one character. The review "it was not bad ." has five tokens, because each word is one here and
# the full stop is another. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="tokenizer"></a>**tokenizer** (分词器): The program that cuts a text into tokens and numbers them. A model works
# only with the tokenizer that it was pre-trained with. Lesson [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="torchrun"></a>**torchrun**: PyTorch's program that starts the processes of a training, tells each its rank, and
# starts them again if one of them ends. `torchrun --nproc_per_node 2` starts two. Lesson
# [06/07](06_parallel/07_deepspeed.ipynb).
#
# <a id="transformer"></a>**Transformer**: A network of equal layers, each of attention and a small network that works
# on every token by itself. A layer of width d has about 12 d² weights: 7 million for the 768 of BERT-base. Lessons
# [01/03](01_foundations/03_transformer.ipynb), [01/04](01_foundations/04_pretraining.ipynb).
#
# <a id="trigger-token"></a>**trigger token** (触发词): In AutoPrompt, a word of the prompt that a search exchanges for
# better ones along the gradient, the same in every row. The result need not read like language. Lesson
# [03/05](03_fewshot/05_auto_prompts.ipynb).

# %% [markdown]
# ## U
#
# <a id="unified-memory"></a>**unified memory** (统一内存): The host's memory, made to look like the GPU's: what is touched
# is fetched. It needs no change to a program, but the program waits for every fetch. Lesson
# [06/06](06_parallel/06_offload.ipynb).
#
# <a id="untrained-cloze"></a>**untrained cloze**: A pre-trained model that is asked by a cloze before any training *for
# the task*. It is the first baseline for every method that trains on a few examples. Lesson
# [03/02](03_fewshot/02_pet.ipynb).

# %% [markdown]
# ## V
#
# <a id="vanishing-gradient"></a>**vanishing gradient** (梯度消失): A gradient that passes many steps or layers is multiplied
# by a factor at each of them. With 0.5 per step less than a millionth is left after 20 steps, so what stands far back
# is not learned; with factors above 1 it explodes. Lesson [01/02](01_foundations/02_sequences.ipynb).
#
# <a id="verbalizer"></a>**verbalizer** (标签词映射): The table that says which word, or words, stand for which label:
# *negative* → "bad", *positive* → "great". With a template it makes a classifier of a language model. Lesson
# [03/01](03_fewshot/01_prompts.ipynb).
#
# <a id="vocabulary"></a>**vocabulary** (词表): All tokens that a model knows. A masked language model chooses among them
# in each blank; `mini-bert-en` has about 2,900, BERT-base 30,522. Lesson [01/04](01_foundations/04_pretraining.ipynb).

# %% [markdown]
# ## W
#
# <a id="warp"></a><a id="lane"></a>**warp, lane** (线程束): 32 threads of a GPU, its *lanes*, which carry out each
# instruction together. So a load is 32 loads at once, and it matters which addresses they ask for. Lesson
# [06/02](06_parallel/02_kernels.ipynb).
#
# <a id="warp-method"></a>**WARP (method)**: A prompting method for frozen models (Hambardzumyan et al. 2021): vectors
# before the text and one vector for each class are trained. With two classes and no prompt these are 320 numbers in a
# model of width 160. Lesson [03/03](03_fewshot/03_soft_prompts.ipynb).
#
# <a id="width"></a>**width** (宽度): The length of a model's hidden states, d in the formulas: 160 in `mini-bert-en`, 768
# in BERT-base. The weights of a layer grow with its square. Lesson [06/01](06_parallel/01_memory.ipynb).
#
# <a id="winners-curse"></a>**winner's curse** (赢家诅咒): The score by which the best of several was chosen is too high. If
# 30 prompts are all right in 70 % and are tried on 32 rows, the best of them scores 86 % on average. Lesson
# [03/05](03_fewshot/05_auto_prompts.ipynb).
#
# <a id="wordpiece"></a>**WordPiece**: BERT's pieces of words: the longest piece that fits is taken first, and a piece that
# goes on with a word begins with ##. With the pieces "un", "##film" and "##able", the word "unfilmable" has three
# tokens. Lesson [01/03](01_foundations/03_transformer.ipynb).
#
# <a id="world"></a>**world**: The generator that writes this course's texts and tasks, in English and Chinese. Because
# it makes the labels, it knows each task's ceiling, and nothing has to be downloaded. Lesson
# [03/02](03_fewshot/02_pet.ipynb).

# %% [markdown]
# ## Z
#
# <a id="zero-shot"></a>**zero-shot** (零样本): Answering a task without a labelled example of it. The untrained cloze is
# zero-shot; so is an instruction-tuned model that is asked a kind of task it was not trained on. Lesson
# [03/07](03_fewshot/07_instruction.ipynb).
#
# <a id="zero-stage"></a>**ZeRO stage** (零冗余优化器): How much the ranks of a data-parallel training share instead of
# keeping all of it: 1 the optimizer state, 2 also the gradients, 3 also the weights. With 8 ranks a weight takes 16
# bytes per rank without it, and 5.5, 3.75 and 2 under stages 1 to 3. Lesson
# [06/03](06_parallel/03_data_parallel.ipynb).
#
# <a id="zoo"></a>**zoo** (模型库): The small pre-trained models that come with labkit, loaded by name:
# `labkit.load_model("mini-bert-en")`. `labkit zoo list` shows them. Lesson
# [01/04](01_foundations/04_pretraining.ipynb).

# %% [markdown]
# A term is missing? It can be added in `notebooks/text/glossary.py`: two sentences, and the lesson that teaches it.
