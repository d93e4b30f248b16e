"""Extractive reading: the answer to a question is a piece of the text, or there is none (SQuAD, Rajpurkar et al. 2016;
SQuAD 2.0, 2018; CMRC 2018, Cui et al. 2019).

Two logits a token say how well an answer begins and ends there (Devlin et al. 2019, §4.2 and §4.3); the [CLS] token
stands for "no answer". A long text is read in windows behind the question; an answer may begin only where its window
owns the token. What is answered is cut out of the text itself, by the tokens' offsets.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError, unknown
from labkit.evaluation import numbers_only
from labkit.foundations.encoder import goes_on, model_inputs, texts_of, unwrapped, usable_length
from labkit.foundations.heads import Described
from labkit.foundations.windows import Frame, Pieces, Window, few_at_once, read_pieces, windowed

LANGUAGES = ("en", "zh")
NOTHING = {"text": "", "start": -1}  # the answer to a question without one


class Reader(Described):
    """The method of extractive reading, for `AutoModelForQuestionAnswering` and its like.

    `fields` name the text and the question, a row's "label" is {"text", "start"}, {"text": "", "start": -1} for no
    answer. `max_length` counts a window's tokens, `doc_stride` how many later the next one begins (half a window at
    most), `max_query_length` those of a question that are read (half the room at most), `max_answer_length` those of
    an answer; the `n_best_size` best beginnings and ends are paired. With `unanswerable`, "no answer" is one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        fields: Sequence[str] = ("text", "question"),
        max_length: int = 384,
        *,
        doc_stride: int = 128,
        max_query_length: int = 64,
        max_answer_length: int = 30,
        n_best_size: int = 10,
        unanswerable: bool = True,
        language: str = "en",
    ) -> None:
        if len(fields) != 2 or not all(isinstance(field, str) for field in fields) or isinstance(fields, str):
            raise UsageError(f"reading takes two fields, the text and the question, not {fields!r}")
        numbers = {"doc_stride": doc_stride, "max_query_length": max_query_length,
                   "max_answer_length": max_answer_length, "n_best_size": n_best_size}  # fmt: skip
        for name, value in numbers.items():
            if value < 1:
                raise UsageError(f"{name}={value}: at least 1 is needed")
        if language not in LANGUAGES:
            raise unknown("language", language, LANGUAGES)
        if goes_on(tokenizer):
            raise UsageError("reading needs a [CLS] token, and a model that reads the text whole, such as BERT")
        self.tokenizer, self.fields = tokenizer, tuple(fields)
        self.max_length, self.doc_stride = usable_length(tokenizer, max_length), doc_stride
        self.max_query_length, self.max_answer_length = max_query_length, max_answer_length
        self.n_best_size, self.unanswerable, self.language = n_best_size, unanswerable, language
        self._frame = Frame(tokenizer, 2)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Windows of texts behind their questions. `input_ids`, `attention_mask`, `token_type_ids` where the tokenizer
        has them, (windows, tokens); `row` (windows,); `characters` (windows, tokens, 2), where in the text a token
        begins and ends, −1 for those that are none of it; `own` (windows, tokens), where an answer may begin; where all
        rows are labelled, `first` and `last` (windows,), the answer's tokens, or [CLS] where it is not in the window.
        """
        text, question = (read_pieces(self.tokenizer, texts_of(rows, field)) for field in self.fields)
        most = min(self.max_query_length, (self.max_length - self._frame.size) // 2)
        asked = [one.ids[:most] for one in question]
        batch, windows = windowed(self._frame, text, self.max_length, self.doc_stride, asked)
        characters = np.full((*batch["input_ids"].shape, 2), -1, dtype=np.int64)
        own = np.zeros(characters.shape[:2], dtype=bool)
        for at, window in enumerate(windows):
            part, pieces = slice(window.start, window.stop), text[window.row]
            characters[at, window.places] = np.stack([pieces.starts[part], pieces.stops[part]], 1)
            own[at, window.at + window.own - window.start : window.at + window.own_stop - window.start] = True
        batch |= {"characters": torch.from_numpy(characters), "own": torch.from_numpy(own)}
        if rows and all(row.get("label") is not None for row in rows):
            spans = [_tokens(one, row["label"]) for one, row in zip(text, rows, strict=True)]
            found = [_inside(window, spans[window.row]) for window in windows]
            none = (batch["input_ids"] == self.tokenizer.cls_token_id).int().argmax(1)
            for number, name in enumerate(("first", "last")):
                places = torch.tensor([one[number] for one in found])
                batch[name] = torch.where(places < 0, none, places)
        return batch

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How well an answer begins and ends at each token, (windows, tokens) each; padding is −∞."""
        out = model(**model_inputs(model, batch))
        if getattr(out, "start_logits", None) is None:
            name = type(unwrapped(model)).__name__
            raise UsageError(f"{name} gives no logits of spans: put a head on it with native_head(model, 'span')")
        padding = batch["attention_mask"] == 0
        start, end = (logits.float().masked_fill(padding, -torch.inf) for logits in (out.start_logits, out.end_logits))
        return start, end

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean cross-entropy of the answer's first and last token, a scalar in nats."""
        if "first" not in batch:
            raise UsageError("a row of this batch has no label: train on labelled rows only")
        start, end = self._logits(model, batch)
        return (F.cross_entropy(start, batch["first"]) + F.cross_entropy(end, batch["last"])) / 2

    __call__ = loss

    def answers(
        self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """`{"text", "start", "probability"}` for each row: the best answer of all its windows, its place in characters,
        and its share among the `n_best_size` best answers of each window (and none, where `unanswerable`).
        """
        texts = texts_of(rows, self.fields[0])
        kept: list[list[tuple[float, int, int]]] = [[] for _ in rows]  # (score, start, stop) of each candidate
        none = np.full(len(rows), np.inf)  # no answer is as likely as in the window that is least sure of it
        for part in few_at_once(batch):
            start, end = self._logits(model, part)
            at = (part["input_ids"] == self.tokenizer.cls_token_id).int().argmax(1, keepdim=True)
            absent = (start.gather(1, at) + end.gather(1, at))[:, 0].cpu().numpy()
            numbers_only(absent, model)
            owners = part["row"].tolist()
            np.minimum.at(none, owners, absent)
            for row, found in zip(owners, self._best(part, start, end), strict=True):
                kept[row] += found
        if not self.unanswerable:
            none[:] = -np.inf
        return [_choose(*one) for one in zip(texts, kept, none, strict=True)]

    def _best(self, batch: Mapping[str, Tensor], start: Tensor, end: Tensor) -> list[list[tuple[float, int, int]]]:
        """For each window its best answers: (score, first and last + 1 character)."""
        inside = batch["characters"][..., 0] >= 0
        count = min(self.n_best_size, start.shape[1])
        begins = start.masked_fill(~batch["own"], -torch.inf).topk(count)  # (windows, n) values and tokens
        ends = end.masked_fill(~inside, -torch.inf).topk(count)
        length = ends.indices[:, None] - begins.indices[..., None] + 1  # (windows, n beginnings, n ends)
        score = begins.values[..., None] + ends.values[:, None]
        score = score.masked_fill((length < 1) | (length > self.max_answer_length), -torch.inf)
        best = score.flatten(1).topk(min(self.n_best_size, count * count))
        first = batch["characters"][..., 0].gather(1, begins.indices.gather(1, best.indices // count))
        last = batch["characters"][..., 1].gather(1, ends.indices.gather(1, best.indices % count))
        columns = (one.cpu().tolist() for one in (best.values, first, last))
        return [[one for one in zip(*some, strict=True) if one[0] > -np.inf] for some in zip(*columns, strict=True)]

    def score(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """SQuAD's `f1` and `exact_match`, or CMRC's for "zh": the best over a row's "answers", if it lists several."""
        told = [row.get("answers") or [row["label"]["text"]] for row in rows]
        pairs = [(some, answer["text"]) for some, answer in zip(told, answers, strict=True)]
        f1 = [max(answer_f1(one, given, self.language) for one in some) for some, given in pairs]
        exact = [max(exact_match(one, given, self.language) for one in some) for some, given in pairs]
        return {"f1": float(np.mean(f1)), "exact_match": float(np.mean(exact))}

def _tokens(pieces: Pieces, label: Mapping[str, Any]) -> tuple[int, int]:
    """First and last token of an answer; (−1, −1) for none, or one that no token stands for."""
    if label["start"] < 0 or not label["text"]:
        return -1, -1
    ends = np.array([label["start"] + len(label["text"])])
    first, last = int(pieces.first_of(ends - len(label["text"]), ends)[0]), int(pieces.last_of(ends)[0])
    return (first, last) if 0 <= first <= last else (-1, -1)


def _inside(window: Window, span: tuple[int, int]) -> tuple[int, int]:
    """The places of a span's first and last token in a window's input; (−1, −1) where it does not hold both."""
    first, last = span
    if not window.start <= first <= last < window.stop:
        return -1, -1
    return first - window.start + window.at, last - window.start + window.at


def _choose(text: str, found: list[tuple[float, int, int]], none: float) -> dict[str, Any]:
    """The best of the answers and none, which a text without any gets in any case."""
    best = max(found, key=lambda one: one[0], default=(-np.inf, 0, 0))
    scores = np.array([none, *(one[0] for one in found)])
    if none >= best[0]:  # so too where there is nothing to choose from
        best = (none, 0, 0)
    share = np.exp(scores - scores.max()).sum() if np.isfinite(best[0]) else 1.0
    answer = text[best[1] : best[2]]
    start = best[1] + len(answer) - len(answer.lstrip())
    chosen = {"text": answer.strip(), "start": start} if answer.strip() else NOTHING
    return {**chosen, "probability": round(float(1 / share), 6)}


# SQuAD leaves out articles and ASCII's punctuation, CMRC these marks.
ARTICLES = re.compile(r"\b(a|an|the)\b")
MARKS = {"en": frozenset(string.punctuation), "zh": frozenset("-:_*^/\\~`+=，。：？！“”；’《》…·、「」（）－～『』")}
CHARACTERS = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]")


def plain_answer(text: str, language: str) -> list[str]:
    """What of an answer counts: words in "en", characters and the words between them in "zh"; in lower case.

    >>> plain_answer("The End, of a film.", "en"), plain_answer("《北京》2008年", "zh")
    (['end', 'of', 'film'], ['北', '京', '2008', '年'])
    """
    bare = "".join(one for one in text.lower() if one not in MARKS[language])
    return CHARACTERS.findall(bare) if language == "zh" else ARTICLES.sub(" ", bare).split()


def exact_match(told: str, given: str, language: str = "en") -> float:
    """1 where both answers come to the same, else 0."""
    return float(plain_answer(told, language) == plain_answer(given, language))


def answer_f1(told: str, given: str, language: str = "en") -> float:
    """F1, in [0, 1], of the words that both answers have (SQuAD), or of the longest run that both have (CMRC).

    Where one of them is empty, 1 if both are, else 0.
    """
    a, b = plain_answer(told, language), plain_answer(given, language)
    if not a or not b:
        return float(a == b)
    if language == "zh":
        same = SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size
    else:
        same = (Counter(a) & Counter(b)).total()
    return 2 * same / (len(a) + len(b))
