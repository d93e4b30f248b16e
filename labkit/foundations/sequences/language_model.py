"""A recurrent language model: after each word, or each character, what comes next?

It is a model of transformers that reads left to right, so `LanguageModel(tokenizer, causal=True)` is its objective and
measures its perplexity. To write it takes one step per token: the memory is all that it needs of the text so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from labkit.errors import UsageError
from labkit.evaluation import evaluating
from labkit.foundations.sequences.classifier import SequenceConfig, SequenceModel
from labkit.lab import generator, seeded
from labkit.tasks.text import check_whole


class RecurrentLM(SequenceModel):
    """Word vectors, a recurrent layer, and a linear layer onto the vocabulary; `language_model` makes one."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        if config.bidirectional:
            raise UsageError("a language model that reads backwards has seen the answer: bidirectional must be False")
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding)
        self.reader, self.out = config.recurrent(), nn.Linear(config.size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The layer that names the next token, which transformers and labkit ask for."""
        return self.out

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> CausalLMOutput:
        """`logits` (batch, tokens, vocabulary): at each place, of the token after it."""
        return CausalLMOutput(logits=self.out(self.reader(self.embeddings(input_ids), attention_mask)[0]))


def language_model(vocab_size: int, reader: str = "lstm", *, seed: int = 0, **sizes: Any) -> RecurrentLM:
    """A new language model, drawn with `seed`; `sizes` are `SequenceConfig`'s fields. UsageError for a bad one."""
    with seeded(seed):
        return RecurrentLM(SequenceConfig(vocab_size, reader, is_decoder=True, **sizes))


def character_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the characters of `text`, spaces and line ends included; any other is "[UNK]".

    UsageError for an empty text, DataError for one with half a character.
    """
    if not text:
        raise UsageError("the text has no characters: a vocabulary needs some")
    check_whole(text, "text")
    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", *sorted(set(text))])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")


def passages(text: str, length: int) -> list[dict[str, str]]:
    """A long text as rows {"text": …} of `length` characters and the next one, which only the row before asks for.

    UsageError for passages of no length, or a text too short for one.
    """
    if length < 1 or len(text) < 2:
        raise UsageError(f"length={length}, a text of {len(text)} characters: at least 1 and 2 are needed")
    return [{"text": text[at : at + length + 1]} for at in range(0, len(text) - 1, length)]


def write(
    model: RecurrentLM, tokenizer: PreTrainedTokenizerBase, start: Sequence[int], most: int, *,
    temperature: float = 1.0, stop: Sequence[int] = (), seed: int = 0,
) -> str:  # fmt: skip
    """Go on after the tokens `start` until a token of `stop`, or for `most` tokens; the new text.

    Each token is drawn from softmax(logits / temperature): near 0 it is the likeliest. The model's mode is restored.
    UsageError for an empty start, or a temperature that is not above 0.
    """
    if not len(start) or temperature <= 0:
        raise UsageError(f"{len(start)} tokens, temperature {temperature:g}: a start and more than 0 are needed")
    rng, new = generator(seed), []
    with evaluating(model):
        memory, coming = model.reader.start(1), list(start)
        while len(new) < most:
            for token in coming:  # the start, then what was written last
                memory = model.reader.step(model.embeddings(torch.tensor([token])), memory)
            shares = (model.out(memory["hidden"])[0] / temperature).softmax(0)
            coming = torch.multinomial(shares, 1, generator=rng).tolist()
            if coming[0] in stop:
                break
            new += coming
    return tokenizer.decode(new)
