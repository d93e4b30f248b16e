"""Word problems by Generate & Rank (Shen et al. 2021): a model writes several expressions, and says which is right.

The numbers of a problem are mapped to NUM0, NUM1, …; an encoder-decoder learns to write the expression. A beam holds
the right one more often than it puts it first, because one wrong token costs little likelihood. So the same model also
learns to *rank*: it reads a problem and an expression, and a small head says from the decoder's last state whether they
belong together. Its wrong examples come from a bank, made anew each epoch: what the model itself writes by beam search,
and right expressions that are changed a little. Both losses are added.
"""

from __future__ import annotations

import csv
import functools
import random
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from labkit.errors import DataError, UsageError
from labkit.evaluation import answers
from labkit.foundations.encoder import unwrapped
from labkit.foundations.generation.seq2seq import Generation
from labkit.foundations.pretraining.shapes import IGNORE
from labkit.lab import seeded
from labkit.training.batches import weight_of
from labkit.world.expressions import ORDER, Tree, changed, evaluate, nodes, parse, show

Row = Mapping[str, Any]  # text, label (the expression), numbers where the value is asked for
PIECES = r"[A-Z]+[0-9]+|[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|\S"  # NUM0 is one
# Numbers that mean nothing: two expressions with the same values for all of them are the same by algebra.
TRIED = tuple(tuple(random.Random(seed).sample(range(101, 1000), 40)) for seed in range(2))
NEAR = Fraction(1, 10_000)  # the error that an answer may have, as a share


# Files and their tokens


def read_math23k(path: Path, numbers: Sequence[Sequence[float]] | None = None) -> list[dict[str, Any]]:
    """Rows of a file "problem TAB expression" with #k for number k, and the `numbers` of each problem where known."""
    rows = []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines()):
        problem, tab, expression = re.sub(r"#([0-9]+)", r"NUM\1", text).partition("\t")
        if not tab:
            raise DataError(f"{path.name}, line {line + 1}: no TAB between a problem and its expression")
        row = {"text": problem, "label": show(parse(expression))}
        rows.append(row if numbers is None else {**row, "numbers": numbers[line]})
    return rows


def read_prefix(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of MAWPS, ASDiv-A or SVAMP: Question with number0 …, Numbers, and Equation in prefix form."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            {"text": re.sub("number(?=[0-9])", "NUM", row["Question"].lower()), "label": show(_tree(row["Equation"])),
             "numbers": [float(number) for number in row["Numbers"].split()]}
            for row in csv.DictReader(stream)
        ]  # fmt: skip


def _tree(prefix: str) -> Tree:
    """The tree of an expression whose operators stand before their two sides."""
    stack: list[Tree] = []
    for part in reversed(prefix.split()):
        if part in ORDER:
            stack.append((part, stack.pop(), stack.pop()))
        else:
            stack.append(part.replace("number", "NUM") if part.startswith("number") else f"{float(part):g}")
    return stack[0]


def piece_tokenizer(rows: Sequence[Row], least: int = 2) -> PreTrainedTokenizerFast:
    """Words, Chinese characters, numbers and signs that rows have at least so often in text and label; "[SEP]" ends."""
    split = pre_tokenizers.Split(Regex(PIECES), "removed", invert=True)
    counts: dict[str, int] = {}
    for row in rows:
        for piece in re.findall(PIECES, f"{row['text']} {row['label']}"):
            counts[piece] = counts.get(piece, 0) + 1
    known = ["[PAD]", "[UNK]", "[SEP]", *sorted(piece for piece, count in counts.items() if count >= least)]
    backend = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(known)}, unk_token="[UNK]"))
    backend.pre_tokenizer = split
    backend.post_processor = TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 2)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "sep_token": "[SEP]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **names)


# Values


@functools.lru_cache(maxsize=300_000)
def algebra(expression: str) -> tuple[Fraction, ...] | None:
    """What an expression comes to for numbers that mean nothing; None where it is none, or has no value."""
    try:
        return tuple(evaluate(expression, numbers) for numbers in TRIED)
    except UsageError:
        return None


def solves(expression: str, row: Row) -> bool:
    """Does the expression have the value of the row's own, for its numbers (else for any), within 0.01 %?"""
    if "numbers" not in row:
        return expression == row["label"] or (algebra(expression) or 0) == algebra(row["label"])
    try:
        found, wanted = (evaluate(one, row["numbers"]) for one in (expression, row["label"]))
    except UsageError:
        return False
    return abs(found - wanted) <= NEAR * max(abs(wanted), NEAR)


# Generating and ranking


