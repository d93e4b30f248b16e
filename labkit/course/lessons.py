"""The course in one table: six modules, 42 lessons, what each teaches, how long it takes, what it builds on.

A lesson's key ("03/02") is its module's number and its own; notebook, text, code, test and check carry its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labkit.errors import UsageError, unknown


@dataclass(frozen=True)
class Module:
    """One of the six parts of the course; `package` is its code in labkit, `stages` the first and the last of the
    pipeline's STAGES that it has to do with.
    """

    number: str
    package: str
    title: str
    stages: tuple[str, str]

    @property
    def folder(self) -> str:
        """Its folder of notebooks: "03_fewshot"."""
        return f"{self.number}_{self.package}"


@dataclass(frozen=True)
class Lesson:
    """One notebook. `needs` are the keys of the lessons it builds on, `minutes` what a learner should set aside,
    `extras` the optional parts of labkit that it cannot do without.
    """

    key: str
    module: str
    slug: str
    title: str
    systems: str
    minutes: int
    needs: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The slug without its number, which the lesson's code, test and check are called by: "pet"."""
        return self.slug.partition("_")[2]

    @property
    def package(self) -> str:
        """The package of its module: "fewshot"."""
        return self.module.partition("_")[2]

    @property
    def notebook(self) -> Path:
        """Its notebook, relative to the course folder."""
        return Path(self.module, f"{self.slug}.ipynb")

    @property
    def text(self) -> Path:
        """The text that its notebook is built from, relative to the course folder."""
        return Path("text", self.module, f"{self.slug}.py")

    def exists(self, root: Path) -> bool:
        """Whether the notebook is there, in the course folder `root`."""
        return (root / self.notebook).is_file()


STAGES = ("pre-train", "adapt", "distil", "quantise", "measure", "serve")
MODULES: tuple[Module, ...] = (
    Module("01", "foundations", "Foundations: from counts to Transformers", ("pre-train", "adapt")),
    Module("02", "knowledge", "Knowledge: facts, retrieval, domains", ("pre-train", "adapt")),
    Module("03", "fewshot", "Few examples: prompts and small changes", ("adapt", "adapt")),
    Module("04", "compression", "Compression: smaller and faster", ("distil", "serve")),
    Module("05", "multimodal", "Pictures and speech", ("pre-train", "adapt")),
    Module("06", "parallel", "Memory, kernels, many devices", ("pre-train", "serve")),
)


def _lesson(key: str, name: str, title: str, minutes: int, needs: str, systems: str, extras: str = "") -> Lesson:
    (module,) = (module.folder for module in MODULES if module.number == key[:2])
    return Lesson(
        key, module, f"{key[3:]}_{name}", title, systems, minutes, tuple(needs.split()), tuple(extras.split())
    )


