"""Decoding: from a model that says what may come next to a text.

A model is used through `Steps`: the logits of the next token, and two verbs, `advance` (a token was chosen in each
row) and `keep` (these rows go on). What it computed for earlier tokens stays in its cache, so a step costs one token,
whatever the text's length. Greedy choice, sampling and beam search know nothing else of a model, so whatever has the
two verbs can be decoded, for instance three models as one (`control.py`). Mask-predict, at the end, writes all tokens
at once instead, and the doubtful ones again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from labkit.errors import UsageError
from labkit.evaluation import evaluating, numbers_only
from labkit.foundations.encoder import lm_logits, model_inputs, padding, unwrapped

Choose = Callable[[Tensor], Tensor]  # logits (rows, vocabulary) -> tokens (rows,)
Extend = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]  # see `extended`
NEVER = -1e9  # the score of what is not to go on


class Stepping(Protocol):
    """What a decoder asks of a model: `logits` (rows, vocabulary) of the next token, `room` (how many tokens may be
    written after the prompt), and the two verbs of `Steps`.
    """

    @property
    def logits(self) -> Tensor: ...  # noqa: D102
    @property
    def room(self) -> float: ...  # noqa: D102
    def advance(self, tokens: Tensor) -> None: ...  # noqa: D102
    def keep(self, rows: Tensor) -> None: ...  # noqa: D102


def prompted(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, Tensor]:
    """Beginnings to go on with: `input_ids`, `attention_mask` (rows, tokens), padded on the left; with the token that
    begins a text ([CLS], bos), without the one that ends it.
    """
    ends = (tokenizer.sep_token_id, tokenizer.eos_token_id)
    read = tokenizer(list(texts))["input_ids"] if texts else []
    rows = [ids[:-1] if ids and ids[-1] in ends else ids for ids in read]
    longest = max(map(len, rows), default=0)
    ids = torch.tensor([[padding(tokenizer)] * (longest - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])}


class Steps:
    """Any causal language model of transformers, or encoder–decoder, in eval mode, one token at a time.

    `input_ids`, `attention_mask` (rows, tokens): what is gone on from, padded on the left; or what an encoder reads,
    whose decoder begins with the configuration's `decoder_start_token_id`. UsageError for a row without a token, or a
    prompt longer than the model reads; TrainingError where the logits are no numbers.
    """

    def __init__(self, model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> None:
        self.model: Any = unwrapped(model)
        config, self.past, self.encoded = self.model.config, None, None
        _check(self.model, input_ids, attention_mask)
        ids, device = input_ids.to(self.model.device), self.model.device
        self.mask = torch.ones_like(ids) if attention_mask is None else attention_mask.to(device)
        self.places = "position_ids" in inspect.signature(self.model.forward).parameters
        if config.is_encoder_decoder:
            encoder, batch = self.model.get_encoder(), {"input_ids": ids, "attention_mask": self.mask}
            with torch.inference_mode():
                self.encoded = encoder(**model_inputs(encoder, batch))[0]  # (rows, tokens, d)
            ids = torch.full((len(ids), 1), config.decoder_start_token_id, device=device)
        limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", float("inf"))
        self.room = limit - ids.shape[1] + 1  # the last token is written, and not read
        if self.room < 1:
            raise UsageError(f"a prompt of {ids.shape[1]} tokens: this model reads at most {limit}; shorten it")
        self._read(ids)

    def _read(self, ids: Tensor) -> None:
        """Read new tokens (rows, tokens) and set `logits` (rows, vocabulary) for the one after them."""
        given: dict[str, Any] = {"past_key_values": self.past, "attention_mask": self.mask, "use_cache": True}
        if self.encoded is not None:
            given |= {"encoder_outputs": BaseModelOutput(self.encoded), "decoder_input_ids": ids}
        else:
            given["input_ids"] = ids
            if self.places:  # they count real tokens, not padding
                given["position_ids"] = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            found = self.model(**given)
        self.past = found.past_key_values
        self.logits = found.logits[:, -1].to(torch.float32, copy=True)  # an ordinary tensor, that may be changed
        peaks = self.logits.amax(1)  # NaN where one logit is
        if not peaks.isfinite().all():
            numbers_only(peaks.nan_to_num(torch.inf, torch.inf, torch.inf).cpu().numpy(), self.model, range(len(ids)))

    def advance(self, tokens: Tensor) -> None:
        """These tokens (rows,) were chosen: go on after them."""
        if self.encoded is None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        self._read(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        """Row i goes on from what was row rows[i]; there may be more rows than before, or fewer."""
        self.logits, self.mask = self.logits[rows], self.mask[rows]
        self.encoded = None if self.encoded is None else self.encoded[rows]
        self.past.reorder_cache(rows)


def _check(model: Any, ids: Tensor, mask: Tensor | None) -> None:
    if model.training:
        raise UsageError("the model is in training mode, in which dropout makes its answers random: model.eval() first")
    if model.config.is_encoder_decoder and model.config.decoder_start_token_id is None:
        raise UsageError("the configuration names no decoder_start_token_id, with which a text begins: set it")
    if ids.ndim != 2 or not ids.numel() or (mask is not None and not mask.any(1).all()):
        mend = "each row needs a token to go on from, at least the one that begins a text ([CLS], bos)"
        raise UsageError(f"prompts of shape {tuple(ids.shape)}, one of them empty: {mend}")
    if mask is not None and not model.config.is_encoder_decoder and (mask.diff(dim=1) < 0).any():
        raise UsageError("a prompt is padded on the right: pad it on the left, as `prompted` does")


def decode(steps: Stepping, choose: Choose, most: int, *, eos: int | None = None, pad: int = 0) -> Tensor:
    """What `choose` writes, token by token: (rows, at most `most`), each row filled with `pad` after its `eos`.

    UsageError where `most` is below 1 or more than the model has room for.
    """
    _fits(steps, most)
    going, written = torch.ones(len(steps.logits), dtype=torch.bool, device=steps.logits.device), []
    for place in range(most):
        if place:
            steps.advance(written[-1])
        written.append(torch.where(going, choose(steps.logits), pad))
        if eos is not None:
            going = going & (written[-1] != eos)
            if not going.any():
                break
    return torch.stack(written, 1)


def _fits(steps: Stepping, most: int) -> None:
    if not 1 <= most <= steps.room:
        raise UsageError(f"{most} tokens are to be written: from 1 to {steps.room:g} are possible after this prompt")


def greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row: (rows, vocabulary) → (rows,)."""
    return logits.argmax(-1)