def with_ranker(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """The encoder-decoder (T5, BART), which gets a head `ranker`: from a decoder's state (d) to one score."""
    with seeded(seed):
        model.ranker = nn.Linear(model.get_decoder().config.hidden_size, 1)
    return model


class GenerateAndRank(Generation):
    """`Generation` of expressions whose answer is a beam sorted by the ranker, the best first.

    Rows with `candidates`, as `with_bank` makes them, are also ranked in training: `compared` of each problem, one of
    them right, the others drawn from the wrong ones. With `likelihood` 1 the order is by p(right) · p(written).
    """

    likelihood = 0.0

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, start: int, fields: Sequence[str] = ("text",), *, compared: int = 4,
        num_beams: int = 10, num_return_sequences: int = 10, max_decoder_length: int = 32, **lengths: int,
    ) -> None:  # fmt: skip
        beams = {"num_beams": num_beams, "num_return_sequences": num_return_sequences}
        super().__init__(tokenizer, start, fields, max_decoder_length=max_decoder_length, **beams, **lengths)
        self.compared = compared

    def collate(self, rows: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """As `Generation`; of rows with candidates also `candidates` (batch, compared, tokens), a right one first, and
        `count:ranked` (batch,), how many.
        """
        batch = super().collate(rows, rng)
        if rng is not None and all(row.get("candidates") for row in rows):
            texts = []
            for right, wrong in (row["candidates"] for row in rows):
                texts += [rng.choice(right), *rng.choice(wrong, self.compared - 1, len(wrong) < self.compared - 1)]
            batch["candidates"] = self._candidates(texts).unflatten(0, (len(rows), self.compared))
            batch["count:ranked"] = torch.full((len(rows),), self.compared)
        return batch

    def _candidates(self, texts: list[str]) -> Tensor:
        """Expressions as the decoder reads them, (texts, tokens), its start included."""
        ids = [torch.tensor([self.start, *one]) for one in self._encoded(self.max_decoder_length, texts)]
        return nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the written tokens plus, of rows with candidates, that of right against wrong: nats."""
        bare = unwrapped(model)
        states = bare.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        loss = super().loss(model, {**batch, "encoder_outputs": BaseModelOutput(states)})
        if "candidates" not in batch:
            return loss
        scores, _ = self.scores(bare, states, batch["attention_mask"], batch["candidates"].flatten(0, 1))
        right = torch.zeros_like(scores)
        right[:, 0] = 1
        return loss + weight_of(batch, "ranked") * F.binary_cross_entropy_with_logits(scores, right)

    __call__ = loss

    def scores(
        self, model: PreTrainedModel, states: Tensor, mask: Tensor, candidates: Tensor
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Of each expression (problems · n, tokens) beside its problem's states (problems, tokens, d): whether it is
        right, a logit from the state after its last token, and its log-probability; both (problems, n).
        """
        each, pad = len(candidates) // len(states), self.tokenizer.pad_token_id
        found = model(
            encoder_outputs=BaseModelOutput(states.repeat_interleave(each, 0)), output_hidden_states=True,
            attention_mask=mask.repeat_interleave(each, 0), decoder_input_ids=candidates, use_cache=False,
        )  # fmt: skip
        last = (candidates == self.tokenizer.sep_token_id).int().argmax(1)  # (problems · n,)
        right = model.ranker(found.decoder_hidden_states[-1][torch.arange(len(last)), last])[:, 0].float()
        words = candidates[:, 1:].masked_fill(candidates[:, 1:] == pad, IGNORE)
        nats = F.cross_entropy(found.logits[:, :-1].mT.float(), words, reduction="none", ignore_index=IGNORE).sum(1)
        return right.unflatten(0, (-1, each)), -nats.unflatten(0, (-1, each))

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Any]) -> list[list[str]]:
        """The beam's expressions of each row, the best first."""
        found, bare = super().answers(model, batch, rows), unwrapped(model)
        states = bare.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        candidates = self._candidates([text for texts in found for text in texts]).to(states.device)
        right, written = self.scores(bare, states, batch["attention_mask"], candidates)
        orders = (F.logsigmoid(right) + self.likelihood * written).argsort(1, descending=True)
        return [[texts[place] for place in order] for order, texts in zip(orders.tolist(), found, strict=True)]

    def score(self, rows: Sequence[Row], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """`accuracy`: how often the first expression has the right value; `beam`: how often any has."""
        first = [solves(answer[0], row) for row, answer in zip(rows, answers, strict=True)]
        any_ = [any(solves(one, row) for one in answer) for row, answer in zip(rows, answers, strict=True)]
        return {"accuracy": sum(first) / len(rows), "beam": sum(any_) / len(rows)}


def with_bank(
    model: nn.Module, method: Generation, rows: Sequence[Row], rng: random.Random, edits: int = 6
) -> list[dict[str, Any]]:
    """The rows with `candidates` (right expressions, wrong ones): the model's own beam, and the row's own expression
    changed in `edits` ways. Which is which, algebra says.
    """
    found = answers(model, method, rows) if model else [[]] * len(rows)
    return [{**row, "candidates": sorted_out(row, [*beam, *_edited(row, rng, edits)])}
            for row, beam in zip(rows, found, strict=True)]  # fmt: skip


def _edited(row: Row, rng: random.Random, count: int) -> list[str]:
    tree = parse(row["label"])
    own = (node for _, node in nodes(tree) if isinstance(node, str))
    leaves = sorted({*re.findall(r"NUM[0-9]+", row["text"]), "1", *own})
    return [show(changed(tree, leaves, rng)) for _ in range(count)] if len(leaves) > 1 else []


def sorted_out(row: Row, texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the texts that are right by algebra, the row's own first, and the others; "0" where none is wrong."""
    bare = {key: row[key] for key in ("text", "label")}
    right, wrong = [row["label"]], []
    for text in dict.fromkeys(texts):
        if text != row["label"]:
            (right if solves(text, bare) else wrong).append(text)
    return right, wrong or ["0"]
