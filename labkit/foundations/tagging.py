"""Sequence labelling: a tag for every word, and the entities that tags spell (Ramshaw & Marcus 1995; CoNLL-2003).

A word is tagged at its first piece (Devlin et al. 2019, §5.3); its other pieces have no part in the loss. Long texts
are read in windows that overlap, so every word of them is tagged. `Tagger` is for words that blanks part and tags that
are given, `Extractor` for plain text and marked spans: it tags the words of its own cutting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from seqeval import metrics
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.evaluation import numbers_only
from labkit.foundations.encoder import labels_of, model_inputs, texts_of, unwrapped, usable_length
from labkit.foundations.heads import Described
from labkit.foundations.windows import IGNORE, Frame, few_at_once, read_pieces, windowed

OUTSIDE = "O"
MARKED = re.compile(r"[BIESMLU](-.+)?")
OTHER = {"M": "I", "L": "E", "U": "S"}  # BMES and BILOU say the same in other letters
# A Chinese character or a Japanese one is a word, so is a run of letters and digits, and any other mark.
HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+|[^\w\s]")


def spans_of(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of a row of tags, each its type and its words `start:stop`, read as `conlleval` does: a type that
    changes begins a new one, with B- or not.

    B-/I-/O, and B-/I-/E-/S-, BMES and BILOU alike. A tag that is none of these marks its one word.

    >>> spans_of(["B-city", "I-city", "O", "I-film", "NN"])
    [('city', 0, 2), ('film', 3, 4), ('NN', 4, 5)]
    """
    return [(kind, first, last + 1) for kind, first, last in get_entities([_plain(tag) for tag in tags])]


def _plain(tag: str) -> str:
    """The tag as seqeval reads it."""
    if tag == OUTSIDE:
        return tag
    return OTHER.get(tag[0], tag[0]) + tag[1:] if MARKED.fullmatch(tag) else f"S-{tag}"


