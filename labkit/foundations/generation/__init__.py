"""Writing text, and steering it, one file an idea.

| file | what |
|---|---|
| `decoding.py` | a model one token at a time, with its cache; greedy choice, beam search |
| `sampling.py` | temperature, top-k, nucleus; a record of each choice |
| `mask_predict.py` | all tokens at once, the doubtful ones again |
| `control.py` | expert and anti-expert; tags |
| `metrics.py` | BLEU, NIST, METEOR, Distinct, repetition, perplexity |
| `seq2seq.py` | the method of writing a text from a text, for `fit` and `evaluate` |
"""

from __future__ import annotations

from labkit.foundations.generation.control import Steered, tagged
from labkit.foundations.generation.decoding import Steps, beam_search, decode, greedy, prompted
from labkit.foundations.generation.mask_predict import mask_predict
from labkit.foundations.generation.metrics import bleu, clipped_matches, distinct, meteor, nist, perplexity, repetition
from labkit.foundations.generation.sampling import Choice, Sampler, filtered, trace
from labkit.foundations.generation.seq2seq import Generation, encoder_decoder

__all__ = [
    "Choice", "Generation", "Sampler", "Steered", "Steps", "beam_search", "bleu", "clipped_matches", "decode",
    "distinct", "encoder_decoder", "filtered", "greedy", "mask_predict", "meteor", "nist", "perplexity", "prompted",
    "repetition", "tagged", "trace",
]  # fmt: skip
