"""Distillation: what the parts of TinyBERT are worth to a small student whose teacher saw 64 labelled reviews.

    python benchmarks/distillation.py            every row that is missing  -> labkit/results/distillation.json
    python benchmarks/distillation.py --seeds 1

Teacher: mini-bert-en, fine-tuned on SHOTS reviews a class (`compressing.py`). Student: two layers of width 40, which
start fresh on the teacher's word embeddings (`shrink`). "fine-tuned alone" and "KD on logits" see the labelled rows
only, "KD on unlabelled rows" as many of the task's unlabelled texts as augmentation makes. "TinyBERT": general
distillation on the world's text from the teacher before fine-tuning, then the intermediate losses and then the
prediction loss from the fine-tuned teacher, on rows augmented with the masked LM; every row below it leaves one part
out. Without task distillation, and without the prediction loss, the labels alone are learned at the end. "two layers
kept" are students of the teacher's own width that start from its layers 2 and 4: fine-tuned alone, with the losses of
DistilBERT (Sanh et al. 2019: soft targets, labels, cosine of the last states) and of PKD (Sun et al. 2019: soft
targets, labels, and the first token's states of the layers below the last, at length 1), both on the augmented rows.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from compressing import TEACHER, accuracy, method_of, student, teacher, trained
from few_shot_runs import opened
from torch import Tensor, nn
from torch.nn import functional as F

from labkit import measure
from labkit.compression.augmentation import Augmenter
from labkit.compression.distill import Distill, join_teacher, teacher_logits
from labkit.compression.shrink import shrink
from labkit.compression.tinybert import TinyBert, capture, uniform_map
from labkit.foundations.heads import add_head
from labkit.tasks import load_task
from labkit.world import World, corpus
from labkit.zoo import load

RESULTS = Path("labkit/results/distillation.json")
TASK, SHOTS, TEACHER_STEPS = "world/reviews", 32, 80
SIZE, RATE, TEXTS = (2, 40), 3e-3, 8_000  # layers and width; learning rate; texts of the general distillation
STEPS = {"general": 150, "middle": 120, "end": 200}
LOSSES = ("embedding", "hidden", "attention")
Rows = Sequence[Mapping[str, Any]]


class Lab:
    """A teacher of one draw of labels, what it says, and ways to make a student of it; each made at its first use."""

    def __init__(self, seed: int) -> None:
        self.base, self.seed = load(TEACHER), seed
        self.task = load_task(TASK).few_shot(SHOTS, seed=seed)
        self.method = method_of(self.base, self.task)
        self.labelled = self.task.splits["train"]

    @cached_property
    def teacher(self) -> nn.Module:
        return teacher(self.base, self.task, steps=TEACHER_STEPS, seed=self.seed)

    @cached_property
    def augmented(self) -> list[dict[str, Any]]:
        """The labelled rows and twenty new texts for each."""
        return [*self.labelled, *Augmenter(load(TEACHER, head="mlm").model, self.base.tokenizer, seed=self.seed)
                .rows(self.labelled, self.task.fields)]  # fmt: skip

    @cached_property
    def answered(self) -> list[dict[str, Any]]:
        """The same with the teacher's logits."""
        return self.joined(self.augmented)

    @property
    def unlabelled(self) -> list[dict[str, Any]]:
        """As many unlabelled rows of the task with the teacher's logits."""
        return self.joined(self.task.splits["unlabelled"][: len(self.augmented)])

    @cached_property
    def general(self) -> nn.Module:
        """A student without a head that has learned the layers of the teacher before fine-tuning."""
        small = shrink(self.base.model, *SIZE, seed=self.seed)
        texts = [{"text": text} for text in corpus(World(), "en", TEXTS)]
        return self.middle(small, self.base.model, texts, STEPS["general"])

    def joined(self, rows: Rows) -> list[dict[str, Any]]:
        return join_teacher(rows, teacher_logits(self.teacher, self.method, rows))

    def fresh(self) -> nn.Module:
        return student(self.base, self.task, *SIZE, seed=self.seed)

    def kept(self) -> nn.Module:
        return student(self.base, self.task, 2, self.base.model.config.hidden_size, seed=self.seed)

    def middle(
        self, small: nn.Module, large: nn.Module, rows: Rows, steps: int, without: Sequence[str] = ()
    ) -> nn.Module:
        """`small` after the intermediate losses, but those of `without`."""
        tiny = TinyBert(None, large, prediction=0, **{name: float(name not in without) for name in LOSSES})
        with tiny.attached(small):
            return self.trained(small, rows, steps, tiny)

    def trained(self, model: nn.Module, rows: Rows, steps: int, objective: Any = None) -> nn.Module:
        return trained(model, self.method, rows, steps=steps, lr=RATE, seed=self.seed, objective=objective)

    def alone(self, model: nn.Module) -> nn.Module:
        return self.trained(model, self.labelled, STEPS["end"])

    def soft(self, model: nn.Module, rows: Rows, alpha: float = 1.0) -> nn.Module:
        """`model` after the teacher's distributions on rows that carry them."""
        return self.trained(model, rows, STEPS["end"], Distill(self.method, alpha=alpha))

    def tiny(self, without: Sequence[str] = ()) -> nn.Module:
        """TinyBERT, but for what is left out."""
        body = (
            copy.deepcopy(self.general) if "general" not in without else shrink(self.base.model, *SIZE, seed=self.seed)
        )
        model = add_head(body, self.task.labels, pooling="mean", seed=self.seed)
        if "task" in without:
            return self.alone(model)
        rows = self.answered[: len(self.labelled)] if "augmentation" in without else self.answered
        if not set(LOSSES) <= set(without):
            model = self.middle(model, self.teacher, rows, STEPS["middle"], without)
        return self.alone(model) if "prediction" in without else self.soft(model, rows)

    def beside(self, extra: Callable[[Any, Any], Tensor]) -> nn.Module:
        """Two layers of the teacher with soft targets, labels where there are any, an `extra` loss of the states."""
        soft = Distill(self.method, temperature=2, alpha=0.5)

        def objective(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
            with capture(model) as mine:
                loss = soft(model, batch)
            with torch.no_grad(), capture(self.teacher) as theirs:
                self.method.logits(self.teacher, batch)
            return loss + extra(mine.states, theirs.states)

        objective.collate = soft.collate  # type: ignore[attr-defined]
        return self.trained(self.kept(), self.answered, STEPS["end"] // 2, objective)


def distilbert(mine: Mapping[int, Tensor], theirs: Mapping[int, Tensor]) -> Tensor:
    """One minus the cosine of the last states, the mean over tokens."""
    return 1 - F.cosine_similarity(mine[max(mine)], theirs[max(theirs)], dim=-1).mean()


def patient(mine: Mapping[int, Tensor], theirs: Mapping[int, Tensor], weight: float = 10.0) -> Tensor:
    """The squared distance of the first token's states, at length 1, of all layers but the last."""
    pairs = list(enumerate(uniform_map(max(mine), max(theirs)), start=1))[:-1]
    firsts = [(F.normalize(mine[m][:, 0], dim=-1), F.normalize(theirs[g][:, 0], dim=-1)) for m, g in pairs]
    return weight * sum((a - b).square().sum(-1).mean() for a, b in firsts)


WAYS: dict[str, Callable[[Lab], nn.Module]] = {
    "teacher": lambda lab: lab.teacher,
    "student, fine-tuned alone": lambda lab: lab.alone(lab.fresh()),
    "KD on logits": lambda lab: lab.soft(lab.fresh(), lab.answered[: len(lab.labelled)], alpha=0.9),
    "KD on unlabelled rows": lambda lab: lab.soft(lab.fresh(), lab.unlabelled),
    "KD on augmented rows": lambda lab: lab.soft(lab.fresh(), lab.answered),
    "TinyBERT": lambda lab: lab.tiny(),
    "without augmentation": lambda lab: lab.tiny(("augmentation",)),
    "without general distillation": lambda lab: lab.tiny(("general",)),
    "without task distillation": lambda lab: lab.tiny(("task",)),
    "without the embedding loss": lambda lab: lab.tiny(("embedding",)),
    "without the hidden loss": lambda lab: lab.tiny(("hidden",)),
    "without the attention loss": lambda lab: lab.tiny(("attention",)),
    "without all three": lambda lab: lab.tiny(LOSSES),
    "without the prediction loss": lambda lab: lab.tiny(("prediction",)),
    "two layers kept, fine-tuned alone": lambda lab: lab.alone(lab.kept()),
    "two layers kept, DistilBERT": lambda lab: lab.beside(distilbert),
    "two layers kept, PKD": lambda lab: lab.beside(patient),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    torch.set_num_threads(1)
    report = opened(RESULTS, "python benchmarks/distillation.py")
    for seed in range(parser.parse_args().seeds):
        lab = Lab(seed)
        for name, make in WAYS.items():
            if (name, TASK, lab.task.metric, seed) in {row.key for row in report.rows}:
                continue
            model = make(lab)
            value = accuracy(model, lab.method, lab.task)
            size = {"parameters": measure.parameters(model), "bytes": measure.bytes_on_disk(model)}
            report.add(name, lab.task, value, seed=seed, **size)
            report.save(RESULTS)
            print(f"{name:<36} {100 * value:5.1f}", flush=True)


if __name__ == "__main__":
    main()
