"""Follow a recipe: corpus → tokenizer → model → its objective → a folder that plain `transformers` loads."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from labkit import files
from labkit.evaluation import evaluate
from labkit.fewshot.pet import PET
from labkit.foundations.encoder import goes_on
from labkit.foundations.pretraining import (
    CausalLM,
    MaskedLM,
    SelectiveLM,
    SpanCorruption,
    frequency_weights,
    mean_loss,
    micro_model,
    token_counts,
    tokenize_corpus,
    with_sentinels,
)
from labkit.foundations.pretraining.rows import TokenRows
from labkit.lab import best_device, quietly, without_imitation
from labkit.measure import parameters
from labkit.tasks import load_task
from labkit.training import Batches, Curriculum, History, fit
from labkit.world import corpus, drill, judging_words
from labkit.zoo import knowing, translating
from labkit.zoo.folders import write_record
from labkit.zoo.recipes import (
    AlbertRecipe,
    KnowledgeRecipe,
    Recipe,
    SpanRecipe,
    TranslatorRecipe,
    WriterRecipe,
    recipe_hash,
)
from labkit.zoo.tokenizer import build_tokenizer, going_on

PROBE_ROWS = 500  # test rows of each task on which a freshly trained model is probed
PROBED = {"en": ("reviews", "mrpc", "qnli"), "zh": ("reviews-zh", "fewclue/bustm", "fewclue/ocnli")}
UNSEEN = 1000  # documents that no model is trained on


def new_model(item: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The recipe's architecture with random weights; dropout 0, since micro models underfit."""
    torch.manual_seed(item.seed)
    if isinstance(item, WriterRecipe):
        return micro_model(
            item.kind, tokenizer, layers=item.layers, d=item.hidden, heads=item.heads, ffn=item.ffn,
            positions=item.positions, seed=item.seed,
        )  # fmt: skip
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": item.hidden, "num_hidden_layers": item.layers,
        "num_attention_heads": item.heads, "intermediate_size": item.ffn, "max_position_embeddings": item.positions,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    if not isinstance(item, AlbertRecipe):
        return BertForMaskedLM(BertConfig(**sizes))
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    shared = {"embedding_size": item.embedding, "num_hidden_groups": 1, "classifier_dropout_prob": 0.0}
    return AlbertForMaskedLM(AlbertConfig(**sizes, **shared, **ends, hidden_act="gelu"))


def stack(parent: BertForMaskedLM, layers: int) -> BertForMaskedLM:
    """A deeper model whose layer `i` starts as the parent's layer `i mod depth` (Gong et al. 2019, progressive
    stacking).
    """
    config = BertConfig.from_dict({**parent.config.to_dict(), "num_hidden_layers": layers})
    model, depth = BertForMaskedLM(config), parent.config.num_hidden_layers
    state = {key: value for key, value in parent.state_dict().items() if ".encoder.layer." not in key}
    for number in range(layers):
        source = parent.bert.encoder.layer[number % depth].state_dict()
        state |= {f"bert.encoder.layer.{number}.{key}": value for key, value in source.items()}
    model.load_state_dict(state)
    return model


