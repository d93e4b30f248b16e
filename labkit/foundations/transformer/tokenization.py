"""Text to pieces of words: common words stay whole, rare ones fall apart into pieces that are known.

Both ways begin with single characters and join two neighbours at a time. BPE (Sennrich et al. 2016, §3.2) joins the
*most frequent* pair; to read a word, it repeats its joins in the order in which they were learnt. WordPiece (Schuster &
Nakajima 2012) joins the pair that makes the text *most likely*, count(ab) / (count(a) · count(b)): frequent together,
rare apart; to read a word, it takes the longest piece that fits, from left to right.

Here BPE writes ▁ before each word, as SentencePiece does (Kudo & Richardson 2018), so that pieces give back the text;
SentencePiece goes further and does without words at all. WordPiece writes ## before a piece that goes on with a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from labkit.errors import DataError, UsageError
from labkit.tasks.text import check_whole

SPACE, UNKNOWN = "▁", "[UNK]"
LONGEST = 100  # characters of a word that WordPiece looks at, as in BERT; a longer one is unknown
Pair = tuple[str, str]


def merge(pieces: Sequence[str], pair: Pair, joined: str) -> list[str]:
    """The pieces with each `pair` of neighbours replaced by `joined`, left to right: a a a with (a, a) is aa a."""
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] = joined
        else:
            found.append(piece)
    return found


def count_pairs(spelled: Mapping[str, Sequence[str]], words: Mapping[str, int]) -> Counter[Pair]:
    """How often each pair of neighbours occurs: `spelled` has each word's pieces, `words` how often it occurs."""
    counts: Counter[Pair] = Counter()
    for word, pieces in spelled.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            counts[pair] += words[word]
    return counts


class _Pieces:
    """Texts to words (`words`), words to pieces (`spell`), pieces to ids (`vocabulary`, in which [UNK] stands for what
    the other pieces cannot spell).
    """

    words: Callable[[str], list[str]]
    spell: Callable[[Any, str], list[str]]

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = dict(vocabulary)
        if UNKNOWN not in self.vocabulary:
            raise UsageError(f"the vocabulary has no {UNKNOWN}, which stands for what its pieces cannot spell")

    def pieces(self, text: str) -> list[str]:
        """A text in pieces; DataError for half a character."""
        check_whole(text, "the text")
        return [piece for word in self.words(text) for piece in self.spell(word)]

    def encode(self, text: str) -> list[int]:
        """The ids of a text's pieces, none before or after them."""
        return [self.vocabulary[piece] for piece in self.pieces(text)]

    @classmethod
    def count(cls, texts: Iterable[str]) -> Counter[str]:
        """How often each word occurs; DataError for texts without any."""
        if counts := Counter(word for text in texts for word in cls.words(text)):
            return counts
        raise DataError("the texts hold no word to learn pieces from: give some that do")


class BPE(_Pieces):
    """Byte-pair encoding on characters, `merges` in the order of learning. Of a text it keeps all but the kind and
    number of its spaces (a ▁ is one too). Ids: [UNK] for an unknown character, the `alphabet` by code point, joined
    pieces by age.
    """

    def __init__(self, merges: Sequence[Pair], alphabet: Iterable[str]) -> None:
        pieces = dict.fromkeys([UNKNOWN, *sorted(alphabet), *map("".join, merges)])
        super().__init__({piece: number for number, piece in enumerate(pieces)})
        self.merges, self.ranks = list(merges), {pair: rank for rank, pair in enumerate(merges)}

    @classmethod
    def learn(cls, texts: Iterable[str], merges: int) -> BPE:
        """Join the most frequent pair, `merges` times or until every word is one piece.

        Of equally frequent pairs the one whose pieces have the smaller ids, the first piece's before the second's: the
        rule of the `tokenizers` library. All pairs are counted anew for each merge. DataError for texts without words.
        """
        words, found = cls.count(texts), list[Pair]()
        alphabet = sorted(set().union(*words))
        spelled, ids = {word: list(word) for word in words}, {c: number for number, c in enumerate(alphabet)}
        while len(found) < merges and (counts := count_pairs(spelled, words)):
            pair = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
            joined = "".join(pair)
            ids.setdefault(joined, len(ids))
            for word in (word for word in words if joined in word):
                spelled[word] = merge(spelled[word], pair, joined)
            found.append(pair)
        return cls(found, alphabet)

    @staticmethod
    def words(text: str) -> list[str]:
        """What stands between spaces, behind a ▁."""
        return [SPACE + word for word in text.replace(SPACE, " ").split()]

    def spell(self, word: str) -> list[str]:
        """The pair that was learnt first is joined first, at its leftmost place. Quadratic in the word's length."""
        pieces = [character if character in self.vocabulary else UNKNOWN for character in word]
        while len(pieces) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in zip(pieces, pieces[1:], strict=False)]
            place = ranks.index(min(ranks))
            if ranks[place] == len(self.ranks):
                break
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        return pieces

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, with one space between words."""
        written = list(self.vocabulary)
        return "".join(written[number] for number in ids).replace(SPACE, " ").removeprefix(" ")


class WordPiece(_Pieces):
    """BERT's pieces. Its words are lower case and without accents; a Chinese character or a punctuation mark is a word.
    One that cannot be spelled, or a very long one, is [UNK].
    """

    @classmethod
    def learn(cls, texts: Iterable[str], size: int, least: int = 2) -> WordPiece:
        """Join the pair with the highest count(ab) / (count(a) · count(b)) until the vocabulary has `size` pieces.

        Only pairs that occur `least` times: else characters that are seen once come first. Of equal ones the more
        frequent, then the first by code point. (The `tokenizers` library's trainer takes the most frequent pair, as BPE
        does.) DataError for texts without words.
        """
        words = cls.count(texts)
        spelled = {word: [word[0], *(f"##{character}" for character in word[1:])] for word in words}
        vocabulary = dict.fromkeys([UNKNOWN, *sorted(set().union(*spelled.values()))])
        while len(vocabulary) < size:
            single = Counter(piece for word, pieces in spelled.items() for piece in pieces * words[word])
            counts = {pair: count for pair, count in count_pairs(spelled, words).items() if count >= least}
            if not counts:
                break
            pair = min(counts, key=lambda p: (-counts[p] / (single[p[0]] * single[p[1]]), -counts[p], p))
            joined = pair[0] + pair[1].removeprefix("##")
            vocabulary[joined] = None
            spelled = {word: merge(pieces, pair, joined) for word, pieces in spelled.items()}
        return cls({piece: number for number, piece in enumerate(vocabulary)})

    @staticmethod
    def words(text: str) -> list[str]:
        """As BERT cuts them."""
        return [word for word, _ in BertPreTokenizer().pre_tokenize_str(BertNormalizer().normalize_str(text))]

    def spell(self, word: str) -> list[str]:
        """The longest piece that fits, then the longest that goes on from there."""
        found, start, mark = list[str](), 0, ""
        while start < len(word) <= LONGEST:
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self.vocabulary), None)
            if end is None:
                return [UNKNOWN]
            found.append(mark + word[start:end])
            start, mark = end, "##"
        return found or [UNKNOWN]
