"""DKPLM (Zhang et al. 2022, *DKPLM: decomposable knowledge-enhanced pre-trained language model*): facts of a graph are
taught while a BERT is pre-trained on, and the graph is needed never again.

    text      fritz lang was born in north cedar .           fritz lang is spoken of rarely, so it is *injected*:
    reads     ⟨e⟩   ⟨e⟩  was born in north cedar .           ⟨e⟩ stands for "made the film wild moon, turned back"
    says      hidden words, as ever; and, from the state at ⟨e⟩ and the relation: wild moon

Everything that is not BERT (a projection of the graph's vectors, a decoder) lives in the objective, a module that `fit`
trains beside the model and that is thrown away: what stays has BERT's keys, and is tuned and served as BERT is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from labkit.errors import DataError, UsageError
from labkit.evaluation import over_rows
from labkit.foundations.encoder import backbone, mean_state, to_batch, unwrapped
from labkit.foundations.pretraining import IGNORE, MaskedLM
from labkit.foundations.pretraining.rows import TokenRows
from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.linking import longest_first
from labkit.knowledge.transe import TransE
from labkit.training.batches import weight_of

HOPS = (1, 2)  # R_min < distance <= R_max: whoever is that far counts for an entity's connections
SENTENCES = 4  # of an entity, over which its importance is a mean
Mention = tuple[int, int, int]  # first token, the token after the last, entity


# Which mentions


def semantic_importance(whole: Tensor, without: Tensor) -> Tensor:
    """SI = 1 / cos(h, h'), (n,), of texts' vectors (n, d) with a mention and without it: from 1, where nothing is
    missed, upwards. A cosine below 0.01 counts as 0.01.
    """
    return 1 / F.cosine_similarity(whole, without, dim=-1).clamp(min=0.01)


def connectivity(graph: KnowledgeGraph, entity: int, hops: tuple[int, int] = HOPS) -> int:
    """KC: how many entities are more than `hops[0]` and at most `hops[1]` facts away."""
    around = graph.around(graph.entities[entity], hops[1]).distance
    return sum(distance > hops[0] for distance in around.values())


def long_tail(frequency: np.ndarray, importance: np.ndarray, connections: np.ndarray, below: float) -> np.ndarray:
    """KLT(e) = 1[freq(e) < R] · SI(e) · KC(e), each (entities,), with R = `below`. An entity of no importance on
    record (NaN: it is never mentioned) has 0.
    """
    return np.where(frequency < below, np.nan_to_num(importance) * connections, 0.0)


@torch.no_grad()
def importance(model: nn.Module, rows: Sequence[Mapping[str, Any]], entities: int, pad: int) -> np.ndarray:
    """SI of every entity, (entities,), a mean over its first SENTENCES mentions in `rows` of `linked`; NaN where it has
    none. A text's vector is the mean of its last states; without a mention, its tokens are taken out.
    """
    seen, texts, cut, whose = [0] * entities, [], [], []
    for row in rows:
        for start, stop, entity in row["mentions"]:
            if seen[entity] < SENTENCES:
                seen[entity] += 1
                texts.append(row["input_ids"])
                cut.append(np.delete(row["input_ids"], range(start, stop)))
                whose.append(entity)
    if not texts:
        return np.full(entities, np.nan)

    def padded(some: Sequence[np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value) for name, value in to_batch(some, pad).items()}

    def mean(body: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return mean_state(body(**batch).last_hidden_state, batch["attention_mask"])

    whole, without = (over_rows(backbone(model), some, padded, mean) for some in (texts, cut))

    values, who = semantic_importance(whole, without).numpy(), np.array(whose)
    totals, counts = np.bincount(who, values, entities), np.bincount(who, minlength=entities)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def names_of(tokenizer: PreTrainedTokenizerBase, graph: KnowledgeGraph) -> dict[tuple[int, ...], int]:
    """The token ids of every entity's name -> the entity. DataError for a name that the tokenizer does not know, and
    for two names that it cannot tell apart.
    """
    found: dict[tuple[int, ...], int] = {}
    for entity, ids in enumerate(tokenizer(list(graph.entities), add_special_tokens=False)["input_ids"]):
        if not ids or tokenizer.unk_token_id in ids or tuple(ids) in found:
            what = "is another's too" if tuple(ids) in found else "is unknown to the tokenizer"
            raise DataError(
                f"the name {graph.entities[entity]!r} {what}: give every entity a name of known words of its own"
            )
        found[tuple(ids)] = entity
    return found


def linked(rows: TokenRows, names: Mapping[tuple[int, ...], int]) -> list[dict[str, Any]]:
    """Rows of `tokenize_corpus` with their "mentions": `names` are token ids -> entity."""
    return [{**row, "mentions": longest_first(row["input_ids"].tolist(), names)} for row in rows]


# What is read in their place, and what is said there


def pseudo_token(other: Tensor, relation: Tensor, is_head: Tensor) -> Tensor:
    """The mention's stand-in in the graph's space, (n, k): e_t − r where it is its triple's head, e_h + r where it is
    the tail. `other` (n, k) is the triple's other entity, `relation` (n, k), `is_head` (n,) bool.
    """
    return torch.where(is_head[:, None], other - relation, other + relation)


def sampled_loss(scores: Tensor, wanted: Tensor, chances: Tensor, draws: Tensor) -> Tensor:
    """Sampled softmax, a mean over n words: `scores` (n, vocabulary), `wanted` (n,), `draws` (q,) words drawn with
    `chances` (vocabulary,), each draw's score less log(q · chance), so that a frequent word is no worse a negative for
    being drawn often. A draw that is the word wanted is left out (Jean et al. 2015, §3.2; Bengio & Senécal 2008).
    """
    right = scores.gather(1, wanted[:, None])
    wrong = scores[:, draws] - (len(draws) * chances[draws]).log()
    wrong = wrong.masked_fill(draws == wanted[:, None], -torch.inf)
    return (torch.cat([right, wrong], 1).logsumexp(1) - right[:, 0]).mean()


def inside(starts: Tensor, stops: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Which mention (n,) and which place, for every token of mentions from `starts` to before `stops`, (n,) each."""
    places = torch.arange(length, device=starts.device)
    return ((places >= starts[:, None]) & (places < stops[:, None])).nonzero(as_tuple=True)


def decoded(mentions: Tensor, relations: Tensor, step: Callable[[Tensor], Tensor], tokens: int) -> Tensor:
    """The states (n, tokens, d) from which the other entities' tokens are said, of mentions and relations (n, d):

    hᵢ = tanh(step(hᵢ₋₁ ⊙ r)), h₀ the mention; `step` is a linear layer from d to d.
    """
    state, states = mentions, []
    for _ in range(tokens):
        state = torch.tanh(step(state * relations))
        states.append(state)
    return torch.stack(states, 1)


def relational_loss(
    mentions: Tensor, relations: Tensor, wanted: Tensor, step: Callable[[Tensor], Tensor],
    say: Callable[[Tensor], Tensor], chances: Tensor, draws: Tensor,
) -> Tensor:  # fmt: skip
    """L_De, a mean over all tokens of the names `wanted` (n, tokens), −100 behind a shorter one, of mentions and
    relations (n, d): `say` gives the words' scores (…, vocabulary) of states (…, d).
    """
    asked = wanted != IGNORE
    states = decoded(mentions, relations, step, wanted.shape[1])[asked]
    return sampled_loss(say(states), wanted[asked], chances, draws)


class DKPLM(nn.Module):
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit, the model a `BertForMaskedLM`.

    L = λ₁ · L_MLM + (1 − λ₁) · L_De, in nats. Rows are of `linked`. At most `most` mentions per text, of the entities
    `targets`, are chosen, each with a fact of `graph` about it whose other entity the text does not mention, if there
    is one (else the decoder would copy). A chosen mention is read as its stand-in in a share `inject` of all cases,
    else as it is written; either way its tokens are never asked for, and the fact is decoded from its state after layer
    `layer` (−1: the last), unless `lambda_1` is 1. `names` are token ids -> entity, `vectors` the graph's; `pseudo`
    and `read` may be your own.

    The paper has `inject=1`, the last layer, and takes the decoder's relations from the graph's vectors; here they are
    learned, two per relation, for it is read from the head and from the tail.
    """

    def __init__(
        self, model: nn.Module, masked: MaskedLM, graph: KnowledgeGraph, vectors: TransE,
        names: Mapping[tuple[int, ...], int], targets: Sequence[int], *, lambda_1: float = 0.5, samples: int = 256,
        most: int = 1, inject: float = 1.0, layer: int = -1, pseudo: Callable[..., Tensor] = pseudo_token,
        read: Callable[..., Tensor] = relational_loss,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < lambda_1 <= 1:
            raise UsageError(f"lambda_1={lambda_1}: the share of masked language modelling must lie in (0, 1]")
        d = unwrapped(model).config.hidden_size
        self.masked, self.lambda_1, self.samples, self.most = masked, lambda_1, samples, most
        self.inject, self.layer, self.pseudo, self.read = inject, layer, pseudo, read
        self.facts = facts_of(graph, targets)
        self.register_buffer("tokens", padded_names(names, len(graph.entities)), persistent=False)
        words = self.tokens[torch.from_numpy(graph.triples[:, [0, 2]]).flatten()]
        counts = torch.bincount(words[words != IGNORE], minlength=len(masked.tokenizer)).float()
        self.register_buffer("chances", counts / counts.sum(), persistent=False)
        for name in ("entities", "relations"):
            self.register_buffer(name, getattr(vectors, name).detach().clone(), persistent=False)
        self.project = nn.Linear(self.entities.shape[1], d)
        # A stand-in is about as long as a word's vector, as the graph's vectors are of length 1.
        nn.init.normal_(self.project.weight, 0, unwrapped(model).get_input_embeddings().weight.std().item())
        self.norm, self.step, self.said = nn.LayerNorm(d), nn.Linear(d, d), nn.Embedding(2 * len(graph.relations), d)
        nn.init.normal_(self.said.weight, 1.0, 0.3)  # near 1: at first every relation lets the mention through

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `MaskedLM` has; of up to `most` chosen mentions of each row "spans" (batch, most, 3), first token, the
        one after the last, whether the stand-in is read, −1 where there is none; "triples" (batch, most, 3), the other
        entity, the relation, whether the mention is the head; "count:decoding" (batch,), tokens to decode.

        DataError naming the row for mentions that overlap, lie outside the text, or are of an unknown entity.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        batch, tokens = self.masked.collate(rows, rng), self.tokens.cpu()
        spans = torch.full((len(rows), self.most, 3), -1)
        triples = torch.zeros(len(rows), self.most, 3, dtype=torch.long)
        for number, row in enumerate(rows):
            check_mentions(row, number + 1, len(tokens))
            own = [one for one in row["mentions"] if one[2] in self.facts]
            for nth, at in enumerate(rng.permutation(len(own))[: self.most]):
                start, stop, entity = own[at]
                spans[number, nth] = torch.tensor([start, stop, int(rng.random() < self.inject)])
                triples[number, nth] = torch.tensor(self.fact(entity, row["mentions"], rng))
                batch["input_ids"][number, start:stop] = torch.as_tensor(row["input_ids"][start:stop]).long()
                batch["labels"][number, start:stop] = IGNORE
        batch["count"] = (batch["labels"] != IGNORE).sum(1)
        said = (tokens[triples[..., 0]] != IGNORE) & (spans[..., :1] >= 0)  # (batch, most, tokens of a name)
        return batch | {"spans": spans, "triples": triples, "count:decoding": said.sum((1, 2))}

    def fact(self, entity: int, mentions: Sequence[Mention], rng: np.random.Generator) -> tuple[int, int, bool]:
        """One of the entity's facts, (other, relation, is the entity its head?), if possible of an `other` that is not
        mentioned.
        """
        there = {one[2] for one in mentions}
        facts = [one for one in self.facts[entity] if one[0] not in there] or self.facts[entity]
        return facts[rng.integers(len(facts))]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L of a batch, a scalar in nats."""
        bert, asked = unwrapped(model), batch["labels"] != IGNORE
        row, nth = (batch["spans"][..., 0] >= 0).nonzero(as_tuple=True)  # (n,) chosen mentions
        (start, stop, replaced), triples = batch["spans"][row, nth].T, batch["triples"][row, nth]
        which, place = inside(start, stop, batch["input_ids"].shape[1])
        words = bert.get_input_embeddings()(batch["input_ids"])  # (batch, tokens, d)
        here = replaced[which] == 1
        words = words.index_put((row[which[here]], place[here]), self.stand_ins(triples)[which[here]])
        states = bert.base_model(
            inputs_embeds=words, attention_mask=batch["attention_mask"], output_hidden_states=True
        ).hidden_states
        logits = bert.cls(states[-1][asked]).float()
        hidden = F.cross_entropy(logits, batch["labels"][asked]) if len(logits) else logits.sum()
        if self.lambda_1 == 1 or not len(row):
            return hidden
        read = states[self.layer][row[which], place]  # (tokens of mentions, d)
        mentions = read.new_zeros(len(row), read.shape[-1]).index_add(0, which, read) / (stop - start)[:, None]
        said = self.decoding_loss(bert, mentions, triples)
        return self.lambda_1 * hidden + (1 - self.lambda_1) * weight_of(batch, "decoding") * said

    __call__ = loss

    def stand_ins(self, triples: Tensor) -> Tensor:
        """The word vectors (n, d) that stand for mentions with these triples (n, 3)."""
        other, relation, is_head = triples.T
        return self.project(self.pseudo(self.entities[other], self.relations[relation], is_head.bool()))

    @torch.no_grad()
    def says(self, model: nn.Module, entities: Sequence[int], relations: Sequence[int]) -> Tensor:
        """What the decoder says of heads through relations, (n,) both: log-probabilities (n, tokens, vocabulary). Each
        head's name stands alone in a text, as it is written.
        """
        bert, tokens, ends = unwrapped(model), self.tokens[list(entities)], self.masked.tokenizer
        texts = [[ends.cls_token_id, *name[name != IGNORE].tolist(), ends.sep_token_id] for name in tokens]
        batch = {name: torch.from_numpy(value) for name, value in to_batch(texts, ends.pad_token_id).items()}
        states = bert.base_model(**batch, output_hidden_states=True).hidden_states[self.layer]
        named = F.pad(tokens != IGNORE, (1, states.shape[1] - tokens.shape[1] - 1)).float()  # (n, tokens of a text)
        mentions = (states * named[..., None]).sum(1) / named.sum(1, keepdim=True)
        r = self.said(2 * torch.as_tensor(relations) + 1)
        said = decoded(self.norm(mentions), r, self.step, tokens.shape[1])
        return bert.get_output_embeddings()(said).float().log_softmax(-1)

    def decoding_loss(self, bert: nn.Module, mentions: Tensor, triples: Tensor) -> Tensor:
        """L_De of mentions (n, d): the mean over the tokens of the other entities' names, a scalar in nats."""
        other, relation, is_head = triples.T
        draws = torch.multinomial(self.chances, self.samples, replacement=True)
        return self.read(
            self.norm(mentions), self.said(2 * relation + is_head), self.tokens[other], self.step,
            lambda states: bert.get_output_embeddings()(states).float(), self.chances, draws,
        )  # fmt: skip


def facts_of(graph: KnowledgeGraph, targets: Sequence[int]) -> dict[int, list[tuple[int, int, bool]]]:
    """Target -> its facts, (other, relation, is it the head?). DataError for one that has none."""
    facts: dict[int, list[tuple[int, int, bool]]] = {int(one): [] for one in targets}
    for head, relation, tail in graph.triples.tolist():
        if head in facts:
            facts[head].append((tail, relation, True))
        if tail in facts:
            facts[tail].append((head, relation, False))
    for entity, own in facts.items():
        if not own:
            raise DataError(f"{graph.entities[entity]!r} stands in no triple: leave it out of the targets")
    return facts


def padded_names(names: Mapping[tuple[int, ...], int], entities: int) -> Tensor:
    """The tokens of each entity's name, (entities, longest), −100 behind it. DataError for an entity without one."""
    by_entity = {entity: ids for ids, entity in names.items()}
    missing = next((one for one in range(entities) if one not in by_entity), None)
    if missing is not None or not entities:
        raise DataError(f"entity {missing} has no name of its own: give `names` the token ids of every entity")
    rows = [by_entity[one] for one in range(entities)]
    longest = max(map(len, rows))
    return torch.tensor([[*ids, *[IGNORE] * (longest - len(ids))] for ids in rows])


def check_mentions(row: Mapping[str, Any], number: int, entities: int) -> None:
    """DataError unless the row's mentions stand in its text, none in another, each of one of the entities."""
    before = 0
    for start, stop, entity in sorted(row.get("mentions", ())):
        where = f"row {number} of the batch: the mention at tokens {start} to {stop - 1}"
        if not (0 <= start < stop <= len(row["input_ids"])):
            raise DataError(
                f"{where} lies outside the text's {len(row['input_ids'])} tokens: link the text that is given"
            )
        if start < before:
            raise DataError(f"{where} overlaps the one before it: keep the longer of the two, as `linked` does")
        if not 0 <= entity < entities:
            raise DataError(
                f"{where} is of entity {entity}, and the graph has {entities}: link with the graph's own names"
            )
        before = stop
