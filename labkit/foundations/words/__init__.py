"""Words as vectors (lesson 01/01): counted, and learned by prediction."""

from labkit.foundations.words.counts import cooccurrence, ppmi, truncated_svd
from labkit.foundations.words.huffman import huffman_codes
from labkit.foundations.words.neighbours import WordVectors, nearest, same_kind
from labkit.foundations.words.outputs import negative_sampling_loss
from labkit.foundations.words.text import Vocabulary, keep_probability, noise_distribution
from labkit.foundations.words.word2vec import Word2VecSettings, train_word2vec

__all__ = [
    "Vocabulary", "Word2VecSettings", "WordVectors", "cooccurrence", "huffman_codes", "keep_probability", "nearest",
    "negative_sampling_loss", "noise_distribution", "ppmi", "same_kind", "train_word2vec", "truncated_svd",
]  # fmt: skip
