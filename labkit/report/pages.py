"""What labkit has measured, as pages: `labkit results` in a terminal, docs/results.md for readers.

Each file of `labkit/results/` has a `Page` here: what it is about and, where a paper measured the same, what that one
reports. What labkit measured stands in the table alone, which is made from the rows.
"""

from __future__ import annotations

from labkit.errors import unknown
from labkit.report.page import Page
from labkit.report.rows import names


def pages() -> list[Page]:
    """The pages whose rows are there."""
    there = names()
    return [one for one in PAGES if one.name in there]


def page(name: str) -> Page:
    """The page of `labkit/results/NAME.json`; UsageError with the nearest name otherwise."""
    known = {one.name: one for one in pages()}
    if name not in known:
        raise unknown("results", name, known)
    return known[name]


EASYNLP = (
    "EasyNLP article, on a task of its own: macbert-large-zh, 325 M parameters, 0.54 s a batch, and pai-bert-tiny-zh, "
    "3 M, 0.06 s a batch"
)
CP_TUNING = "Xu et al. 2022, RoBERTa, mean of the eight real tasks"
QUANTIZED = (
    "One fine-tuned model in 8 bits, ternary (2 bits) and binary (1 bit) weights and embeddings, rounded or trained to "
    "them: 100 steps; one point is within the noise. Activations have 8 bits where nothing else is said. "
    "BinaryBERT and the two binary matrices have 1 + 1 bits, as many as the ternary weights (lesson 04/04)."
)
TERNARY_BERT = {"full precision": 92.0, "TernaryBERT (TWN)": 91.1, "TernaryBERT (LAT)": 91.5}
TINYBERT = "Jiao et al. 2020, Tables 2 and 3: mean of MNLI-m, MNLI-mm, MRPC and CoLA, dev"
GLUE = "Noah's Ark talk, after Jiao et al. 2020, Table 1: mean of GLUE, test"

SCIBERT = "Beltagy et al. 2019, SciBERT fine-tuned"
ROCKETQA = "Qu et al. 2021, MS MARCO"