# key, name, title, minutes, the lessons it needs
#     the systems it teaches, the extras it needs
LESSONS: tuple[Lesson, ...] = (
    _lesson("01/01", "words", "Words as vectors", 45, "",
            "co-occurrence, PMI and SVD, word2vec"),
    _lesson("01/02", "sequences", "Reading one word after another", 45, "01/01",
            "RNN, GRU, LSTM, TextCNN, attention, ELMo"),
    _lesson("01/03", "transformer", "The Transformer, piece by piece", 60, "01/02",
            "BPE, WordPiece, attention, positions, masks"),
    _lesson("01/04", "pretraining", "Learning from raw text", 45, "01/03",
            "GPT, BERT, RoBERTa, ELECTRA, T5, TLM, PanGu-α"),
    _lesson("01/05", "finetuning", "One body, many heads", 45, "01/04",
            "classifying, matching, tagging, reading; BiDAF, UnifiedQA"),
    _lesson("01/06", "generation", "Writing text, and steering it", 60, "01/04",
            "beam search, nucleus sampling, control, BLEU and ROUGE, verse, Generate & Rank"),
    _lesson("02/01", "knowledge_graphs", "Facts as a graph", 45, "01/01",
            "TransE, entity linking, distant supervision"),
    _lesson("02/02", "entities", "Teaching a model about entities", 50, "01/05 02/01",
            "ERNIE, WKLM, BERT-MK"),
    _lesson("02/03", "dkplm", "Knowledge that costs nothing to serve", 45, "01/05 02/01",
            "DKPLM"),
    _lesson("02/04", "kgbert", "Choosing which facts to read", 45, "01/05 02/01",
            "KGBERT, gated knowledge selection"),
    _lesson("02/05", "retrieval", "Finding the right passage", 60, "01/05",
            "BM25, cross-encoders, DPR, ANCE, RocketQA, SparTerm"),
    _lesson("02/06", "retrieval_augmented", "Answering with documents", 50, "01/06 02/05",
            "REALM, RAG, FiD, a search agent", "retrieval"),
    _lesson("02/07", "domains", "Medicine and law", 60, "01/05",
            "BiLSTM-CRF, document relations, judgement prediction, Lawformer"),
    _lesson("03/01", "prompts", "Asking a model in its own words", 45, "01/04",
            "templates, verbalizers, calibration, in-context learning"),
    _lesson("03/02", "pet", "Asking the model, instead of teaching a head", 45, "03/01",
            "PET, iPET, Fuzzy-PET, self-training"),
    _lesson("03/03", "soft_prompts", "Prompts that are vectors", 45, "03/02",
            "P-tuning, prefix tuning, prompt tuning, PPT, WARP"),
    _lesson("03/04", "cp_tuning", "Prompts without label words", 50, "03/03",
            "CP-Tuning"),
    _lesson("03/05", "auto_prompts", "Prompts found by search", 45, "03/02",
            "LM-BFF, AutoPrompt"),
    _lesson("03/06", "delta_tuning", "Change a little, keep the rest", 50, "01/05",
            "adapters, LoRA, BitFit, IA3, Compacter"),
    _lesson("03/07", "instruction", "Tasks that teach other tasks", 45, "03/02",
            "multi-task training, TransPrompt, FLAN, T0"),
    _lesson("03/08", "fewclue", "One system for nine tasks", 45, "03/02 03/07",
            "the FewCLUE system and its ablation"),
    _lesson("03/09", "neurons", "What single neurons know", 45, "03/03",
            "activation sparsity, expert units, transfer"),
    _lesson("04/01", "distillation", "A small model learns from a large one", 45, "01/05",
            "KD, TinyBERT"),
    _lesson("04/02", "meta_kd", "One teacher for many domains", 40, "04/01",
            "Meta-KD"),
    _lesson("04/03", "pruning", "Removing what matters least", 50, "01/05",
            "magnitude, movement, 2:4, heads, layers, L0, CAP"),
    _lesson("04/04", "quantization", "Fewer bits a weight", 55, "04/01",
            "int8, NF4, LLM.int8, TernaryBERT, BinaryBERT"),
    _lesson("04/05", "elastic", "One model, many sizes", 50, "04/01 04/03",
            "DynaBERT, AutoTinyBERT"),
    _lesson("04/06", "cheap_features", "More from the same weights", 45, "01/05",
            "GhostBERT, ALBERT, Primer, MoEfication"),
    _lesson("04/07", "landing", "From a large model to a small service", 45, "03/02 04/01 04/03 04/04",
            "every compression, in one declared order"),
    _lesson("05/01", "clip", "Pictures and words in one space", 50, "01/03",
            "CLIP, locked-image tuning, Wukong"),
    _lesson("05/02", "vqgan", "Pictures as tokens", 45, "01/03",
            "VQ-VAE, VQGAN"),
    _lesson("05/03", "dalle", "Drawing from a sentence", 50, "01/06 05/01 05/02",
            "DALL·E, guidance, re-ranking"),
    _lesson("05/04", "fusion", "Looking and reading together", 50, "05/01",
            "ALBEF, Frozen, ViLT"),
    _lesson("05/05", "speech", "Listening", 50, "01/03",
            "SPIRAL, Conv-Transformer Transducer"),
    _lesson("06/01", "memory", "Where the memory goes", 45, "01/03",
            "mixed precision, accumulation, checkpointing, LAMB"),
    _lesson("06/02", "kernels", "Faster by moving fewer bytes", 50, "06/01",
            "fusion, CUDA kernels, the roofline"),
    _lesson("06/03", "data_parallel", "Many copies, one model", 50, "06/01",
            "collectives, DDP, ZeRO 1, 2 and 3"),
    _lesson("06/04", "model_parallel", "One model over many devices", 55, "06/03",
            "tensor and pipeline parallelism, 3-D topology"),
    _lesson("06/05", "experts", "A part of the model at a time", 50, "06/03",
            "mixtures of experts, sparse attention"),
    _lesson("06/06", "offload", "Models larger than memory", 45, "06/01",
            "offloading, BMInf's scheduling"),
    _lesson("06/07", "deepspeed", "From one process to many", 40, "06/03",
            "DeepSpeed: ZeRO, offload, checkpoints, restart"),
    _lesson("06/08", "scaling", "How far does it scale?", 45, "06/04",
            "a cost model and simulator of thousands of GPUs"),
)  # fmt: skip


def lesson(key: str) -> Lesson:
    """The lesson "03/02"; UsageError, which offers the nearest key, for one that does not exist."""
    for item in LESSONS:
        if item.key == key:
            return item
    raise unknown("lesson", key, [item.key for item in LESSONS])


def find_root() -> Path | None:
    """The course folder (`notebooks/`): here, above, or beside the package; None where there is none."""
    here = Path.cwd()
    beside = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, beside):
        for candidate in (folder, folder / "notebooks"):
            if candidate.name == "notebooks" and _is_root(candidate):
                return candidate
    return None


def root() -> Path:
    """`find_root`, or a UsageError that says where it was looked for."""
    found = find_root()
    if found is None:
        raise UsageError(f"no folder notebooks/ with lessons in {Path.cwd()} or above: go to the course's folder first")
    return found


def _is_root(folder: Path) -> bool:
    return (folder / "text").is_dir() or any((folder / module.folder).is_dir() for module in MODULES)
