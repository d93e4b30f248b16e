"""A student of its own: a small BERT that shares neither architecture nor vocabulary with its teacher.

Its WordPiece vocabulary is learnt from the unlabelled text, and it has read that text, by masked language modelling,
before anyone teaches it. All it ever gets of the teacher is a probability a label.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizer

from labkit.foundations.pretraining import MaskedLM, frequency_weights, token_counts, tokenize_corpus
from labkit.training import Batches, fit
from labkit.zoo import Loaded, Recipe
from labkit.zoo.building import new_model
from labkit.zoo.tokenizer import SPECIAL, is_cjk

BATCH = 64  # texts a step


def learn_wordpiece(texts: Sequence[str], size: int) -> BertTokenizer:
    """A WordPiece tokenizer of about `size` pieces (Schuster & Nakajima 2012), lower case, learnt from `texts`."""
    learner = Tokenizer(WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    counts = Counter(letter for text in texts for letter in learner.normalizer.normalize_str(text))
    letters = sorted(letter for letter, _ in counts.most_common(size // 4) if not letter.isspace())
    # The learner numbers pieces in the order of a hash table, and breaks ties by number; these it is given in order.
    first = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters if not is_cjk(letter))]
    learner.train_from_iterator(texts, WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False))
    return BertTokenizer(vocab=learner.get_vocab(), do_lower_case=True, model_max_length=128)


def own_student(
    texts: Sequence[str], *, layers: int, hidden: int, vocabulary: int, steps: int, progress: bool | None, seed: int = 0
) -> Loaded:
    """A BERT of `layers` layers, `hidden` wide, 32 to a head, that has learnt its pieces and then `steps` steps of
    masked language modelling from `texts`.
    """
    tokenizer = learn_wordpiece(texts, vocabulary)
    heads = math.ceil(hidden / 32)
    hidden = heads * math.ceil(hidden / heads)  # the heads must divide the width
    shape = Recipe("student", "", "", layers=layers, hidden=hidden, heads=heads, ffn=3 * hidden, seed=seed)
    model = new_model(shape, tokenizer)
    if steps:
        rows = tokenize_corpus(texts, tokenizer, shape.max_length)
        weights = frequency_weights(token_counts(rows, len(tokenizer), tokenizer.all_special_ids), mean=shape.mask_mean)
        objective = MaskedLM(tokenizer, token_probabilities=weights)
        batches = Batches(rows, objective.collate, BATCH, seed=seed, lengths=rows.lengths)
        fit(model, objective.loss, batches, steps=steps, lr=1e-3, schedule="onecycle", seed=seed, progress=progress)
    return Loaded(model.eval(), tokenizer)
