"""Finding passages by their meaning: a dual encoder, its index, and where it finds its hard negatives.

One encoder gives every text one vector of length 1; a query's nearest passages are its answers. It learns from pairs
of a query and a passage: the passages of the *other* queries of the batch are the wrong answers, so b queries give
b − 1 of them for nothing (Karpukhin et al. 2020, *DPR*, §3.2). These are mostly easy. Hard ones are those that another
retriever finds and that are not the answer: BM25 (DPR), or the encoder itself, whose index is made anew as it learns
(Xiong et al. 2021, *ANCE*, §4). DPR has two encoders, ANCE and we one for both sides.

An index holds vectors of one state of the encoder. It keeps that state's hash, and refuses to search with another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, LabkitError, UsageError, unknown
from labkit.evaluation import over_rows
from labkit.foundations.encoder import backbone, mean_state, model_inputs, padding, to_batch, usable_length
from labkit.knowledge.lexical import best
from labkit.training import Batches, fit
from labkit.training.identity import content

Array = np.ndarray
Row = Mapping[str, Any]
KINDS = ("brute", "flat", "ivf", "hnsw")
WHOLE = 0.1  # share of passages that keep the sentence which asks for them, in ICT


def in_batch_loss(queries: Tensor, passages: Tensor, temperature: float = 0.05) -> Tensor:
    """The mean cross-entropy of finding each query's own passage, a scalar.

    `queries` (b, d); `passages` (b + more, d): first the b right ones, in the queries' order, then hard negatives,
    which are wrong for all of them.
    """
    return F.cross_entropy(queries @ passages.T / temperature, torch.arange(len(queries), device=queries.device))


class DualEncoder:
    """The method: rows `{text, positive}`, and perhaps `negatives`, of which each batch draws one a row.

    `positive` and `negatives` are places in `passages`. `loss_of` is given the vectors of queries and passages.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, passages: Sequence[str], max_length: int = 64,
        loss_of: Callable[[Tensor, Tensor], Tensor] = in_batch_loss,
    ) -> None:  # fmt: skip
        if not len(passages):
            raise DataError("there are no passages to find: give at least one")
        self.tokenizer, self.passages, self.loss_of = tokenizer, passages, loss_of
        self.max_length = usable_length(tokenizer, max_length)

    def describe(self) -> dict[str, Any]:
        """What a resumed training must have in common: `max_length`, and a hash of the passages."""
        return {"max_length": self.max_length, "passages": content(list(self.passages))}

    def read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The texts as `input_ids` and `attention_mask`, (texts, tokens)."""
        pieces = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        return {name: torch.from_numpy(value) for name, value in to_batch(pieces, padding(self.tokenizer)).items()}

    def collate(self, rows: Sequence[Row], rng: np.random.Generator) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` of the queries; `passage_ids`, `passage_mask`: right ones, then negatives."""
        found = [row["positive"] for row in rows]
        found += [row["negatives"][rng.integers(len(row["negatives"]))] for row in rows if row.get("negatives")]
        passages = self.read([self.passages[one] for one in found])
        read = self.read([row["text"] for row in rows])
        return {**read, "passage_ids": passages["input_ids"], "passage_mask": passages["attention_mask"]}

    def vectors(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The texts' mean states, of length 1: (batch, d)."""
        states = backbone(model)(**model_inputs(backbone(model), batch)).last_hidden_state
        return F.normalize(mean_state(states.float(), batch["attention_mask"]), dim=-1)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """`loss_of` the batch's vectors, a scalar."""
        passages = {"input_ids": batch["passage_ids"], "attention_mask": batch["passage_mask"]}
        return self.loss_of(self.vectors(model, batch), self.vectors(model, passages))

    __call__ = loss

    def encode(self, model: nn.Module, texts: Sequence[str], batch_size: int = 64) -> Array:
        """The vectors of any number of texts: (texts, d) float32. Texts of like length are read together."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        sorted_ = over_rows(model, [texts[one] for one in order], self.read, self.vectors, batch_size)
        found = np.empty(sorted_.shape, np.float32)
        found[order] = sorted_.numpy()
        return found


def nearest(vectors: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """Exact search: for each query (n, d) the k passages with the largest inner products, and these: (n, k) twice."""
    scores = queries @ vectors.T
    found = np.stack([best(row, k) for row in scores])
    return found, np.take_along_axis(scores, found, 1)


def faiss_index(vectors: Array, kind: str) -> Any:
    """FAISS' index of that kind: "flat" looks at all vectors, "ivf" at the nearest clusters of them, "hnsw" follows a
    graph of neighbours. LabkitError where FAISS is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise LabkitError("FAISS is not installed: pip install 'labkit[retrieval]', or search with 'brute'") from error
    count, width = vectors.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 64
    else:
        clusters = max(1, min(int(4 * count**0.5), count // 39))  # FAISS wants 39 vectors a cluster to learn from
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, clusters, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, clusters // 16)
        index.train(vectors)
    index.add(vectors)
    return index


class DenseIndex:
    """The vectors of a method's passages, and the state of the encoder that they are of.

    `kind` is one of KINDS; "brute" needs no package.
    """

    def __init__(self, model: nn.Module, method: DualEncoder, kind: str = "brute") -> None:
        if kind not in KINDS:
            raise unknown("kind of index", kind, KINDS)
        self.model, self.method = model, method
        self.vectors = method.encode(model, method.passages)
        self.encoder = content(model.state_dict())
        self.faiss = None if kind == "brute" else faiss_index(self.vectors, kind)

    def rankings(self, queries: Sequence[str], k: int = 50) -> list[list[int]]:
        """The k nearest passages of each query. Errors as `found`."""
        return self.found(queries, k)[0].tolist()

    def search(self, query: str, k: int = 10) -> tuple[Array, Array]:
        """The k nearest passages of one query and their cosines: (k,) twice. Errors as `found`."""
        found, cosines = self.found([query], k)
        return found[0], cosines[0]

    def found(self, queries: Sequence[str], k: int) -> tuple[Array, Array]:
        """The k nearest passages of each query and their cosines: (queries, k) twice.

        Raises UsageError for an empty query, one of which the encoder knows no piece, and where the encoder has learned
        since the index was made.
        """
        if content(self.model.state_dict()) != self.encoder:
            raise UsageError("the index is older than its encoder, whose vectors have moved: make the index anew")
        for query in queries:
            self._check(query)
        asked, k = self.method.encode(self.model, queries), min(k, len(self.vectors))
        return nearest(self.vectors, asked, k) if self.faiss is None else self.faiss.search(asked, k)[::-1]

    def _check(self, query: str) -> None:
        tokenizer = self.method.tokenizer
        pieces = tokenizer(query, add_special_tokens=False)["input_ids"]
        if not query.strip() or not pieces:
            raise UsageError("the query is empty: type at least one word")
        if set(pieces) == {tokenizer.unk_token_id}:
            raise UsageError(f"the encoder knows no piece of {query[:60]!r}: ask in the language that it has read")


def with_negatives(rows: Sequence[Row], rankings: Sequence[Sequence[int]], most: int = 10) -> list[dict[str, Any]]:
    """The rows with `negatives`: the first `most` passages of their rankings that are not the `positive`."""
    mined = []
    for row, ranking in zip(rows, rankings, strict=True):
        wrong = [int(one) for one in ranking if one != row["positive"]][:most]
        mined.append({**row, "negatives": wrong})
    return mined


def ance(
    model: nn.Module, method: DualEncoder, rows: Sequence[Row], *, refreshes: int, steps: int, keep: Any = None,
    most: int = 10, batch_size: int = 32, seed: int = 0, **settings: Any,
) -> list[list[dict[str, Any]]]:  # fmt: skip
    """Train `refreshes` times for `steps` steps on what the encoder itself finds; its index is made anew before each.

    `keep(rows) -> rows` may change the mined rows (`reranking.denoised`). Returns the rows of each round. `settings`
    are those of `fit`.
    """
    mined = []
    for turn in range(refreshes):
        found = DenseIndex(model, method).rankings([row["text"] for row in rows], most + 1)
        some = with_negatives(rows, found, most)
        mined.append(keep(some) if keep else some)
        batches = Batches(mined[-1], method.collate, batch_size, seed=seed + turn)
        fit(model, method.loss, batches, steps=steps, seed=seed, **settings)
    return mined


def cloze_pairs(passages: Sequence[str], rng: random.Random) -> tuple[list[dict[str, Any]], list[str]]:
    """The inverse cloze task: rows `{text, positive}`, one sentence of a passage, and the passages without it.

    Pairs for pre-training without any question (Lee et al. 2019, *ORQA*, §4). WHOLE of the passages keep the
    sentence, so that finding the same words is worth something too. Passages of one sentence are left out.
    """
    rows: list[dict[str, Any]] = []
    rest: list[str] = []
    for passage in passages:
        mark = "。" if "。" in passage else "."
        sentences = [one.strip() for one in passage.split(mark) if one.strip()]
        if len(sentences) < 2:
            continue
        asked = rng.randrange(len(sentences))
        kept = sentences if rng.random() < WHOLE else sentences[:asked] + sentences[asked + 1 :]
        rows.append({"text": sentences[asked], "positive": len(rest)})
        rest.append(f" {mark} ".join(kept))
    return rows, rest
