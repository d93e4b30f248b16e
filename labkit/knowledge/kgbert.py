"""KGBERT, of PAI's FewCLUE system (Alibaba 2021): a BERT reads, beside a sentence, the facts that its gates let in.

    sentence     anna reed was born in [MASK] [MASK] .
    facts        anna reed born in far cedar        gate 0.9     (positive: the sentence states it)
                 anna reed likes soup               gate 0.1     (about the same person)
                 ben cole owns wild moon            gate 0.0     (negative: about nobody here)

The article names the parts and gives no formulas; these are ours. The facts around the sentence's entities are a
graph, whose nodes a GCN mixes with their neighbours. Each fact's vector, against the sentence's, gives its gate. The
facts' words stand behind the sentence, and what a word of the sentence pays to a fact's words is multiplied by the
gate: a fact whose gate is 0 is not there. Gates are trained by what the facts are worth, the loss at hidden words
without them less the loss with them, and each open gate has its price. What is not BERT lives in the objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import DataError, UsageError, unknown
from labkit.foundations.encoder import mean_state, to_batch, unwrapped
from labkit.foundations.pretraining import IGNORE, MaskedLM
from labkit.knowledge.dkplm import Mention, check_mentions, padded_names
from labkit.knowledge.graph import KnowledgeGraph
from labkit.knowledge.linking import longest_first
from labkit.training.batches import weight_of

TASKS = ("mentions", "joint", "margin")
CLOSED = 1e-30  # a gate of 0: its logarithm is a number, and what it lets through is lost in rounding
SHARP = 0.5  # the smaller, the nearer is a drawn gate to 0 or 1
HIDING = 0.25  # share of facts of which words are hidden, in joint masking: the others must stay readable


def aggregate(nodes: Tensor, edges: Tensor) -> Tensor:
    """D^-½ (A + I) D^-½ X, a graph convolution without its weights (Kipf & Welling 2017, eq. 2): `nodes` (n, d), each
    of the `edges` (m, 2) once and meant both ways, D the degrees with the loop that I adds.
    """
    loops = torch.arange(len(nodes), device=nodes.device)[:, None].expand(-1, 2)
    source, target = torch.cat([edges, edges.flip(1), loops]).T  # (2m + n,)
    scale = torch.bincount(target, minlength=len(nodes)).to(nodes.dtype).rsqrt()
    return torch.zeros_like(nodes).index_add(0, target, nodes[source] * (scale[source] * scale[target])[:, None])


def match(sentences: Tensor, facts: Tensor) -> Tensor:
    """How well facts (b, k, d) fit sentences (b, d): q · t / √d, (b, k). A gate is the sigmoid of it."""
    return (facts @ sentences[..., None])[..., 0] / sentences.shape[-1] ** 0.5


def visible(owner: Tensor, gates: Tensor) -> Tensor:
    """What each token (row) may read of each other one (column), (b, n, n) in [0, 1].

    `owner` (n,) is −1 for the sentence's tokens and i for those of fact i, `gates` (b, k). All read the sentence, a
    fact reads itself and no other fact, and the sentence reads fact i as far as its gate is open.
    """
    same = (owner[:, None] == owner) | (owner == -1)  # (n, n)
    read = gates[:, owner.clamp(min=0)][:, None] * (owner == -1)[:, None]  # (b, n, n)
    return torch.where(same, torch.ones_like(read), read)


def gain_loss(without: Tensor, given: Tensor, gates: Tensor, price: float) -> Tensor:
    """Minus the knowledge gain, plus what it cost: L_with − L_without + price · Σ gates, a mean over the sentences.

    `without` and `given` are the losses without and with the facts, scalars; nothing is to be learned from making the
    first one larger, so it is a constant here. `gates` (b, k), 0 where there is no fact.
    """
    return given - without.detach() + price * gates.sum(1).mean()


def margin_loss(scores: Tensor, related: Tensor, real: Tensor, margin: float) -> Tensor:
    """[margin − s⁺ + s⁻]₊, a mean over all pairs of a related and an unrelated fact of one sentence; 0 without a pair.

    `scores` (b, k), `related` (b, k) bool, `real` (b, k) bool: false where there is no fact.
    """
    apart = margin - scores[:, :, None] + scores[:, None]  # (b, k, k): related, unrelated
    pairs = (related & real)[:, :, None] & (real & ~related)[:, None]
    return (apart.clamp(min=0) * pairs).sum() / pairs.sum().clamp(min=1)


class KGBERT(nn.Module):
    """The objective: `.collate(rows, rng)` for Batches, `.loss(model, batch)` for fit, the model a `BertForMaskedLM`;
    `.read(model, texts)` makes batches of texts with their facts beside them, for any use of the model.

    L = L_MLM − gain + price · Σ gates + the losses of `tasks`, all in nats:

    - "mentions": of each word, does it belong to a mention of an entity?
    - "joint": words are hidden in a quarter of the facts too, and told from the fact and the sentence;
    - "margin": facts that the sentence states fit it better than others (see `margin_loss`).

    Rows are of `linked`. Each gets up to `most` facts of `graph`: those that it states (both ends are mentioned), then
    others about its entities, and `planted` about nobody in it. `texts` say the graph's triples, in their order;
    `names` are token ids -> entity. `gated=False` leaves all gates open. `gcn`, `fit`, `sees`, `gain` and `apart` may
    be your own. In training mode gates are drawn near 0 or 1, with the gate as the chance (binary concrete, Louizos et
    al. 2018, §2.2): what is half open could be made up for by a larger score in attention.
    """

    def __init__(
        self, model: nn.Module, masked: MaskedLM, graph: KnowledgeGraph, texts: Sequence[str],
        names: Mapping[tuple[int, ...], int], *, tasks: Sequence[str] = TASKS, gated: bool = True, price: float = 0.03,
        margin: float = 1.0, most: int = 5, planted: int = 2, gcn: Callable[..., Tensor] = aggregate,
        fit: Callable[..., Tensor] = match, sees: Callable[..., Tensor] = visible,
        gain: Callable[..., Tensor] = gain_loss, apart: Callable[..., Tensor] = margin_loss,
    ) -> None:  # fmt: skip
        super().__init__()
        if wrong := next((task for task in tasks if task not in TASKS), None):
            raise unknown("task", wrong, TASKS)
        if not 0 <= planted < most:
            raise UsageError(f"planted={planted}, most={most}: 0 <= planted < most is needed")
        self.masked, self.graph, self.names, self.tasks, self.gated = masked, graph, names, tuple(tasks), gated
        self.price, self.margin, self.most, self.planted = price, margin, most, planted
        self.gcn, self.fit, self.sees, self.gain, self.apart = gcn, fit, sees, gain, apart
        self.register_buffer("triples", torch.from_numpy(graph.triples), persistent=False)
        self.register_buffer("spoken", _spoken(masked, graph, texts), persistent=False)
        words = padded_names(names, len(graph.entities))  # (entities, longest), −100 behind a shorter one
        self.register_buffer("words", words, persistent=False)
        d = unwrapped(model).config.hidden_size
        self.norm, self.mix, self.relations = nn.LayerNorm(d), nn.Linear(d, d), nn.Embedding(len(graph.relations), d)
        self.sentence, self.fact, self.bias = nn.Linear(d, d), nn.Linear(3 * d, d), nn.Parameter(torch.ones(()))
        self.mention = nn.Linear(d, 2)

    # A sentence and its facts

    def facts(
        self, mentions: Sequence[Mention], rng: np.random.Generator, most: int, planted: int
    ) -> tuple[list[int], list[bool]]:
        """Numbers of triples, `most` at most, and which of them have both ends among the mentions; those come first,
        then others with one end there, and at the end `planted` with none.
        """
        there = {entity for _, _, entity in mentions}
        near = sorted({row for entity in there for row in self.graph.rows(entity)})
        stated = [row for row in near if there.issuperset(self.graph.triples[row, [0, 2]].tolist())]
        about = rng.permutation([row for row in near if row not in stated]).astype(int).tolist()
        kept = [*stated, *about][: most - planted]
        others = np.setdiff1d(np.arange(len(self.graph.triples)), near)
        drawn = rng.choice(others, min(planted, len(others)), replace=False).tolist()
        return [*kept, *drawn], [row in stated for row in (*kept, *drawn)]

    def beside(self, batch: dict[str, Tensor], chosen: Sequence[tuple[list[int], list[bool]]]) -> dict[str, Tensor]:
        """The batch with "facts" (batch, k), numbers of triples, −1 where there is none, "related" (batch, k) bool,
        their words "spo" (batch, k, words).
        """
        most = max(1, *(len(facts) for facts, _ in chosen))
        rows = [
            (facts + [-1] * (most - len(facts)), related + [False] * (most - len(facts))) for facts, related in chosen
        ]
        facts, related = (torch.tensor(part) for part in zip(*rows, strict=True))
        return batch | {"facts": facts, "related": related, "spo": self.spoken.cpu()[facts]}

    def collate(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """What `MaskedLM` and `beside` have; "spo_labels" as "spo", "mentioned" (batch, tokens), −100 behind a text.

        DataError naming the row for mentions that overlap, lie outside the text, or are of an unknown entity.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        batch = self.masked.collate(rows, rng)
        for number, row in enumerate(rows, 1):
            check_mentions(row, number, len(self.graph.entities))
        batch = self.beside(batch, [self.facts(row["mentions"], rng, self.most, self.planted) for row in rows])
        batch["mentioned"] = torch.where(batch["attention_mask"] == 1, 0, IGNORE)
        for number, row in enumerate(rows):
            for start, stop, _ in row["mentions"]:
                batch["mentioned"][number, start:stop] = 1
        spo, labels = (torch.from_numpy(part) for part in self.masked.hide(batch["spo"].numpy(), None, rng))
        some = torch.from_numpy(rng.random(labels.shape[:2]) < HIDING * ("joint" in self.tasks))[..., None]
        batch |= {"spo": torch.where(some, spo, batch["spo"]), "spo_labels": torch.where(some, labels, IGNORE)}
        counted = {"joint": batch["spo_labels"] != IGNORE, "mentions": batch["mentioned"] != IGNORE}
        counts = {f"count:{name}": value.flatten(1).sum(1) for name, value in counted.items()}
        positive, real = batch["related"].sum(1), (batch["facts"] >= 0).sum(1)
        return batch | counts | {"count:margin": positive * (real - positive), "count:sentences": torch.ones(len(rows))}

    def scores(self, bert: nn.Module, batch: Mapping[str, Tensor], states: Tensor) -> Tensor:
        """How well each fact fits, (batch, k): its gate before the sigmoid. `states` are the sentences' own."""
        facts, size = batch["facts"], len(self.words)
        row, place = (facts >= 0).nonzero(as_tuple=True)  # (n,) facts
        head, relation, tail = self.triples[facts[row, place]].T
        nodes, ends = (torch.stack([head, tail]) + size * row).unique(return_inverse=True)  # ends (2, n)
        words = self.words[nodes % size]
        named = bert.get_input_embeddings()(words.clamp(min=0))  # (nodes, longest, d)
        x = torch.tanh(self.mix(self.gcn(self.norm(mean_state(named, words != IGNORE)), ends.T)))
        made = self.fact(torch.cat([x[ends[0]], self.relations(relation), x[ends[1]]], 1))  # (n, d)
        vectors = made.new_zeros(*facts.shape, made.shape[1]).index_put((row, place), made)
        return self.fit(self.sentence(mean_state(states, batch["attention_mask"])), vectors) + self.bias

    def gates(self, scores: Tensor, facts: Tensor) -> Tensor:
        """Gates (batch, k), 0 where there is no fact."""
        return (scores.sigmoid() if self.gated else torch.ones_like(scores)) * (facts >= 0)

    def joined(self, batch: Mapping[str, Tensor], gates: Tensor) -> dict[str, Tensor]:
        """What the model reads: each sentence and behind it the words of its facts, all of which count their positions
        on from the sentence's end. The attention mask (batch, 1, n, n) is the logarithm of what is visible.
        """
        (_, tokens), (_, k, length) = batch["input_ids"].shape, batch["spo"].shape
        if not k:
            return {name: batch[name] for name in ("input_ids", "attention_mask")}
        ids = torch.cat([batch["input_ids"], batch["spo"].flatten(1)], 1)
        there = torch.cat(
            [batch["attention_mask"] == 1, (batch["spo"] != self.masked.tokenizer.pad_token_id).flatten(1)], 1
        )
        count = torch.arange(max(tokens, length), device=ids.device)
        owner = torch.cat(
            [torch.full_like(count[:tokens], -1), torch.arange(k, device=ids.device).repeat_interleave(length)]
        )
        behind = batch["attention_mask"].sum(1, keepdim=True) + count[:length].repeat(k)
        seen = self.sees(owner, gates) * there[:, None]  # (batch, n, n)
        return {"input_ids": ids, "attention_mask": seen.clamp(min=CLOSED).log()[:, None],
                "position_ids": torch.cat([count[:tokens].expand(len(ids), -1), behind], 1)}  # fmt: skip

    # Learning

    def parts(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss at hidden words "without" the facts and with them ("given") and those of the tasks, scalars in nats;
        "gates" and "scores" (batch, k).
        """
        bert, labels = unwrapped(model), batch["labels"]
        plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
        states = bert.base_model(**plain).last_hidden_state
        scores, tokens = self.scores(bert, batch, states), labels.shape[1]
        gates = self.gates(scores, batch["facts"])
        drawn = self.gates((scores + _logistic(scores)) / SHARP, batch["facts"]) if bert.training else gates
        both = bert.base_model(**self.joined(batch, drawn)).last_hidden_state
        found = {"without": _told(bert.cls, states, labels), "given": _told(bert.cls, both[:, :tokens], labels)}
        if "mentions" in self.tasks:
            found["mentions"] = _told(self.mention, states, batch["mentioned"])
        if "joint" in self.tasks:
            found["joint"] = _told(bert.cls, both[:, tokens:], batch["spo_labels"].flatten(1))
        if "margin" in self.tasks:
            found["margin"] = self.apart(scores, batch["related"], batch["facts"] >= 0, self.margin)
        return found | {"gates": gates, "scores": scores}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """L of a batch, a scalar in nats."""
        found = self.parts(model, batch)
        price = self.price * weight_of(batch, "sentences")
        total = found["without"] + self.gain(found["without"], found["given"], found["gates"], price)
        return total + sum(weight_of(batch, task) * found[task] for task in self.tasks)

    __call__ = loss

    # Reading

    @torch.no_grad()
    def read(
        self, model: nn.Module, texts: Sequence[str], *, planted: int = 0, keep: int | None = None, seed: int = 0
    ) -> dict[str, Tensor]:
        """A batch for the model: the texts, and beside each all facts about the entities that it names and `planted`
        others; of these the `keep` with the widest gates, or as many as fit into what the model can read. "facts"
        (batch, k) are their numbers, −1 where there is none, "gates" (batch, k), from the widest down.
        """
        bert, rng = unwrapped(model), np.random.default_rng(seed)
        batch = self.masked.tokenizer(list(texts), return_tensors="pt", padding=True).to(self.bias.device)
        mentions = [longest_first(ids, self.names) for ids in batch["input_ids"].tolist()]
        plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
        beside = self.beside(plain, [self.facts(some, rng, len(self.triples) + planted, planted) for some in mentions])
        beside = {name: value.to(self.bias.device) for name, value in beside.items()}
        gates = self.gates(self.scores(bert, beside, bert.base_model(**plain).last_hidden_state), beside["facts"])
        room = max(0, bert.config.max_position_embeddings - plain["input_ids"].shape[1]) // self.spoken.shape[1]
        best = gates.sort(dim=1, descending=True, stable=True).indices[:, : room if keep is None else min(room, keep)]
        gates, facts = gates.gather(1, best), beside["facts"].gather(1, best)
        kept = beside | {"spo": self.spoken[facts]}
        return self.joined(kept, gates) | {"facts": facts, "gates": gates}


def _told(head: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy where labels (batch, tokens) ask something of states (batch, tokens, d); else 0."""
    asked = labels != IGNORE
    logits = head(states[asked]).float()
    return F.cross_entropy(logits, labels[asked]) if len(logits) else logits.sum()


def _logistic(like: Tensor) -> Tensor:
    """Noise of the logistic distribution: a score and it are above 0 with the chance sigmoid(score)."""
    return torch.rand_like(like).clamp(1e-6, 1 - 1e-6).logit()


def _spoken(masked: MaskedLM, graph: KnowledgeGraph, texts: Sequence[str]) -> Tensor:
    """Token ids of each triple's text, (triples + 1, longest), padded; the last row, which −1 finds, is empty.

    DataError for a triple without a text, and for one of which the tokenizer does not know a word.
    """
    tokenizer, size = masked.tokenizer, len(graph.triples)
    if len(texts) != size:
        raise DataError(f"{len(texts)} texts for {size} triples: give one for each, in the graph's order")
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if size else []
    for triple, text, ids in zip(graph.triples, texts, found, strict=True):
        if not ids or tokenizer.unk_token_id in ids:
            named = ", ".join(graph.named(triple))
            raise DataError(f"the text {text!r} of ({named}) is empty or has unknown words: say it in words it knows")
    return torch.from_numpy(to_batch([*found, []], tokenizer.pad_token_id)["input_ids"])
