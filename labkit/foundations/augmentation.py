"""More examples from few: some words of a text are hidden, and a masked model says what could stand there.

The words are drawn from the model's own distribution (Kobayashi 2018, Contextual Augmentation, with BERT's masked LM in
place of its two-way LSTM). Only whole words change, each where it stands, so that all else of the text stays as it was:
spaces, case, marks. What a text becomes depends on the text and the seed alone.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.evaluation import numbers_only
from labkit.foundations.encoder import lm_logits, padding, texts_of, to_batch, usable_length
from labkit.foundations.heads import Described

STARTS = ("Ġ", "▁")  # how byte-level and sentence-piece vocabularies mark the beginning of a word


class Augmentation(Described):
    """The method of data augmentation by a masked LM: an answer is a list of `expansion_rate` texts.

    `mask_proportion` of a text's whole words are hidden, one at least; new ones are drawn among the `likeliest`.
    `remove_blanks` takes the blanks out of the new texts, for Chinese. There is no loss: nothing is trained.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, fields: Sequence[str] = ("text",), max_length: int = 128,
        expansion_rate: int = 2, mask_proportion: float = 0.1, remove_blanks: bool = False, likeliest: int = 20,
        seed: int = 0,
    ) -> None:  # fmt: skip
        if expansion_rate < 1 or likeliest < 1 or not 0 < mask_proportion <= 1:
            given = f"expansion_rate={expansion_rate}, mask_proportion={mask_proportion}, likeliest={likeliest}"
            raise UsageError(f"{given}: at least 1, a share from 0 to 1, and at least 1 are needed")
        if tokenizer.mask_token_id is None:
            raise UsageError("data augmentation hides words, and this model has no mask token: choose one such as BERT")
        self.tokenizer, self.fields, self.max_length = tokenizer, tuple(fields), usable_length(tokenizer, max_length)
        self.expansion_rate, self.mask_proportion = expansion_rate, float(mask_proportion)
        self.remove_blanks, self.likeliest, self.seed = remove_blanks, likeliest, seed
        self.words = whole_words(tokenizer)

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `hidden` (texts, tokens) and `spans` (texts, tokens, 2), characters.

        There are `expansion_rate` texts a row, with their words hidden. DataError for a row without the text.
        """
        texts = texts_of(rows, self.fields[0])
        options = {"truncation": True, "max_length": self.max_length, "split_special_tokens": True}
        found = self.tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False, **options)
        width = max(map(len, found["input_ids"]))
        ids, hidden, spans = [], [], []
        for number, text in enumerate(texts):
            free = self._free(found, number, text)
            own = np.random.default_rng((self.seed, zlib.crc32(text.encode())))
            for _ in range(self.expansion_rate):
                chosen = np.zeros(width, bool)
                if len(free):
                    count = max(1, round(self.mask_proportion * len(free)))
                    chosen[own.choice(free, count, replace=False)] = True
                line = np.asarray(found["input_ids"][number])
                ids.append(np.where(chosen[: len(line)], self.tokenizer.mask_token_id, line))
                hidden.append(chosen)
                spans.append(np.pad(found["offset_mapping"][number], ((0, width - len(line)), (0, 0))))
        batch = to_batch(ids, padding(self.tokenizer)) | {"hidden": np.stack(hidden), "spans": np.stack(spans)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _free(self, found: Any, number: int, text: str) -> np.ndarray:
        """The places of a text's words that are one token each, of letters or digits: in the text too, since a token
        may stand for characters that its tokenizer drops.
        """
        ids, words, spans = found["input_ids"][number], found.word_ids(number), found["offset_mapping"][number]
        counts = Counter(words)
        return np.array([at for at, (one, word, (start, end)) in enumerate(zip(ids, words, spans, strict=True))
                         if word is not None and counts[word] == 1 and self.words[one]
                         and text[start:end].strip().isalnum()], dtype=int)  # fmt: skip

    def answers(self, model: nn.Module, batch: Mapping[str, Tensor], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The new texts of each row; one without a word to change is given back as it is."""
        places, columns = batch["hidden"].nonzero(as_tuple=True)
        texts = [str(row[self.fields[0]]) for row in rows for _ in range(self.expansion_rate)]
        if len(places):
            barred = torch.from_numpy(~self.words).to(places.device)
            shown = {name: batch[name] for name in ("input_ids", "attention_mask")}
            logits = lm_logits(model, shown, places, columns).float()[:, : len(barred)]
            best = logits.masked_fill(barred, -torch.inf).topk(
                min(self.likeliest, int(self.words.sum())), dim=-1
            )  # (hidden, likeliest)
            numbers_only(best.values.cpu().numpy(), model, (places // self.expansion_rate).cpu().numpy())
            texts = self._refilled(texts, places.tolist(), batch["spans"][places, columns].tolist(), best)
        texts = ["".join(text.split()) for text in texts] if self.remove_blanks else texts
        return [texts[at : at + self.expansion_rate] for at in range(0, len(texts), self.expansion_rate)]

    def _refilled(self, texts: list[str], places: list[int], spans: list[list[int]], best: Any) -> list[str]:
        """The texts with a drawn word at each span, the last first, so that the places before it stay right."""
        chances, choices = best.values.softmax(-1).double().cpu().numpy(), best.indices.cpu().numpy()
        texts, own = list(texts), {}
        for at in range(len(places) - 1, -1, -1):
            text = places[at]
            if text not in own:
                own[text] = np.random.default_rng(
                    (self.seed, zlib.crc32(texts[text].encode()), text % self.expansion_rate)
                )
            cumulative = chances[at].cumsum()
            drawn = int(np.searchsorted(cumulative, own[text].random() * cumulative[-1], side="right"))
            word = self.tokenizer.decode([choices[at][min(drawn, len(cumulative) - 1)]]).strip()
            start, end = spans[at]
            texts[text] = texts[text][:start] + word + texts[text][end:]
        return texts

def whole_words(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Which tokens are whole words of letters or digits: (vocabulary,) bool."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    mark = next((mark for mark in STARTS if sum(token.startswith(mark) for token in tokens) > len(tokens) // 10), "")
    plain = [token[len(mark) :] if token.startswith(mark) else "" for token in tokens]
    bytewise = mark == STARTS[0]  # a token may then be half of a character, unless it is ASCII
    return np.array([word.isalnum() and (word.isascii() or not bytewise) for word in plain])