def beam_search(
    steps: Stepping, most: int, beams: int, *, eos: int | None = None, pad: int = 0, length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False, extend: Extend | None = None,
) -> Tensor:  # fmt: skip
    """The best text of each row that a beam finds: (rows, at most `most`), filled with `pad`. The best has the highest
    log-probability / length ** length_penalty, its `eos` included. (Sutskever et al. 2014, §3.2; the rules in detail
    are those of transformers.)

    At each step the `beams` best beginnings go on, as `extend` finds them; those that end move to a pool (`_Pools`).
    UsageError for beams below 1 or above the vocabulary; else as `decode`.
    """
    _fits(steps, most)
    (rows, vocabulary), device = steps.logits.shape, steps.logits.device
    if not 1 <= beams <= vocabulary:
        raise UsageError(f"beams={beams}: from 1 to {vocabulary} are possible, one for each token of the vocabulary")
    offset = torch.arange(rows, device=device)[:, None] * beams  # where a row's beams begin
    steps.keep(torch.arange(rows, device=device).repeat_interleave(beams))
    score = torch.full((rows, beams), NEVER, device=device)
    score[:, 0] = 0.0  # all beams of a row are still the same: one of them goes on
    texts = torch.zeros(rows, beams, 0, dtype=torch.long, device=device)
    pools = _Pools(rows, beams, most, length_penalty, early_stopping)
    for length in range(1, most + 1):
        # twice as many as go on, since half of them may end
        score, parent, token = (extend or extended)(steps.logits, score, 2 * beams)
        texts = torch.cat([texts.take_along_dim(parent[..., None], 1), token[..., None]], 2)
        ends = token == eos if eos is not None and length < most else torch.full_like(token, length == most).bool()
        pools.add(score[:, :beams], texts, ends[:, :beams])
        score, going = score.masked_fill(ends, NEVER).topk(beams)  # (rows, beams)
        if pools.done(score[:, 0], length):
            break
        texts = texts.take_along_dim(going[..., None], 1)
        steps.keep((offset + parent.gather(1, going)).flatten())
        steps.advance(token.gather(1, going).flatten())
    return nn.utils.rnn.pad_sequence([pool[0][1] for pool in pools.found], batch_first=True, padding_value=pad)


