"""BiDAF, a reader from before BERT (Seo et al. 2017, Bidirectional attention flow for machine comprehension, §2).

Text and question are read by an LSTM each way, then compared: one similarity for each pair of a text's and a question's
token, from which attention flows both ways, and the text keeps one vector a token throughout. Here a token is a word
piece, whose embedding stands for the paper's words and characters.

It reads what BERT reads, "[CLS] question [SEP] text [SEP]", and gives a logit a token for an answer's beginning and
end, so `Reader` trains it and answers with it. [CLS], no answer, gets one learned logit (Levy et al. 2017, §4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from labkit.errors import UsageError
from labkit.lab import seeded


class BiDAFConfig(PreTrainedConfig):
    """`hidden_size` is the width of an LSTM in each direction, d (100 in the paper)."""

    model_type = "bidaf"

    def __init__(
        self, vocab_size: int = 3000, hidden_size: int = 64, embedding_size: int = 64, dropout: float = 0.2,
        **more: object,
    ) -> None:  # fmt: skip
        self.vocab_size, self.hidden_size, self.embedding_size = vocab_size, hidden_size, embedding_size
        self.dropout, self.type_vocab_size = dropout, 2
        super().__init__(**more)


class Recurrent(nn.Module):
    """LSTMs in both directions over texts of different lengths: (batch, tokens, width) → (batch, tokens, 2 d)."""

    def __init__(self, width: int, d: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        options = {"batch_first": True, "bidirectional": True, "dropout": dropout if layers > 1 else 0.0}
        self.lstm = nn.LSTM(width, d, layers, **options)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Each text's own `lengths` tokens are read; the rest is 0."""
        packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=values.shape[1])[0]


def attention_flow(text: Tensor, question: Tensor, weight: Tensor, text_mask: Tensor, question_mask: Tensor) -> Tensor:
    """Attention both ways, eq. 1 and 2: text h (batch, t, n), question u (batch, j, n), both masks true for tokens.

    S = w · [h; u; h ⊙ u], with `weight` w (3 n,), (batch, t, j). From text to question, each h has its own mean ũ of
    the u, by the softmax of its row; from question to text there is one mean h̃ of the h, by the softmax of the rows'
    maxima. The result is [h; ũ; h ⊙ ũ; h ⊙ h̃], (batch, t, 4 n).
    """
    w_h, w_u, w_hu = weight.chunk(3)
    similarity = (text @ w_h)[:, :, None] + (question @ w_u)[:, None] + (text * w_hu) @ question.mT  # (batch, t, j)
    similarity = similarity.masked_fill(~question_mask[:, None], -torch.inf)
    to_question = similarity.softmax(-1) @ question  # ũ, (batch, t, n)
    which = similarity.amax(-1).masked_fill(~text_mask, -torch.inf).softmax(-1)  # (batch, t)
    to_text = (which[:, None] @ text).expand_as(text)  # h̃
    return torch.cat([text, to_question, text * to_question, text * to_text], -1)


class BiDAF(PreTrainedModel):
    """Embedding, two highway layers, contextual LSTM, attention flow, two modelling LSTMs, two outputs (§2, 1 to 6)."""

    config_class = BiDAFConfig

    def __init__(self, config: BiDAFConfig) -> None:
        super().__init__(config)
        d, width = config.hidden_size, config.embedding_size
        self.embeddings = nn.Embedding(config.vocab_size, width)
        self.highway = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.contextual = Recurrent(width, d)
        self.similarity = nn.Parameter(torch.empty(6 * d).uniform_(-1, 1) / (6 * d) ** 0.5)
        self.modelling = Recurrent(8 * d, d, 2, config.dropout)
        self.ending = Recurrent(2 * d, d)
        self.start, self.end = nn.Linear(10 * d, 1), nn.Linear(10 * d, 1)
        self.absent = nn.Parameter(torch.zeros(2))  # the logits of [CLS]
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Each module draws its own weights, as torch does."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> QuestionAnsweringModelOutput:
        """`start_logits` and `end_logits` (batch, tokens), −∞ where no answer can be; [CLS] stands for none.

        `token_type_ids` are 0 for the question and 1 for the text behind it; UsageError without them, and for a
        row that has one of the two alone.
        """
        if token_type_ids is None:
            raise UsageError("BiDAF reads two texts and must know which is which: use a tokenizer with token types")
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        is_text = (attention_mask & token_type_ids).bool()
        asked, told = attention_mask.sum(1) - is_text.sum(1), is_text.sum(1)  # how many tokens, (batch,)
        if not (asked.all() and told.all()):
            raise UsageError("BiDAF compares two texts: each row needs a token of either, such as [CLS] and [SEP]")
        places = (asked[:, None] + torch.arange(int(told.max()), device=told.device)).clamp(max=input_ids.shape[1] - 1)
        question, text = input_ids[:, : int(asked.max())], input_ids.gather(1, places)
        begins, ends = self._read(text, question, told, asked)
        inside = _mask(told, text.shape[1])
        both = []
        for logits, none in zip((begins, ends), self.absent, strict=True):
            whole = logits.new_full(input_ids.shape, -torch.inf)
            whole[is_text] = logits[inside]  # both in reading order
            both.append(torch.cat([none.expand(len(whole), 1), whole[:, 1:]], 1))
        return QuestionAnsweringModelOutput(start_logits=both[0], end_logits=both[1])

    def _read(self, text: Tensor, question: Tensor, told: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of the text's tokens (batch, t): of ids (batch, t) and (batch, j), and how many of them count."""
        h, u = (self.contextual(self._embed(ids), n) for ids, n in ((text, told), (question, asked)))
        masks = _mask(told, text.shape[1]), _mask(asked, question.shape[1])
        g = self.dropout(attention_flow(h, u, self.similarity, *masks))  # (batch, t, 8 d)
        m = self.modelling(g, told)  # (batch, t, 2 d)
        begins = self.start(self.dropout(torch.cat([g, m], -1)))[..., 0]
        return begins, self.end(self.dropout(torch.cat([g, self.ending(m, told)], -1)))[..., 0]

    def _embed(self, ids: Tensor) -> Tensor:
        """(batch, n) → (batch, n, width) by the highway (Srivastava et al. 2015): a gate mixes x with a new x."""
        x = self.dropout(self.embeddings(ids))
        for layer in self.highway:
            gate, new = layer(x).chunk(2, -1)
            gate = gate.sigmoid()
            x = gate * F.relu(new) + (1 - gate) * x
        return x


def _mask(lengths: Tensor, size: int) -> Tensor:
    """True for the first `lengths` of `size` places: (batch, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def bidaf(vocab_size: int, *, embeddings: Tensor | None = None, seed: int | None = None, **sizes: int) -> BiDAF:
    """A BiDAF with weights drawn from `seed` or torch's own state; `embeddings` (vocabulary, width), as of another
    model, stay fixed, as GloVe's did in the paper.
    """
    if embeddings is not None:
        sizes["embedding_size"] = embeddings.shape[1]
    with seeded(seed):
        model = BiDAF(BiDAFConfig(vocab_size, **sizes))
    if embeddings is not None:
        model.embeddings = nn.Embedding.from_pretrained(embeddings.detach().clone().float(), freeze=True)
    return model
