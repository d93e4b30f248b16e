"""What the ranks of test_deepspeed.py run: top-level functions, so that `launch` finds them."""

from __future__ import annotations

import contextlib
import io
import shutil

import torch
from transformers import BertConfig, BertForSequenceClassification

from labkit.errors import UsageError
from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config
from labkit.parallel.deepspeed_pipeline import DeepSpeedPipeline
from labkit.training import Batches, Training, fit

ROWS, SIZE, STEPS = 40, 8, 6
SETTINGS = {"steps": STEPS, "lr": 5e-3, "warmup": 0.0, "clip": 0.5, "accumulate": 2, "device": "cpu",
            "precision": "fp32"}  # fmt: skip
NAMES = [(0, False), (1, False), (2, False), (3, False), (2, True), (3, True)]


def bert() -> BertForSequenceClassification:
    """A BERT of 2 layers whose head has 3 outputs, which 2 ranks do not divide; a pooler that is used."""
    torch.manual_seed(5)
    config = BertConfig(vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                        max_position_embeddings=8, num_labels=3, hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0)  # fmt: skip
    return BertForSequenceClassification(config)


def collate(rows, rng):
    rows = torch.tensor(rows)
    return {"input_ids": (rows[:, None] * torch.tensor([1, 3, 7, 9]) + 1) % 61, "labels": rows % 3}


def objective(model, batch):
    logits = model(input_ids=batch["input_ids"]).logits.float()
    return torch.nn.functional.cross_entropy(logits, batch["labels"])


def batches() -> Batches:
    return Batches(range(ROWS), collate, SIZE, seed=4)


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def train(stage: int, offload: bool, world: int, **options):
    """One run of `fit`: losses, weights after it, what the engine held, and the model."""
    model, precision = bert(), options.pop("precision", "fp32")
    settings = Training(**{**SETTINGS, "precision": precision})
    config = deepspeed_config(settings, stage, offload, precision, rows=SIZE, world=world)
    engine = DeepSpeedEngine(model, objective, settings, config)
    history = fit(model, objective, batches(), engine=engine, **{**SETTINGS, "precision": precision, **options})
    return history, model, engine


def stop_at(step):
    return lambda now, loss: now == step


def every_stage(here, folder):
    """Stages one after the other in one process a rank, then bf16, then a resume at another stage."""
    found, noise = {}, io.StringIO()
    with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
        for stage, offload in NAMES:
            model, settings, held = bert(), Training(**SETTINGS), {}
            config = deepspeed_config(settings, stage, offload, rows=SIZE, world=here.world)
            engine = DeepSpeedEngine(model, objective, settings, config)

            def look(step, loss, held=held, engine=engine):
                held.update(engine.held())

            history = fit(model, objective, batches(), engine=engine, **SETTINGS, on_step=look)
            found[stage, offload] = (history.losses, state(model), held, vars_left(model))
        train(1, False, here.world, folder=f"{folder}/fp32", on_step=stop_at(3))
        shutil.copytree(f"{folder}/fp32", f"{folder}/copy{here.rank}")
        history, model, _ = train(3, False, here.world, folder=f"{folder}/fp32", resume=True)
        found["resumed"] = (history.resumed, history.losses, state(model))
        history, model, _ = train(2, False, here.world, precision="bf16")
        found["bf16"] = (history.losses, state(model))
        train(2, False, here.world, precision="bf16", folder=f"{folder}/bf16", on_step=stop_at(3))
        history, model, _ = train(2, False, here.world, precision="bf16", folder=f"{folder}/bf16", resume=True)
        found["bf16 resumed"] = (history.losses, state(model))
        found["pipeline"] = pipeline()
    found["noise"] = noise.getvalue()
    return found


PIPED = Training(steps=5, lr=1e-2, warmup=0.0, accumulate=4, weight_decay=0.1, clip=None)


def layers() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    return [torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 4)]


def micro_batches(step: int) -> list:
    draw = torch.Generator().manual_seed(step)
    return [(torch.randn(3, 8, generator=draw), torch.randint(0, 4, (3,), generator=draw)) for _ in range(4)]


def pipeline() -> tuple[list[float], int, str, str]:
    """Losses of five steps, how many parameters this rank holds, and what is said to two wrong uses."""
    with DeepSpeedPipeline(layers(), torch.nn.CrossEntropyLoss(), PIPED, rows=3) as piped:
        losses = [piped.step(micro_batches(step), total=5) for step in range(5)]
        held = sum(value.numel() for value in piped.engine.module.parameters())
        return losses, held, refused(lambda: piped.step(micro_batches(0)[:3], total=5)), refused(of_one)


def of_one():
    DeepSpeedPipeline(layers()[:1], torch.nn.CrossEntropyLoss(), PIPED, rows=3)


def refused(function) -> str:
    try:
        function()
    except UsageError as error:
        return str(error)
    return "not refused"


def vars_left(model) -> list[str]:
    """Attributes that DeepSpeed left behind."""
    left = [name for value in model.parameters() for name in vars(value) if "ds_" in name or "hp" in name]
    kinds = [type(part._parameters).__name__ for part in model.modules() if "ZeRO" in type(part._parameters).__name__]
    return left + kinds