class _Pools:
    """For each row the `beams` best texts that have ended, the best first, and whether a better one may still come.

    None may when the pool is full and even the best beginning, at its present length, is no better than the worst of
    the pool. With `early_stopping` True none may as soon as it is full; with "never" the beginning is taken at whatever
    length up to `most` is best for it.
    """

    def __init__(self, rows: int, beams: int, most: int, penalty: float, early: bool | Literal["never"]) -> None:
        self.found: list[list[tuple[float, Tensor]]] = [[] for _ in range(rows)]
        self.open, self.beams, self.most, self.penalty, self.early = set(range(rows)), beams, most, penalty, early

    def add(self, score: Tensor, texts: Tensor, ends: Tensor) -> None:
        """Take those of (rows, beams) that end; `texts` (rows, at least beams, length)."""
        for row, place in ends.nonzero().tolist():
            if row in self.open:
                value = score[row, place].item() / texts.shape[2] ** self.penalty
                self.found[row].append((value, texts[row, place]))
        for row in self.open:
            self.found[row] = sorted(self.found[row], key=lambda one: -one[0])[: self.beams]

    def done(self, best: Tensor, length: int) -> bool:
        """Whether all rows are, when their best beginnings, (rows,), have this length."""
        reach = self.most if self.early == "never" and self.penalty > 0 else length
        for row, value in enumerate((best / reach**self.penalty).tolist()):
            pool = self.found[row]
            if len(pool) == self.beams and (self.early is True or value <= pool[-1][0]):
                self.open.discard(row)
        return not self.open or length == self.most


def extended(logits: Tensor, score: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best beginnings with one more token: their log-probability, which beam they continue, and the token,
    each (rows, count). `logits` (rows · beams, vocabulary), `score` (rows, beams) of the beginnings.
    """
    longer = score[..., None] + logits.log_softmax(-1).unflatten(0, score.shape)  # (rows, beams, vocabulary)
    score, place = longer.flatten(1).topk(count)
    return score, place // logits.shape[-1], place % logits.shape[-1]


def mask_predict(
    model: nn.Module, input_ids: Tensor, mask_id: int, passes: int, attention_mask: Tensor | None = None
) -> Tensor:
    """`input_ids` (rows, tokens) with every `mask_id` filled in by a masked language model, in `passes` passes instead
    of one per token. (Ghazvininejad et al. 2019, §3)

    Pass t of T fills all blanks at once, each as if it knew nothing of what is put into the others. Of a row's N blanks
    the ⌊N (T − t) / T⌋ tokens with the lowest probability are then hidden again, and filled beside the rest. UsageError
    for less than one pass, or a row without a blank.
    """
    blanks = input_ids == mask_id  # (rows, tokens)
    if passes < 1 or not blanks.any(1).all():
        raise UsageError(f"passes={passes}: at least 1 is needed, and in every row a blank to fill (token {mask_id})")
    ids, hidden, batch = input_ids.clone(), blanks, {"attention_mask": attention_mask}
    sure = torch.full(ids.shape, torch.inf, device=ids.device)  # what was given is never hidden
    for left in range(passes - 1, -1, -1):
        rows, columns = hidden.nonzero(as_tuple=True)
        with evaluating(model):
            logits = lm_logits(model, batch | {"input_ids": ids.masked_fill(hidden, mask_id)}, rows, columns)
        shares = logits.float().index_fill(1, torch.tensor(mask_id, device=ids.device), -torch.inf).softmax(-1)
        sure[rows, columns], ids[rows, columns] = shares.max(-1)
        again = blanks.sum(1) * left // passes  # (rows,)
        hidden = sure.argsort(1).argsort(1) < again[:, None]  # a token's rank from the most doubtful
        if not hidden.any():
            break
    return ids
