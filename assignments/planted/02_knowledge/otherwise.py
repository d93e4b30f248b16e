# ruff: noqa: F821
"""Everything right, written in another way: loops for tensors, functions of torch for formulas, tensors for loops.

base: reference
loses:
"""


# %% transe_loss
def transe_loss(entities, relations, facts, corrupted, margin=1.0, norm=2):
    _triples(entities, relations, facts, corrupted, margin, norm)
    total = []
    for fact, wrong in zip(facts.tolist(), corrupted.tolist(), strict=True):
        near = _apart(entities, relations, fact, norm)[0]
        total += [max(margin + near - _apart(entities, relations, one, norm)[0], 0.0) for one in wrong]
    return torch.tensor(sum(total) / len(total), dtype=torch.float64)


def _triples(entities, relations, facts, corrupted, margin, norm):
    if norm not in (1, 2) or margin < 0 or facts.dim() != 2 or corrupted.dim() != 3:
        raise ValueError("arguments")
    if facts.shape[1] != 3 or corrupted.shape[2] != 3 or len(facts) != len(corrupted) or corrupted.numel() == 0:
        raise ValueError("shapes")
    for head, relation, tail in [*facts.tolist(), *corrupted.flatten(0, 1).tolist()]:
        if not {head, tail} <= set(range(len(entities))) or relation not in range(len(relations)):
            raise ValueError(f"({head}, {relation}, {tail}) is no triple")


def _apart(entities, relations, triple, norm):
    """The distance of a triple, and its slope with respect to the head."""
    head, relation, tail = triple
    x = (entities[head] + relations[relation] - entities[tail]).tolist()
    if norm == 1:
        return sum(map(abs, x)), [(one > 0) - (one < 0) for one in x]
    size = math.hypot(*x)
    return size, [one / size if size else 0.0 for one in x]


# %% transe_slopes
def transe_slopes(entities, relations, facts, corrupted, margin=1.0, norm=2):
    _triples(entities, relations, facts, corrupted, margin, norm)
    slopes = [[[0.0] * one.shape[1] for _ in one] for one in (entities, relations)]
    share = 1 / (corrupted.shape[0] * corrupted.shape[1])
    for fact, wrong in zip(facts.tolist(), corrupted.tolist(), strict=True):
        for other in wrong:
            near, u = _apart(entities, relations, fact, norm)
            far, v = _apart(entities, relations, other, norm)
            if margin + near - far > 0:
                for (head, relation, tail), direction, sign in ((fact, u, share), (other, v, -share)):
                    for at, one in enumerate(direction):
                        slopes[0][head][at] += sign * one
                        slopes[0][tail][at] -= sign * one
                        slopes[1][relation][at] += sign * one
    return [torch.tensor(some, dtype=one.dtype) for some, one in zip(slopes, (entities, relations), strict=True)]


# %% link_rank
def link_rank(entities, relations, fact, column, known, norm=2):
    head, relation, tail = fact
    try:
        if min(fact) < 0 or column not in (0, 2) or norm not in (1, 2):
            raise IndexError
        near = entities[head] + relations[relation] if column == 2 else entities[tail] - relations[relation]
        own = (near - entities[fact[column]]).norm(norm)
        entities[head], entities[tail]
    except IndexError:
        raise ValueError("arguments") from None
    same = {0: lambda one: one[1:] == (relation, tail), 2: lambda one: one[:2] == (head, relation)}[column]
    true = {one[column] for one in known if same(one)} - {fact[column]}
    kept = torch.tensor([number for number in range(len(entities)) if number not in true])
    distances = torch.linalg.vector_norm(near - entities[kept], norm, dim=1)
    first, last = (distances < own).sum() + 1, (distances <= own).sum()
    return (first + last) / 2