class Tagger(Described):
    """The method of token classification, for `AutoModelForTokenClassification` and its like.

    A row's `field` holds words parted by single blanks, its "label" an index into `labels` for each. `max_length`
    counts a window's tokens. A word without any token, such as an empty one, gets "O", or the first label where there
    is no "O".
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str],
        field: str = "text",
        max_length: int = 128,
    ) -> None:
        names = [label for label in labels if isinstance(label, str) and label]
        if len(names) < 2 or len(set(names)) < len(labels):
            raise UsageError(f"a tagger needs two labels or more, each a name of its own, not {list(labels)!r:.60}")
        self.tokenizer, self.labels, self.field = tokenizer, tuple(labels), field
        self.max_length, self._frame = usable_length(tokenizer, max_length), Frame(tokenizer, 1)
        self.outside = self.labels.index(OUTSIDE) if OUTSIDE in self.labels else 0

    def words(self, text: str) -> np.ndarray:
        """Where the words of a text begin and end: (words, 2) characters."""
        ends = np.cumsum([len(word) + 1 for word in text.split(" ")])
        return np.stack([np.concatenate([[0], ends[:-1]]), ends - 1], 1)

    def tags(self, row: Mapping[str, Any]) -> Sequence[int] | None:
        """The row's tags, an index a word; None where it is unlabelled."""
        return row.get("label")

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Windows of texts. `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer has them, (windows,
        tokens); `row` (windows,); `words` (windows, tokens), the word whose first piece stands there and is asked here,
        else −1; where all rows are labelled, `labels` (windows, tokens) and how many there are, `count` (windows,).
        """
        texts = texts_of(rows, self.field)
        pieces = read_pieces(self.tokenizer, texts)
        batch, windows = windowed(self._frame, pieces, self.max_length)
        firsts = [one.first_of(*self.words(text).T) for one, text in zip(pieces, texts, strict=True)]
        tags = [self.tags(row) for row in rows]
        known = rows and None not in tags
        words, labels = (np.full(batch["input_ids"].shape, fill, dtype=np.int64) for fill in (-1, IGNORE))
        for at, window in enumerate(windows):
            first = firsts[window.row]  # of each word, its first piece
            asked = np.flatnonzero((first >= window.own) & (first < window.own_stop))
            places = first[asked] - window.start + window.at
            words[at, places] = asked
            if known:
                labels[at, places] = np.array(tags[window.row])[asked]
        batch["words"] = torch.from_numpy(words)
        if known:
            batch |= {"labels": torch.from_numpy(labels), "count": torch.from_numpy((labels != IGNORE).sum(1))}
        return batch

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        logits = getattr(model(**model_inputs(model, batch)), "logits", None)
        if logits is None or logits.shape != (*batch["input_ids"].shape, len(self.labels)):
            name = type(unwrapped(model)).__name__
            raise UsageError(
                f"{name} gives no {len(self.labels)} logits a token: use native_head(model, 'token', labels)"
            )
        return logits.float()  # (windows, tokens, labels)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, a mean over words, in nats."""
        labels, logits = labels_of(batch), self._logits(model, batch)
        total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp(min=1)

    __call__ = loss

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """`{"tags": an index a word, "probabilities": of each, "spans": [{"type", "text", "start"}, …]}` for each row.

        `start` counts characters. A word that no token stands for has the probability 1 of being outside.
        """
        texts = texts_of(rows, self.field)
        words = [self.words(text) for text in texts]
        begins = np.cumsum([0, *map(len, words)])  # of each row's words among all
        tags, sure = np.full(begins[-1], self.outside), np.ones(begins[-1], np.float32)
        for part in few_at_once(batch):
            asked = part["words"] >= 0
            found = numbers_only(self._logits(model, part)[asked].softmax(-1).cpu().numpy(), model)  # (words, labels)
            rows_of = part["row"][:, None].expand_as(asked)[asked].cpu().numpy()
            places = begins[rows_of] + part["words"][asked].cpu().numpy()
            tags[places], sure[places] = found.argmax(1), found.max(1)
        cut = [np.split(values, begins[1:-1]) for values in (tags, sure)]
        return [self._answer(*one) for one in zip(texts, words, *cut, strict=True)]

    def _answer(self, text: str, words: np.ndarray, tags: np.ndarray, sure: np.ndarray) -> Any:
        found = []
        for kind, first, stop in spans_of([self.labels[tag] for tag in tags]):
            start, end = int(words[first, 0]), words[stop - 1, 1]
            found.append({"type": kind, "text": text[start:end], "start": start})
        return {"tags": tags.tolist(), "probabilities": sure.astype(float).round(6).tolist(), "spans": found}

    def score(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> dict[str, float]:
        """seqeval's `f1`, `precision` and `recall` over whole entities, and the `accuracy` over words."""
        told = [[_plain(self.labels[tag]) for tag in row["label"]] for row in rows]
        given = [[_plain(self.labels[tag]) for tag in answer["tags"]] for answer in answers]
        whole = ("f1", "precision", "recall")
        scores = {name: float(getattr(metrics, f"{name}_score")(told, given, zero_division=0)) for name in whole}
        return {**scores, "accuracy": float(metrics.accuracy_score(told, given))}


class Extractor(Tagger):
    """Information extraction: the spans of a plain text that are of some types, none within another.

    A row's "label" is JSON: `[{"type": "city", "text": "north cedar", "start": 8}, …]`, or without "start" the first
    place where the text stands and no other span does. Words are cut as BERT cuts them before its word pieces.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, types: Sequence[str], field: str = "text", max_length: int = 128
    ) -> None:
        if not types:
            raise UsageError("information extraction needs the name of at least one type")
        self.types = tuple(types)
        labels = (OUTSIDE, *(f"{place}-{kind}" for kind in self.types for place in "BI"))
        super().__init__(tokenizer, labels, field, max_length)

    def words(self, text: str) -> np.ndarray:
        """Where the words of a text begin and end: (words, 2) characters."""
        return np.array([found.span() for found in WORD.finditer(text)], dtype=np.int64).reshape(-1, 2)

    def tags(self, row: Mapping[str, Any]) -> Sequence[int] | None:
        """The tags of the row's spans; a span that lies over one before it is left out."""
        if row.get("label") is None:
            return None
        words = self.words(row[self.field])
        tags = np.zeros(len(words), dtype=np.int64)
        for span in read_spans(row["label"], row[self.field]):
            if span["type"] not in self.types:
                raise DataError(f"a span of type {span['type']!r:.60}: the types are {', '.join(self.types)}")
            stop = span["start"] + len(span["text"])
            inside = np.flatnonzero((words[:, 0] < stop) & (words[:, 1] > span["start"]))
            if len(inside) and not tags[inside].any():
                tags[inside] = 2 * self.types.index(span["type"]) + 2
                tags[inside[0]] -= 1
        return tags.tolist()

    def _answer(self, text: str, words: np.ndarray, tags: np.ndarray, sure: np.ndarray) -> list[dict[str, Any]]:
        """`[{"type", "text", "start"}, …]`."""
        return super()._answer(text, words, tags, sure)["spans"]

    def score(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> dict[str, float]:
        """`f1`, `precision` and `recall` over spans that are right in type, text and place."""
        told = [{_key(span) for span in read_spans(row["label"], row[self.field])} for row in rows]
        given = [{_key(span) for span in answer} for answer in answers]
        right = sum(len(a & b) for a, b in zip(told, given, strict=True))
        asked, found = (sum(map(len, some)) for some in (told, given))
        f1 = 2 * right / (asked + found) if asked + found else 0.0
        return {"f1": f1, "precision": right / found if found else 0.0, "recall": right / asked if asked else 0.0}


def _key(span: Mapping[str, Any]) -> tuple[str, int, str]:
    return span["type"], span["start"], span["text"]


def read_spans(label: str, text: str) -> list[dict[str, Any]]:
    """`[{"type", "text", "start"}, …]` of a text from their JSON. DataError for what is none, or stands elsewhere."""
    try:
        listed = json.loads(label)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{label[:60]!r} is no JSON ({error}): write {SPANS}") from error
    if not isinstance(listed, list):
        raise DataError(f"{label[:60]!r} is no list: write {SPANS}")
    taken, spans = np.zeros(len(text), dtype=bool), []
    for one in listed:
        if not isinstance(one, dict) or not all(isinstance(one.get(key), str) and one[key] for key in ("type", "text")):
            raise DataError(f"{one!r:.60} is no span: write {SPANS}")
        place = one["start"] if "start" in one else _free(one["text"], text, taken)
        if type(place) is not int or place < 0 or not text.startswith(one["text"], place):
            raise DataError(f"{one['text'][:60]!r} does not stand in the text at {one.get('start', 'any free place')}")
        taken[place : place + len(one["text"])] = True
        spans.append({"type": one["type"], "text": one["text"], "start": place})
    return spans


SPANS = '[{"type": "city", "text": "north cedar", "start": 8}], or [] for none'


def _free(wanted: str, text: str, taken: np.ndarray) -> int:
    """Where `wanted` stands first and nothing else does; −1 for nowhere."""
    place = text.find(wanted)
    while place >= 0 and taken[place : place + len(wanted)].any():
        place = text.find(wanted, place + 1)
    return place
