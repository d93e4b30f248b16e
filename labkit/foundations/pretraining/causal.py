"""Left to right: GPT (Radford et al. 2018, §3.1), and PanGu-α's query layer (Zeng et al. 2021, §2.2).

Every position names the token after it, so nearly every token teaches (BERT's masks: 15 of 100), but each sees only
what stands before it. GPT reads the answer off the state of the *present* token. PanGu-α puts one more layer on top
whose attention asks with the embedding of the *next position*: "what stands at place n + 1?", not "what follows this
word?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from labkit.errors import DataError, UsageError
from labkit.foundations.encoder import model_inputs, padding, to_batch, unwrapped
from labkit.foundations.pretraining.masked import IGNORE, ids_of


def next_tokens(ids: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`(inputs, labels)`, both of the shape of `ids`, (…, tokens): labels[…, t] = ids[…, t + 1], and −100 at the end.

    `mask` (…, tokens) is true at real tokens: padding is never asked for. Nothing is drawn: GPT's inputs are the text.
    """
    labels = np.full(ids.shape, IGNORE, dtype=np.int64)
    labels[..., :-1] = ids[..., 1:]
    if mask is not None:
        labels[..., :-1][~mask[..., 1:].astype(bool)] = IGNORE
    return ids.copy(), labels


class CausalLM:
    """The left-to-right objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit.

    Rows are `{"input_ids": …}` of `tokenize_corpus`, or `{"text": …}`. Works on GPT-2 and its like and on `QueryLM`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int = 128) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `labels` (batch, tokens); `count` (batch,), the tokens asked for.

        DataError for a row of fewer than two tokens.
        """
        sequences = ids_of(rows, self.tokenizer, self.max_length)
        for number, ids in enumerate(sequences, start=1):
            if len(ids) < 2:
                raise DataError(
                    f"row {number} of the batch: field 'input_ids' has {len(ids)} tokens, the next one needs 2: "
                    "leave such rows out"
                )
        batch = to_batch(sequences, padding(self.tokenizer))
        batch["input_ids"], labels = next_tokens(batch["input_ids"], batch["attention_mask"])
        batch |= {"labels": labels, "count": (labels != IGNORE).sum(1)}
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the next token over all positions that have one, a scalar in nats.

        transformers' own `labels=` wants the text itself and shifts inside; the number is the same.
        """
        limit = getattr(getattr(unwrapped(model), "config", None), "max_position_embeddings", None)
        if limit is not None and (length := batch["input_ids"].shape[1]) > limit:
            raise UsageError(f"a text of {length} tokens: this model reads at most {limit}; set max_length={limit}")
        logits = getattr(model(**model_inputs(model, batch)), "logits", None)  # (batch, tokens, vocabulary)
        if logits is None or logits.ndim != 3:
            kind = type(unwrapped(model)).__name__
            raise UsageError(f"{kind} has no language-model head: use GPT2LMHeadModel, AutoModelForCausalLM or QueryLM")
        asked = batch["labels"] != IGNORE
        return F.cross_entropy(logits[asked].float(), batch["labels"][asked])

    __call__ = loss


class QueryLayer(nn.Module):
    """PanGu-α's top layer: a Transformer layer whose queries are embeddings of the next position.

    softmax(p_{n+1} W_q (H W_k)ᵀ / √d_head) H W_v over the states H of positions ≤ n, then the usual feed-forward part.
    As in the released code, norms stand before the parts, the residual is h_n, and `next_position` is a table of its
    own whose entry n belongs to position n + 1.
    """

    def __init__(self, d: int, heads: int, ffn: int, positions: int) -> None:
        super().__init__()
        if d % heads:
            raise UsageError(f"d={d}, heads={heads}: the width must be a multiple of the number of heads")
        self.heads = heads
        self.next_position = nn.Embedding(positions, d)
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.norm_attention, self.norm_ffn = nn.LayerNorm(d), nn.LayerNorm(d)
        self.ffn = nn.Sequential(nn.Linear(d, ffn), nn.GELU(), nn.Linear(ffn, d))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)

    def forward(self, h: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """States (batch, tokens, d) to states from which each *next* token is read; position n sees only ≤ n."""
        tokens = h.shape[1]
        places = torch.arange(tokens, device=h.device)
        seen = (places[None, :] <= places[:, None])[None]  # (1, queries, keys)
        if attention_mask is not None:  # a padded position still sees itself: no softmax over nothing
            seen = seen & (attention_mask[:, None, :].bool() | torch.eye(tokens, dtype=torch.bool, device=h.device))
        x = self.norm_attention(h)
        q = self.query(self.next_position(places)).expand(len(h), -1, -1)  # the same for every text
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, self.key(x), self.value(x)))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])  # (batch, heads, tokens, d_head)
        h = h + self.out(found.transpose(1, 2).flatten(2))
        return h + self.ffn(self.norm_ffn(h))


class QueryLM(nn.Module):
    """PanGu-α: a causal `backbone` of transformers (a GPT2Model, final norm included), the query layer, tied output.

    `forward` gives `.logits` (batch, tokens, vocabulary). Reading tasks use the backbone; the query layer, which
    answers for the next place, is left off as an LM head is.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        config = backbone.config
        self.backbone, self.config = backbone, config
        d, ffn = config.hidden_size, getattr(config, "n_inner", None)
        self.top = QueryLayer(d, config.num_attention_heads, ffn or 4 * d, config.max_position_embeddings)

    @property
    def base_model(self) -> nn.Module:
        """What a classification head stands on."""
        return self.backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> CausalLMOutput:
        """Logits of the next token at each position: (batch, tokens, vocabulary)."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        states = self.top(states, attention_mask)  # (batch, tokens, d)
        return CausalLMOutput(logits=F.linear(states, self.backbone.get_input_embeddings().weight))
