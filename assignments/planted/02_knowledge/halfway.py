# ruff: noqa: F821
"""The search and its measure solved, in a style of their own; the graph's two problems not begun.

base: release
loses: transe_loss_visible, transe_slopes_visible, rank_visible, transe_holds, rank_holds, transe_refuses,
    pseudo_visible, decoding_visible, pseudo_holds, decoding_holds, dkplm_refuses
"""


# %% bm25_index
def bm25_index(passages, k1=1.5, b=0.75):
    if len(passages) == 0 or k1 < 0 or b != min(max(b, 0), 1):
        raise ValueError("arguments")
    for passage in passages:
        if isinstance(passage, str):
            raise ValueError("a passage is a list of terms")
    vocabulary = sorted({term for passage in passages for term in passage})
    if not vocabulary:
        return {}
    counts = torch.tensor([[passage.count(term) for term in vocabulary] for passage in passages], dtype=torch.float64)
    lengths = counts.sum(1, keepdim=True)
    holding = (counts > 0).sum(0)
    idf = torch.log1p((len(passages) - holding + 0.5) / (holding + 0.5))
    weights = idf * counts / (counts + k1 * (1 - b + b * lengths / lengths.mean()))
    return {
        term: {int(i): weights[i, number].item() for i in counts[:, number].nonzero()}
        for number, term in enumerate(vocabulary)
    }


# %% search
def search(index, query, k=10):
    if k <= 0:
        raise ValueError("k")
    if isinstance(query, str):
        raise ValueError("the query is a list of terms")
    lists = [index[term] for term in query if term in index]
    numbers = sorted(set().union(*lists))
    scored = [(number, sum(one.get(number, 0.0) for one in lists)) for number in numbers]
    scored.sort(key=lambda one: one[1], reverse=True)  # stable: of equal ones the lower number stays before
    return scored[:k]


# %% ndcg
def ndcg(ranking, grades, k=10, gain=None):
    gain = gain or (lambda grade: grade)
    if k < 1 or any(grade < 0 for grade in grades.values()) or not any(grades.values()):
        raise ValueError("arguments")
    if any(ranking.count(page) > 1 for page in ranking):
        raise ValueError("twice")
    discounts = 1 / torch.log2(torch.arange(2, k + 2, dtype=torch.float64))

    def dcg(some):
        gains = torch.tensor([gain(one) for one in some][:k], dtype=torch.float64)
        return gains @ discounts[: len(gains)]

    return dcg([grades.get(page, 0) for page in ranking]) / dcg(sorted(grades.values())[::-1])


# %% tied_ndcg
def tied_ndcg(scores, grades, k=10, gain=None):
    gain = gain or (lambda grade: grade)
    if k < 1 or any(grade < 0 for grade in grades.values()) or not any(grades.values()):
        raise ValueError("arguments")
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError("NaN")
    upto = [0.0]
    for place in range(1, max(k, len(scores), len(grades)) + 1):
        upto.append(upto[-1] + (1 / math.log2(1 + place) if place <= k else 0.0))
    found, start = 0.0, 0
    pages = sorted(scores, key=scores.get, reverse=True)
    for _, group in itertools.groupby(pages, key=scores.get):
        gains = [gain(grades.get(page, 0)) for page in group]
        stop = start + len(gains)
        found += sum(gains) / len(gains) * (upto[stop] - upto[start])
        start = stop
    best = sorted(map(gain, grades.values()), reverse=True)
    return found / sum(one * (upto[at + 1] - upto[at]) for at, one in enumerate(best))