# %% bm25_index
def bm25_index(passages, k1=1.5, b=0.75):
    if not len(passages) or not k1 >= 0 or not 0 <= b <= 1 or any(isinstance(one, str) for one in passages):
        raise ValueError("arguments")
    total, index = sum(len(one) for one in passages), {}
    for number, passage in enumerate(passages):
        for term in passage:
            index.setdefault(term, {}).setdefault(number, 0)
            index[term][number] += 1
    N = len(passages)
    for term, counts in index.items():
        n = len(counts)
        idf = math.log((N + 1) / (n + 0.5))
        index[term] = {i: idf / (1 + k1 / f * (1 - b + b * N * len(passages[i]) / total)) for i, f in counts.items()}
    return index


# %% search
def search(index, query, k=10):
    if k < 1 or isinstance(query, str):
        raise ValueError("arguments")
    asked = Counter(query)
    scores = {}
    for term in asked.keys() & index.keys():
        for number in index[term]:
            scores[number] = scores.get(number, 0) + asked[term] * index[term][number]
    found = []
    while scores and len(found) < k:
        best = min(number for number, score in scores.items() if score == max(scores.values()))
        found.append([best, scores.pop(best)])
    return found


# %% inject
def inject(words, spans, facts, entities, relations, project):
    if len(spans) != len(facts):
        raise ValueError("one fact a span")
    owner = [None] * len(words)
    for (start, stop), fact in zip(spans, facts, strict=True):
        if start < 0 or stop > len(words) or start >= stop or any(owner[start:stop]):
            raise ValueError("spans")
        if fact[0] not in range(len(entities)) or fact[1] not in range(len(relations)):
            raise ValueError("rows")
        owner[start:stop] = [fact] * (stop - start)
    rows = []
    for word, fact in zip(words, owner, strict=True):
        if fact is None:
            rows.append(word)
        elif fact[2]:
            rows.append(project((entities[fact[0]] - relations[fact[1]])[None])[0])
        else:
            rows.append(project((entities[fact[0]] + relations[fact[1]])[None])[0])
    return torch.stack(rows)


# %% decoding_loss
def decoding_loss(mentions, relations, wanted, W, words, chances, draws):
    size = len(words)
    named = [[word for word in row if word != -100] for row in wanted.tolist()]
    if not any(named) or any(word not in range(size) for row in named for word in row):
        raise ValueError("words wanted")
    if not draws.tolist() or any(word not in range(size) or chances[word] <= 0 for word in draws.tolist()):
        raise ValueError("draws")
    counts = torch.bincount(draws, minlength=size)  # how often each word was drawn
    drawn = counts.nonzero().flatten()
    weight = (counts[drawn] / chances[drawn] / len(draws)).log()
    costs = []
    for state, relation, name in zip(mentions, relations, wanted, strict=True):
        for word in name:
            state = F.linear(state * relation, W).tanh()  # noqa: PLW2901
            if word >= 0:
                scores = F.linear(state, words)
                kept = drawn != word
                apart = scores[drawn[kept]] + weight[kept] - scores[word]
                costs.append(torch.logsumexp(F.pad(apart, (0, 1)), 0))  # the word's own, 0
    return torch.stack(costs).mean()


# %% ndcg
def ndcg(ranking, grades, k=10, gain=lambda grade: grade):
    ranking = list(ranking)
    if len(set(ranking)) != len(ranking):
        raise ValueError("twice")
    return tied_ndcg({page: -place for place, page in enumerate(ranking)}, grades, k, gain)


# %% tied_ndcg
def tied_ndcg(scores, grades, k=10, gain=lambda grade: grade):
    if k < 1 or not any(grade > 0 for grade in grades.values()) or any(grade < 0 for grade in grades.values()):
        raise ValueError("arguments")
    if any(score != score for score in scores.values()):
        raise ValueError("NaN")
    discount = [1 / math.log2(2 + at) if at < k else 0.0 for at in range(max(len(scores), len(grades)))]
    total, values = 0.0, list(scores.values())
    for page, score in scores.items():  # a page is at each of its group's places equally often
        if gained := gain(grades.get(page, 0)):
            first = sum(one > score for one in values)
            places = discount[first : first + values.count(score)]
            total += gained * sum(places) / len(places)
    best = sorted((gain(grade) for grade in grades.values()), reverse=True)
    return total / sum(a * b for a, b in zip(best, discount, strict=False))