PAGES = (
    Page("pipeline_reviews", "The pipeline on the embedded world",
         "A large model adapted from sixteen examples a class, and the small one that it teaches. The composed student "
         "goes through all passes: smaller, TinyBERT's two stages, two bits a weight.",
         {"fine-tune [CLS]": 83.75, "PET": 90.63, "student, fine-tuned": 54.38, "student, KD": 71.25}, EASYNLP),
    Page("landing", "The pipeline with a real language model",
         "Gemma 3 270M, adapted from sixteen sentences a class of SST-2, teaches a BERT of a hundredth of its size, "
         "which has words of its own. One draw, 1 000 test sentences at even distances (the command draws by label). "
         "Unlabelled are 10 511 sentences of MR and SST-2, of which none holds a test sentence.",
         {"fine-tune [last]": 83.75, "PET": 90.63, "student, fine-tuned": 54.38, "student, KD": 71.25}, EASYNLP),
    Page("landing_minilm", "Landing with all labels",
         "MiniLM fine-tuned with all labels of SST-2 (6 920 sentences) and of three domains of Amazon (4 800 reviews), "
         "and students that learn its answers to these and to 20 000 sentences without labels; on Amazon, narrow ones. "
         "A file of two bits or int8 that is read as numbers is as small, and as fast as floats. No student keeps 95 % "
         "on SST-2; 94.4 % is the most. Only 2 003 of its 20 000 sentences are about films and not in its training "
         "rows, since SST-2 was itself drawn from MR; on Amazon, 7 234 are of its reviews and behind what is read of "
         "them. One draw; 1 821 and 1 200 test rows (lesson 04/07)."),
    Page("sst2_minilm", "The pipeline with a sentence encoder",
         "MiniLM has no masked-LM head of its own: a prompt gains nothing over a head."),
    Page("fewshot_bert", "Few-shot methods on eight tasks",
         "Sixteen examples a class, each method at its own learning rate (lesson 03/04).",
         {"fine-tune [CLS]": 69.51, "PET": 78.01, "LM-BFF (T)": 78.42, "LM-BFF (L)": 78.61, "LM-BFF (T+L)": 77.06,
          "P-tuning": 78.43, "WARP": 59.89, "CP-Tuning": 81.24}, CP_TUNING),
    Page("fewshot_albert", "Few-shot methods on eight tasks, layers shared",
         "The same with an ALBERT, one layer that is run four times: three of the methods, three draws. After 4 000 "
         "steps its 0.46 M weights predict hidden words far worse than mini-bert-en (a loss of 2.19 on unseen text "
         "against 0.71), and its untrained cloze guesses. So there is nothing in it that a prompt could ask for: on "
         "reviews and mrpc no method is far from 50, and on the mean of the tasks the head is not behind."),
    Page("fewshot_words", "The quality of label words",
         "Clozes with natural, rare and arbitrary words; CP-Tuning, which has none (lesson 03/04)."),
    Page("cp_tuning", "Parts of CP-Tuning", "One part left out at a time (lesson 03/04)."),
    Page("gemma", "Few-shot methods with Gemma 3 270M on real data",
         "Sixteen examples a class of five real tasks, 250 test rows each. The cloze is above the better head on the "
         "mean of the tasks (78.9 against 69.6). CP-Tuning is above it on the three tasks of sentiment, by 4.5 to 7.7 "
         "points, and not on trec, with six classes, nor on bustm, where no method is far from guessing: 2.6 on the "
         "mean. One draw of mr did not begin to learn in its 40 steps (54.4, the loss still at 21); on the tuning "
         "draw, where settings are chosen, 100 steps are no better."),
    Page("fewshot_real", "Few-shot methods with MiniLM on real data",
         "LM-BFF's five splits of sixteen examples a class."),
    Page("prompts", "Prompts on a frozen model, and with four examples a class",
         "Templates, verbalizers, calibration, examples in context (lesson 03/01)."),
    Page("pet_reviews", "PET against a head", "One, four and sixteen examples a class (lesson 03/02)."),
    Page("pet_family", "What was built on PET",
         "Four examples a class. An arrow ends in an ordinary classifier, taught by soft labels (lesson 03/02).",
         {"fine-tune [mean]": 25.0, "ensemble → classifier": 87.5, "iPET → classifier": 89.3},
         "Schick & Schütze 2021, Table 1: AG's News, ten labelled examples in all"),
    Page("pet_words", "Random choices of label words", "How much PET depends on the words (lesson 03/02)."),
    Page("soft_prompts", "Soft prompts",
         "Accuracy against what is trained: the methods that freeze mini-bert-en (large), and all methods on "
         "micro-bert-en (small), whose untrained cloze guesses. One draw; seconds are the clock's on a busy machine "
         "(lesson 03/03)."),
    Page("auto_prompts", "Prompts found by search", "Templates and words that nobody wrote (lesson 03/05)."),
    Page("delta", "Delta tuning", "Every delta against fine-tuning everything (lesson 03/06)."),
    Page("delta_cost", "What a delta costs", "Memory and time of one training step, measured in turn (lesson 03/06)."),
    Page("instruction", "Learning from other tasks",
         "What instruction tuning, entailment and TransPrompt carry over to a task that was left out (lesson 03/07)."),
    Page("fewclue", "The FewCLUE system, stage by stage", "Nine tasks of the world in FewCLUE's form (lesson 03/08)."),
    Page("fewclue_intents", "The same from four sentences an intent", "Twelve intents (lesson 03/08)."),
    Page("fewclue_real", "The same on real files",
         "A model that has never read real Chinese, nor most of its characters (lesson 03/08)."),
    Page("elastic", "One network of twelve sizes",
         "Each width (heads and neurons) and depth (layers) of mini-bert-en on world/qnli, 1 000 test rows, one seed "
         "(standard error of a cell: 1.3 points). Cut: of the fine-tuned one, nothing trained. Elastic: one network "
         "for all sizes, taught by it; a fifth: after a fifth of the steps. Alone: a network for each size, on the "
         "labels, for as many steps (lesson 04/05).",
         {"width 1, depth 1": 92.1, "width 1, depth 0.75": 91.7, "width 1, depth 0.5": 90.6,
          "width 0.75, depth 1": 92.2, "width 0.75, depth 0.75": 91.8, "width 0.75, depth 0.5": 90.7,
          "width 0.5, depth 1": 92.2, "width 0.5, depth 0.75": 91.5, "width 0.5, depth 0.5": 90.0,
          "width 0.25, depth 1": 91.5, "width 0.25, depth 0.75": 90.8, "width 0.25, depth 0.5": 88.5},
         "Hou et al. 2020, Table 1: QNLI, elastic BERT-base (fine-tuned: 92.0)"),
    Page("elastic_search", "Sizes found by a search",
         "A super-network trained once at random shapes; shapes found by evolution for the time that a hand-made one "
         "takes, both cut out and trained on (lesson 04/05). For half the width and depth the search is five points "
         "ahead and no slower: it keeps the first layer, where the hand-made one has the second. For the larger limit "
         "it is as good and a little faster. One seed."),
    Page("word2vec", "Word vectors",
         "Speed of training on one core, and how many of a word's five nearest words have its type (lesson 01/01). "
         "CBOW trains once per word, not once per pair, so little arithmetic stands beside the fixed cost of fetching "
         "and adding rows in torch: with a tree, it has a quarter of gensim's speed; others a third to a half."),
    Page("sequences", "Readers of sequences", "Classification, next words, Shakespeare's characters (lesson 01/02). "
         "The GPT has three times the LSTM's weights; after as few characters it is behind it."),
    Page("sequences_reach", "How far back a gradient reaches", "Untrained layers, and first words recalled (01/02)."),
    Page("transformer", "Ways to tell a decoder where a token stands",
         "Trained on 32 pieces of text; loss on held-out texts that are as long, and longer. NEZHA's waves also at a "
         "tenth of their size (lesson 01/03)."),
    Page("transformer_cost", "Attention beside a recurrence",
         "One layer of each, forward and backward over one text, in turns on one thread (lesson 01/03)."),
    Page("quantization", "Bits per weight", QUANTIZED, TERNARY_BERT, "Zhang et al. 2020, Table 1: QNLI, BERT-base"),
    Page("int8", "Int8 and ternary layers beside other libraries",
         "Time as a multiple of float32's in the same turn, one thread, three turns, on a CPU without integer "
         "instructions for int8 (no VNNI). There labkit multiplies the integers as floats, and so gains bytes, not "
         "time; torch and onnxruntime have kernels for it, about twice as fast as float32 (lesson 04/04). Ternary "
         "weights are rounded, not trained. OpenVINO's static int8 gains no time without such instructions either."),
    Page("int8_gemma", "Outliers in a real language model",
         "Gemma 3 270M with its linear layers in fewer bits, perplexity per token on 24 sentences of SST-2: columns of "
         "the activations in which some |x| is 6 or more spoil int8, and kept in floats they no longer do (Dettmers et "
         "al. 2022, LLM.int8). The embeddings stay in float32, 671 MB in each row (lesson 04/04)."),
    Page("pretraining", "Pre-training objectives",
         "Same text, same arithmetic, one pre-training of each: own loss, and accuracy after training on 1 000 reviews "
         "with labels, or on 16 sentences of each relation (lesson 01/04). Two standard errors of a difference are 4.5 "
         "points. ELECTRA and T5 begin late, and what they learn by then does not help. Seconds are of a busy machine.",
         {"MLM 15 % + NSP (BERT)": 75.1, "replaced tokens (ELECTRA)": 79.9},
         "Clark et al. 2020, Table 1: GLUE, small models"),
    Page("finetuning", "One body, many heads",
         "Readers, choices, one text format for all kinds of questions, on passages of three sentences; a frozen body, "
         "and one that learns, from 16, 128 and 1000 rows (lesson 01/05)."),
    Page("retrieval", "Finding passages",
         "2 000 pages of the world and 362 questions; words differ: those of which no word but the name stands in a "
         "page that answers. All that learns starts from micro-bert-en (lesson 02/05). One seed: two standard errors "
         "of a difference are some five points. At equal steps BM25's negatives raise MRR no more than more in-batch "
         "training does, but they bring more of the answers among the first 50. The papers have MS MARCO.",
         {"all queries: BM25": (18.7, ROCKETQA), "all queries: dense, in-batch negatives": (32.4, ROCKETQA),
          "all queries: dense, + its own (ANCE)": (33.0, "Xiong et al. 2021, Table 1"),
          "all queries: dense, + its own, denoised (RocketQA)": (36.4, ROCKETQA),
          "all queries: SparTerm, expanded": (27.9, "Bai et al. 2020"),
          "all queries: BM25, re-ranked": (36.5, "Nogueira & Cho 2019, BERT-large")},
         "MRR@10 on MS MARCO's dev set"),
    Page("retrieval_variants", "BM25's variants in two languages",
         "The same pages and questions, and the same facts told in Chinese, whose terms are single characters; there, "
         "too, words differ where no word but the name is shared (lesson 02/05)."),
    Page("retrieval_real", "Finding answers to real questions",
         "TREC-QA, dev questions: among the sentences of all questions, and among each question's own candidates. "
         "MiniLM was trained to compare sentences, on other text, and sees these questions for the first time (lesson "
         "02/05)."),
    Page("retrieval_scale", "An index of 100 000 passages",
         "BM25 beside bm25s, and vectors of 128 numbers searched exactly and by FAISS; recall is of the exact search's "
         "first ten. Times are of three turns on one thread (lesson 02/05)."),
    Page("knowledge_probes", "Knowledge of frequent and of rare things",
         "mini-bert-en goes on for 500 steps of 32 texts in a small world of which it has read no fact: plain "
         "masked language modelling, DKPLM as in the paper (every chosen mention is injected), and with one thing "
         "changed; WKLM, ERNIE and BERT-MK, of which the last two have the graph when they are asked, too; on the "
         "same texts in the same order, one seed (lessons 02/02 and 02/03). Hits@1 of blanks, which name the entity "
         "that is asked about; bands are its frequency's. Facts stand in text, in the graph alone, or in neither "
         "(unseen). The standard error of a tail cell is 4 points where facts are stated, 8 or 9 where not. Of what "
         "DKPLM gains on the tail without injection, half comes from names that are never hidden. Its paper "
         "measures other things:",
         {"masked language modelling": 81.43, "DKPLM": 84.79},
         "EasyNLP talk: F1 on CMedQANER, base models; CHIP20: 73.05 and 77.13, FinNER: 77.56 and 87.81"),
    Page("entity_tasks", "The relation of two names",
         "mini-bert-en learns from 215 facts which relation joins two names that stand in a text without a verb, and "
         "is asked for 144 others, three draws of 120 steps: alone, with the graph's vectors in an entity stream "
         "(ERNIE), with vectors made of the facts around (BERT-MK), and with each entity's vector exchanged for "
         "another's (lesson 02/02). The standard error of one draw is 3 points. The papers measure other tasks:",
         {"BERT": 79.33, "BERT-MK": 86.87}, "Noah's Ark talk: F1 on GAD, relations of genes and diseases"),
    Page("kgbert", "Which facts to read",
         "mini-bert-en goes on for 160 steps of 16 texts in the small world of the probes above: plain masked language "
         "modelling and KGBERT, whole or with one part left out, one seed (lesson 02/04). Stated: Hits@1 of blanks "
         "whose facts text states, from the text alone. Graph, beside: of facts that only the graph has, with its "
         "facts about the text's entities beside it and 8 planted ones; n planted: half of these with n, by KGBERT "
         "with its gates as learned and opened. AUC: how often a fact that fills the blank has a wider gate than "
         "another. Attributes: which of 26 relations a sentence states, by a linear reader of mean states. The "
         "FewCLUE article reports a difference alone: 2 points more in attribute recognition, on other texts."),
    Page("decoding", "Decoding",
         "Texts that go on from the first five words of a text that the model has not seen, by how each token is "
         "chosen. Perplexity is under the same model; pairs and fours are of its tokens. The nearer to the text "
         "itself, the better (lesson 01/06)."),
    Page("decoding_speed", "Speed of decoding",
         "How many times as fast as transformers' `generate` mini-gpt-en writes the same 40 tokens, in turns on one "
         "thread; a row is the median of five turns. Beside it the mean tokens per second (lesson 01/06)."),
    Page("guided", "Asking for one of three facts",
         "How often what is written names the other end of the fact that is asked for, and of another: without, with "
         "the guidance before the text, and with a cross-attention of its own (lesson 01/06). 300 texts, one seed."),
    Page("math_problems", "Word problems by Generate & Rank",
         "Encoder-decoders of 1 M weights from nothing, 2 200 steps each, one seed; accuracy on 941 unseen problems "
         "(lesson 01/06). The writer that was trained with the ranker is 2.3 points above the other, which is within "
         "the noise of one seed. The ranker itself chooses worse than the beam: 600 steps are too few for it to learn "
         "much from nothing, where the paper has a pre-trained model. The right expression is in the beam two times of "
         "three, so there is much to gain.",
         {"writing alone, beam 10": 80.8, "Generate & Rank": 85.4}, "Shen et al. 2021, Table 2: Math23K, mBART"),
    Page("verse", "Tang verse under a form",
         "A GPT by character that has read 1 200 poems, one seed: asked for a form by its name, and held to it by a "
         "mask; 100 poems a form, 200 second lines to unseen first ones. Of a character of unseen poems the counts of "
         "pairs still know a little more than this model (lesson 01/06)."),
    Page("data_to_text", "Sentences from facts",
         "WebNLG's development set, lower case, one seed (lesson 01/06). Names as they are do better than ENTk: in "
         "98 of 100 of these sets every name stands in the training set, so there is none that cannot be learned."),
    Page("translation", "Translation between the world's two languages",
         "One T5 for both directions on sentences that it has not read, beside the training sentence with the most "
         "words in common, translated. BLEU by words of English, by characters of Chinese; exact: the whole text."),
    Page("front", "What the pipeline ends with",
         "Chains of compression from the teachers of the pipeline's run: width and layers of the student, steps of KD "
         "and of TinyBERT's losses inside the network before it, then int8, or ternary weights after steps that see "
         "them. Where there are three seeds, all are equally good but for noise (1 000 test reviews, a standard error "
         "of 1.3 points), so the pipeline takes the smallest: one layer and two bits."),
    Page("compression", "Compressions one after the other",
         "One task, a teacher with all labels, and a student of one layer, 40 wide, which learns the teacher's answers "
         "to 30 000 sentences; in several orders (lesson 04/07)."),
    Page("distillation", "Distillation",
         "A teacher of 64 labelled reviews, and students of two layers, a quarter as wide: taught by labels, by its "
         "answers, and by TinyBERT in full or with one part left out (lesson 04/01). One seed, 1 000 test reviews: two "
         "standard errors of a difference are 4.5 points at most. The last three students keep two of the teacher's "
         "layers and its width. TinyBERT's paper has the mean of MNLI, MRPC and CoLA (dev). Its BERT_TINY (70.2) was "
         "pre-trained, while the layers of our student start at random. The GLUE test set is from the Noah's Ark talk, "
         "which has 77.0 for TinyBERT there, at 13 % of the teacher's parameters and 9.4 times its speed.",
         {"TinyBERT": (75.6, TINYBERT), "without augmentation": (68.4, TINYBERT),
          "without general distillation": (72.5, TINYBERT), "without task distillation": (68.5, TINYBERT),
          "without the embedding loss": (74.1, TINYBERT), "without the hidden loss": (72.9, TINYBERT),
          "without the attention loss": (71.0, TINYBERT),
          "without all three": (56.3, f"{TINYBERT}; without hidden and attention losses"),
          "without the prediction loss": (73.5, TINYBERT),
          "teacher": (79.5, GLUE), "student, fine-tuned alone": (70.2, GLUE),
          "two layers kept, DistilBERT": (71.9, GLUE), "two layers kept, PKD": (72.6, GLUE)}),
    Page("world_en", "How hard the world's English tasks are", "By head fine-tuning alone; see [the world](world.md)."),
    Page("world_zh", "How hard the world's Chinese tasks are", "By head fine-tuning alone; see [the world](world.md)."),
    Page("long_training", "Speed of training", "`fit` beside a bare loop, and beside batches of many shapes."),
    Page("resident", "Memory of long training", "Resident size over the steps."),
    Page("prediction", "Prediction of tables", "`labkit predict` beside a transformers pipeline."),
    Page("serving", "Serving",
         "`labkit serve` beside a transformers pipeline behind FastAPI. Batches save what an answer costs beside the "
         "arithmetic, so they help small models most; the pipeline's requests compute on both cores, labkit on one."),
    Page("meta_kd", "Meta-KD: one teacher for many domains",
         "Reviews of five domains, 100 labelled ones of each; students of one layer in place of four, each of its own "
         "domain (lesson 04/02). Lines that begin with … leave one part of meta-distillation out. Every student that "
         "sees a teacher's layers gets equally far: with 100 texts, whose weights hardly differ, it matters neither "
         "which teacher it is nor how the texts are weighed. One seed.",
         {"BERT-single": 81.9, "BERT-mix": 84.4, "BERT-mtl": 84.2, "meta-teacher": 84.4, "BERT-single → TinyBERT": 79.3,
          "BERT-mix → TinyBERT": 79.6, "BERT-mtl → TinyBERT": 79.7, "multi-teachers → MTN-KD": 77.2,
          "meta-teacher → TinyBERT": 80.0, "meta-teacher → meta-distillation": 80.4},
         "Pan et al. 2021, in the EasyNLP talk: mean of MNLI's five genres, 109 M → 14.5 M parameters"),
    Page("knowledge_downstream", "What asking for facts leaves in a model",
         "mini-bert-en, and two models that go on from it for 1 500 steps of 64 texts of the default world: masked "
         "language modelling, and mini-dkplm-en, which is also asked for facts about rare things and never reads a "
         "stand-in. Facts: Hits@1 of at most 300 blanks a band, standard errors 1 to 2.5 points, in a world of 2 000 "
         "entities. Then three draws of few labelled rows (lesson 02/03). Asking for facts gains nothing here, and "
         "costs some of the frequent ones; names are nearly solved by all three."),
    Page("knowledge_real", "Relations, names and answers in real text",
         "MiniLM fine-tuned beside a baseline that learns from the same rows, one seed, nothing chosen on the test: "
         "13 relations of ChemProt, 16 of FewRel (100 sentences each for training, 200 for the test), chemicals and "
         "diseases of BC5CDR as whole names, and the dev questions of TREC-QA with their own candidates (lesson "
         "02/05). For answers MiniLM's vectors do better untrained than a second reader that it becomes from 4 700 "
         "pairs: to compare two vectors is what it was made for.",
         {"BC5CDR: minilm, fine-tuned": (90.01, SCIBERT), "ChemProt: minilm, fine-tuned": (83.64, SCIBERT)},
         "SciBERT, fine-tuned"),
    Page("transe", "TransE on graphs of facts",
         "Link prediction of the test facts, filtered, both ends (lesson 02/01). PyKEEN's TransE has the same "
         "settings, and runs beside ours. Popularity answers with the entities that are most often at this end."),
    Page("transe_world", "TransE on the world's facts",
         "“native_of” is where somebody's city of birth lies: its held-out facts follow from others. The world's other "
         "held-out facts were drawn at random, and there the popular answer is better (lesson 02/01). Both ends."),
    Page("distant", "Distant supervision and its denoising",
         "Labels that a graph gives to texts of the world, half of them written around a fact that they do not state; "
         "kept as they are, at random, by a classifier, by DSGAN's game (lesson 02/01). With a discriminator that is "
         "not trained there is no game, and more wrong labels are kept."),
    Page("memory", "Memory of one training step", "Techniques that save it, predicted and measured (lesson 06/01)."),
    Page("lamb", "LAMB and large batches", "Layers that learn at different speeds (lesson 06/01)."),
    Page("fusion", "A fused kernel", "Bias and GELU in one pass over memory (lesson 06/02)."),
    Page("cuda", "CUDA kernels on a GPU", "labkit's kernels beside PyTorch's (lesson 06/02)."),
    Page("zero", "ZeRO", "Bytes a rank keeps and sends, by formula, by labkit, by DeepSpeed (lesson 06/03)."),
    Page("pipeline", "The bubble of a pipeline", "From recorded events, beside the closed form (lesson 06/04)."),
    Page("offload", "Offloading", "What a schedule hides of the link's time (lesson 06/06)."),
    Page("pruning", "Pruning",
         "What is left of a fine-tuned model's accuracy when weights, heads or layers leave it: one model, one order "
         "of batches, two for CAP and magnitude from 90 % on, so differences below 3 points are noise. CAP is ahead of "
         "magnitude at 97 % alone. Movement is at chance: its scores are sums over at most 70 steps, and after so few "
         "its choice is as unrelated to the size as a random one; the paper trains on some 360 000 pairs (04/03).",
         {"magnitude, 90 %": 79.8, "movement, 90 %": 89.7, "magnitude, 97 %": 72.4, "movement, 97 %": 86.1,
          "cut once, 0 %": 91.4, "CAP, 97 %": "99.2 % of BERT"},
         "QQP, BERT-base: Sanh et al. 2020, Table 2, taught by the full model too; CAP: Xu et al. 2022"),
    Page("fewshot_rates", "Learning rates of few-shot methods", "Dev split, a draw that the tables do not use."),
    Page("fewshot_real_rates", "Learning rates on real data", "Dev split."),
    Page("gemma_rates", "Learning rates with Gemma", "Dev split."),
    Page("soft_prompts_rates", "Learning rates of soft prompts", "Dev split."),
    Page("delta_tuning", "Learning rates of deltas", "Dev split."),
    Page("fewclue_tune", "Learning rates and sizes of the FewCLUE system", "Half of the dev split."),
)  # fmt: skip
