# ruff: noqa: F821
"""The likely mistakes that the tests in sight name: no [x]₊, slopes of one triple where many add up, the raw rank, an idf that falls
below 0, terms that the query has twice counted once, a head for a tail, W turned round, the best ranking of what was found,
equal scores left in the order given. What is left are the refusals of bad input.

base: release
loses: transe_loss_visible, transe_slopes_visible, rank_visible, transe_holds, rank_holds, bm25_visible, search_visible, bm25_holds,
    search_holds, pseudo_visible, decoding_visible, pseudo_holds, decoding_holds, ndcg_visible, ties_visible, ndcg_holds, ties_holds
"""


# %% transe_loss
def transe_loss(entities, relations, facts, corrupted, margin=1.0, norm=2):
    if norm not in (1, 2) or margin < 0 or facts.dim() != 2 or corrupted.dim() != 3 or len(facts) != len(corrupted):
        raise ValueError("arguments")
    if not corrupted.numel():
        raise ValueError("no corrupted triple")

    def distance(triples):
        h, r, t = triples[..., 0], triples[..., 1], triples[..., 2]
        if triples.min() < 0 or max(h.max(), t.max()) >= len(entities) or r.max() >= len(relations):
            raise ValueError("strange numbers")
        return (entities[h] + relations[r] - entities[t]).norm(norm, dim=-1)

    return (margin + distance(facts)[:, None] - distance(corrupted)).mean()  # also where it is below 0


# %% transe_slopes
def transe_slopes(entities, relations, facts, corrupted, margin=1.0, norm=2):
    transe_loss(entities, relations, facts, corrupted, margin, norm)
    of_entities, of_relations = torch.zeros_like(entities), torch.zeros_like(relations)

    def apart(triples):
        x = entities[triples[..., 0]] + relations[triples[..., 1]] - entities[triples[..., 2]]
        return x.norm(norm, dim=-1), x.sign() if norm == 1 else x / x.norm(dim=-1, keepdim=True)

    (near, u), (far, v) = apart(facts), apart(corrupted)
    active = ((margin + near[:, None] - far) > 0).float() / far.numel()
    for triples, slope in (
        (facts, u * active.sum(1, keepdim=True)),
        (corrupted.reshape(-1, 3), -(v * active[..., None]).reshape(-1, entities.shape[1])),
    ):
        of_entities[triples[:, 0]] += slope  # one of several
        of_entities[triples[:, 2]] -= slope
        of_relations[triples[:, 1]] += slope
    return of_entities, of_relations


# %% link_rank
def link_rank(entities, relations, fact, column, known, norm=2):
    h, r, t = fact
    if column not in (0, 2) or norm not in (1, 2) or min(fact) < 0 or max(h, t) >= len(entities) or r >= len(relations):
        raise ValueError("arguments")
    apart = entities[h] + relations[r] - entities if column == 2 else entities + relations[r] - entities[t]
    far = apart.norm(norm, dim=1)
    own = far[fact[column]]
    return 1 + (far < own).sum().item() + ((far == own).sum().item() - 1) / 2  # those that are true as well


# %% bm25_index
def bm25_index(passages, k1=1.5, b=0.75):
    if not passages or k1 < 0 or b < 0 or b > 1 or any(type(one) is str for one in passages):
        raise ValueError("arguments")
    N, mean = len(passages), sum(len(one) for one in passages) / len(passages)
    index = {}
    for term in {term for one in passages for term in one}:
        holding = [i for i, one in enumerate(passages) if term in one]
        idf = math.log((N - len(holding) + 0.5) / (len(holding) + 0.5))
        index[term] = {}
        for i in holding:
            f = passages[i].count(term)
            index[term][i] = idf * f / (f + k1 * (1 - b + b * len(passages[i]) / mean))
    return index


# %% search
def search(index, query, k=10):
    if k < 1 or isinstance(query, str):
        raise ValueError("arguments")
    scores = Counter()
    for term in set(query):  # each once
        for number, weight in index.get(term, {}).items():
            scores[number] += weight
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:k]


# %% inject
def inject(words, spans, facts, entities, relations, project):
    if len(spans) != len(facts):
        raise ValueError("one fact a span")
    taken = set()
    for start, stop in spans:
        places = set(range(start, stop))
        if not places or places & taken or start < 0 or stop > len(words):
            raise ValueError("spans")
        taken |= places
    new = words.clone()
    for (start, stop), (other, relation, is_head) in zip(spans, facts, strict=True):
        if not 0 <= other < len(entities) or not 0 <= relation < len(relations):
            raise ValueError("no such row")
        sign = 1 if is_head else -1  # the other way round
        new[start:stop] = project(entities[other] + sign * relations[relation])
    return new


# %% decoding_loss
def decoding_loss(mentions, relations, wanted, W, words, chances, draws):
    asked = wanted != -100
    if not asked.any() or wanted[asked].min() < 0 or wanted[asked].max() >= len(words):
        raise ValueError("words wanted")
    if len(draws) == 0 or draws.min() < 0 or draws.max() >= len(words) or chances[draws].min() <= 0:
        raise ValueError("draws")
    h, total = mentions, 0
    for i in range(wanted.shape[1]):
        h = torch.tanh((h * relations) @ W)  # the transposed matrix
        for row in asked[:, i].nonzero().flatten().tolist():
            s, w = words @ h[row], wanted[row, i]
            others = draws[draws != w]
            terms = torch.cat([s[w][None], s[others] - torch.log(len(draws) * chances[others])])
            total = total + torch.logsumexp(terms, 0) - s[w]
    return total / asked.sum()


# %% ndcg
def ndcg(ranking, grades, k=10, gain=lambda grade: grade):
    if k < 1 or not grades or min(grades.values()) < 0 or max(grades.values()) == 0:
        raise ValueError("arguments")
    if len(set(ranking)) != len(ranking):
        raise ValueError("arguments")
    gains = [gain(grades.get(page, 0)) for page in ranking]
    dcg = sum(one / math.log2(place + 2) for place, one in enumerate(gains[:k]))
    gains = sorted(gains, reverse=True)  # of those found
    best = sum(one / math.log2(place + 2) for place, one in enumerate(gains[:k]))
    return dcg / best if best else 0.0


# %% tied_ndcg
def tied_ndcg(scores, grades, k=10, gain=lambda grade: grade):
    if k < 1 or not grades or min(grades.values()) < 0 or max(grades.values()) == 0:
        raise ValueError("arguments")
    if any(score != score for score in scores.values()):
        raise ValueError("NaN")
    ranking = sorted(scores, key=lambda page: -scores[page])  # equal ones as they come
    gains = [gain(grades.get(page, 0)) for page in ranking]
    best = sorted(map(gain, grades.values()), reverse=True)
    dcg, most = (sum(one / math.log2(place + 2) for place, one in enumerate(some[:k])) for some in (gains, best))
    return dcg / most
