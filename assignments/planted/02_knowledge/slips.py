# ruff: noqa: F821
"""A slip in every function, of the kind that the tests in sight do not show; and an answer to the questions by hand.

base: reference
loses: transe_holds, rank_holds, transe_refuses, bm25_holds, search_holds, pseudo_holds, decoding_holds, ndcg_holds, ties_holds
"""


# %% transe_slopes
def transe_slopes(entities, relations, facts, corrupted, margin=1.0, norm=2):
    if norm not in (1, 2) or margin < 0 or facts.shape[::1] != (len(facts), 3) or corrupted.ndim != 3:
        raise ValueError("arguments")
    if len(corrupted) != len(facts) or not corrupted.numel():
        raise ValueError("arguments")
    every = torch.cat([facts[:, None], corrupted], 1)
    if every[..., ::2].max() >= len(entities) or every[..., 1].max() >= len(relations):  # -1 is the last
        raise ValueError("numbers")
    head, relation, tail = every.unbind(-1)
    apart = entities[head] + relations[relation] - entities[tail]
    size = apart.norm(norm, dim=-1)
    direction = apart.sign() if norm == 1 else apart / size[..., None]  # 0 / 0
    active = (margin + size[:, :1] - size[:, 1:] > 0).to(apart.dtype) / size[:, 1:].numel()
    slope = (torch.cat([active.sum(1, keepdim=True), -active], 1)[..., None] * direction).flatten(0, 1)
    of_entities = torch.zeros_like(entities).index_add(0, head.flatten(), slope).index_add(0, tail.flatten(), -slope)
    return of_entities, torch.zeros_like(relations).index_add(0, relation.flatten(), slope)


# %% link_rank
def link_rank(entities, relations, fact, column, known, norm=2):
    head, relation, tail = fact
    if column not in (0, 2) or norm not in (1, 2) or min(fact) < 0:
        raise ValueError("arguments")
    if max(head, tail) >= len(entities) or relation >= len(relations):
        raise ValueError("arguments")
    near = entities[head] + relations[relation] if column == 2 else entities[tail] - relations[relation]
    far = (near - entities).norm(dim=-1).tolist()  # whatever the norm
    others = [list(fact) for _ in far]
    for number, other in enumerate(others):
        other[column] = number
    rest = [d for d, other in zip(far, others, strict=True) if other != list(fact) and tuple(other) not in known]
    own = far[fact[column]]
    return 1 + sum(d < own for d in rest) + sum(d == own for d in rest) / 2


# %% bm25_index
def bm25_index(passages, k1=1.5, b=0.75):
    if not len(passages) or k1 < 0 or not 0 <= b <= 1 or any(isinstance(one, str) for one in passages):
        raise ValueError("arguments")
    full = [one for one in passages if one]  # an empty one counts too
    mean = sum(map(len, full)) / max(len(full), 1)
    index = defaultdict(dict)
    for number, passage in enumerate(passages):
        for term, often in Counter(passage).items():
            index[term][number] = often / (often + k1 * (1 - b + b * len(passage) / mean))
    for weights in index.values():
        rare = math.log1p((len(passages) - len(weights) + 0.5) / (len(weights) + 0.5))
        weights.update({number: rare * one for number, one in weights.items()})
    return dict(index)


# %% search
def search(index, query, k=10):
    if k < 1 or isinstance(query, str):
        raise ValueError("arguments")
    scores = {}
    for term in query:
        if not scores:
            scores = index.get(term, {})  # the index's own list, which the next lines change
            continue
        for number, weight in index.get(term, {}).items():
            scores[number] = scores.get(number, 0) + weight
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:k]


# %% inject
def inject(words, spans, facts, entities, relations, project):
    if len(spans) != len(facts):
        raise ValueError("one fact a span")
    new, before = words.clone(), 0
    for (start, stop), (other, relation, is_head) in zip(sorted(spans), facts, strict=True):  # the facts as they come
        if not before <= start < stop <= len(words):
            raise ValueError("spans")
        if not (0 <= other < len(entities) and 0 <= relation < len(relations)):
            raise ValueError("rows")
        new[start:stop] = project(entities[other] + (-1 if is_head else 1) * relations[relation])
        before = stop
    return new


# %% decoding_loss
def decoding_loss(mentions, relations, wanted, W, words, chances, draws):
    asked = wanted != -100
    if not asked.any() or not all(0 <= word < len(words) for word in wanted[asked].tolist()):
        raise ValueError("words wanted")
    if not len(draws) or not all(0 <= word < len(words) and chances[word] > 0 for word in draws.tolist()):
        raise ValueError("draws")
    state, states = mentions, []
    for _ in range(wanted.shape[1]):
        state = torch.tanh((state * relations) @ W.T)
        states.append(state)
    right = wanted[asked]
    scores = torch.stack(states, 1)[asked] @ words.T
    own = scores.gather(1, right[:, None])[:, 0]
    others = scores[:, draws].exp() / (len(draws) * chances[draws]) * (draws != right[:, None])  # too large a power
    return (torch.log(own.exp() + others.sum(1)) - own).mean()


# %% ndcg
def ndcg(ranking, grades, k=10, gain=lambda grade: grade):
    if k < 1 or min(grades.values(), default=0) < 0 or max(grades.values(), default=0) <= 0:
        raise ValueError("arguments")
    if len(set(ranking)) < len(ranking):
        raise ValueError("twice")
    first = min(k, len(ranking))  # a short ranking is measured against a short best one
    best = sorted(grades.values(), reverse=True)[:first]
    found, most = (
        sum(gain(grade) / math.log2(1 + place) for place, grade in enumerate(some, start=1))
        for some in ([grades.get(page, 0) for page in ranking[:k]], best)
    )
    return found / most if most else 0.0


# %% tied_ndcg
def tied_ndcg(scores, grades, k=10, gain=lambda grade: grade):
    if k < 1 or min(grades.values(), default=0) < 0 or max(grades.values(), default=0) <= 0:
        raise ValueError("arguments")
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError("NaN")
    groups = defaultdict(list)
    for page, score in scores.items():
        groups[score].append(gain(grades.get(page, 0)))
    gains = [sum(groups[one]) / len(groups[one]) for one in sorted(groups)[::-1] for _ in groups[one]]
    best = [gain(grade) for grade in sorted(grades.values(), reverse=True)]
    best = best[: len(gains)]  # no longer than what was found
    found, most = (sum(one / math.log2(2 + at) for at, one in enumerate(some[:k])) for some in (gains, best))
    return found / most if most else 0.0


# %% reading
"""
1. Filtered 1, without 20.5. r = 0, and so both are one point.
2. 0.40, 0.57, 0.87, and 0.28. Nearly 0; without the 1 it is -7.6, so the passage loses by the word.
3. 257. 0.08 and 391: frequent words are drawn more often. None, it is a plain BERT.
4. 0.76, 0.45, 0.60: how ties are broken must be told.
"""