def pretrain(
    item: Recipe, parent: tuple[BertForMaskedLM, BertTokenizer] | None = None, *, folder: Path | None = None,
    resume: bool = False, progress: bool | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, History]:  # fmt: skip
    """Train the recipe's model; `folder` receives checkpoints from which `resume` goes on."""
    if isinstance(item, TranslatorRecipe):
        model, tokenizer, objective, batches = translating.prepared(item)
    else:
        model, tokenizer, objective, batches = _prepared(item, parent)
    if item.drill != (0, 0):
        batches = _with_drill(item, tokenizer, batches)
    precision = without_imitation(item.precision, best_device())
    with _attention_for(model, precision):
        history = fit(
            model, objective.loss, batches, folder=folder, resume=resume, progress=progress, steps=item.steps,
            lr=item.lr, warmup=item.warmup, schedule="onecycle", seed=item.seed, precision=precision,
            save_every=max(item.steps // 5, 1) if folder else 0,
        )  # fmt: skip
    return model, tokenizer, history


def _prepared(item: Recipe, parent: tuple[BertForMaskedLM, BertTokenizer] | None) -> tuple[Any, Any, Any, Batches]:
    """Model, tokenizer, objective and batches of a recipe for text in one language."""
    texts = corpus(item.world, item.language, item.documents)
    tokenizer = parent[1] if parent else _tokenizer(item, texts)
    rows = _rows(item, texts, tokenizer)
    model = stack(parent[0], item.layers) if parent else new_model(item, tokenizer)
    objective = _objective(item, tokenizer, rows)
    lengths = rows.lengths
    if isinstance(item, KnowledgeRecipe):
        rows, objective = knowing.with_graph(item, model, objective, rows)
    batches = Batches(rows, objective.collate, item.batch_size, seed=item.seed, lengths=lengths)
    return model, tokenizer, objective, batches


def _tokenizer(item: Recipe, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    reading = build_tokenizer(texts, positions=item.positions)
    if not isinstance(item, WriterRecipe):
        return reading
    return going_on(reading) if item.kind == "gpt" else with_sentinels(reading)


def _rows(item: Recipe, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> TokenRows:
    """The texts' tokens; a model that goes on with a text is asked for the end too, of texts that were not cut."""
    rows = tokenize_corpus(texts, tokenizer, item.max_length)
    if not goes_on(tokenizer):
        return rows
    ids = (row["input_ids"] for row in rows)
    return TokenRows.of(one if len(one) == item.max_length else np.append(one, tokenizer.eos_token_id) for one in ids)


def _objective(item: Recipe, tokenizer: PreTrainedTokenizerBase, rows: TokenRows) -> Any:
    """What the model is asked while it trains."""
    if isinstance(item, WriterRecipe):
        return _measured(item, tokenizer)
    weights = frequency_weights(token_counts(rows, len(tokenizer), tokenizer.all_special_ids), mean=item.mask_mean)
    if not item.selective:
        return MaskedLM(tokenizer, token_probabilities=weights)
    words = tokenizer.convert_tokens_to_ids(judging_words(item.language))
    telling = [one for one in words if one not in tokenizer.all_special_ids]
    return SelectiveLM(tokenizer, telling=telling, selective=item.selective, token_probabilities=weights)


def _measured(item: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The plain objective, whose loss on unseen text is the model's figure."""
    if not isinstance(item, WriterRecipe):
        return MaskedLM(tokenizer)
    if isinstance(item, SpanRecipe):
        return SpanCorruption(tokenizer, density=item.density, max_length=item.max_length)
    return CausalLM(tokenizer, max_length=item.max_length)


def _with_drill(item: Recipe, tokenizer: BertTokenizer, batches: Batches) -> Batches:
    """The recipe's text with a drill in it, after which the text begins anew in another order."""
    start, stop = item.drill
    count = (stop - start) * item.batch_size
    texts = corpus(item.world, item.language, count, part="drill", shares=drill(item.language))
    rows = tokenize_corpus(texts, tokenizer, item.max_length)
    between = Batches(rows, batches.collate, item.batch_size, seed=item.seed, lengths=rows.lengths)
    after = Batches(batches.rows, batches.collate, item.batch_size, seed=item.seed + 1, lengths=batches.lengths)
    return Curriculum(batches, Curriculum(between, after, stop - start), start)


@contextlib.contextmanager
def _attention_for(model: PreTrainedModel, precision: str) -> Iterator[None]:
    """Inside, attention as plain products for bf16 on a CPU, where torch's fused kernel takes half of a step."""
    before = model.config._attn_implementation
    if precision == "bf16" and best_device().type == "cpu":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def figures(item: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a trained model can do, without training it on anything: "held_out_loss", nats per token asked for on UNSEEN
    documents, and of a masked model "zero_shot", the cloze's accuracy on some tasks, in [0, 1]: has it learned
    polarity, and to compare?
    """
    if isinstance(item, TranslatorRecipe):
        rows = translating.rows(translating.unseen(item, UNSEEN))
        loss = mean_loss(model, translating.method(item, model, tokenizer), rows)
        return {"held_out_loss": round(loss, 4), "zero_shot": {}}
    texts = corpus(item.world, item.language, UNSEEN, part="held out")
    held_out_loss = mean_loss(model, _measured(item, tokenizer), _rows(item, texts, tokenizer))
    zero_shot = {}
    for name in () if isinstance(item, WriterRecipe) else PROBED[item.language]:
        task = load_task(f"world/{name}", world=item.world)
        few = replace(task, splits={"test": task.splits["test"][:PROBE_ROWS]})
        method = PET.for_task(task, tokenizer, words=5)
        zero_shot[name] = round(evaluate(model, method, few, "test", progress=False)[task.metric], 4)
    return {"held_out_loss": round(held_out_loss, 4), "zero_shot": zero_shot}


def train(
    item: Recipe, folder: Path, parent: tuple[BertForMaskedLM, BertTokenizer] | None, progress: bool | None = None
) -> dict[str, Any]:
    """Follow the recipe into `folder`: weights in half precision, tokenizer, and `recipe.json` with hash, figures and
    checksums, or nothing; returns the figures.
    """
    checkpoints = folder.with_name(f"{folder.name}.training")  # a stop loses little, even of an hour
    model, tokenizer, history = pretrain(item, parent, folder=checkpoints, resume=True, progress=progress)
    model.half().float()  # as it will be loaded
    facts = {
        "loss": round(float(np.mean(history.losses[-50:])), 4),
        **figures(item, model, tokenizer),
        "seconds": round(history.seconds, 1),
        "tokens_per_second": round(history.tokens_per_second),
        "threads": torch.get_num_threads(),
        "parameters": parameters(model),
    }
    for settings in filter(None, (model.config, getattr(model, "generation_config", None))):
        settings.use_cache = True  # for writing, which training does not do
    with quietly(), files.writing_folder(folder) as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_record(temporary, {"name": item.name, "hash": recipe_hash(item), **facts})
    shutil.rmtree(checkpoints)
    return facts
