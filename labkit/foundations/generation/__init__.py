"""Writing text: `decoding.py` (greedy, beam search, mask-predict), `sampling.py` (temperature, top-k, nucleus),
`control.py` (expert and anti-expert), `metrics.py`; in `seq2seq.py` the method of writing a text from a text.
"""

from __future__ import annotations

from labkit.foundations.generation.control import Steered
from labkit.foundations.generation.decoding import Steps, beam_search, decode, greedy, mask_predict, prompted
from labkit.foundations.generation.metrics import bleu, clipped_matches, distinct, meteor, nist, perplexity, repetition
from labkit.foundations.generation.sampling import Choice, Sampler, filtered, trace
from labkit.foundations.generation.seq2seq import Generation, encoder_decoder

__all__ = [
    "Choice", "Generation", "Sampler", "Steered", "Steps", "beam_search", "bleu", "clipped_matches", "decode",
    "distinct", "encoder_decoder", "filtered", "greedy", "mask_predict", "meteor", "nist", "perplexity", "prompted",
    "repetition", "trace",
]  # fmt: skip
