# ruff: noqa: F821
"""Pieces and the beam solved, in a style of their own; the rest not begun.

base: release
loses: attention_visible, attention_slopes_visible, attention_blind, attention_shapes, attention_refuses,
    sampling_loss_visible, sampling_slopes_visible, sampling_repeats, sampling_large, sampling_refuses
"""


# %% learn_merges
def learn_merges(counts, merges, least=1):
    corpus = [(["▁"] + list(word), count) for word, count in counts.items()]
    age = sorted(set("".join("▁" + word for word in counts)))

    def pairs_of(pieces):
        return [(pieces[i], pieces[i + 1]) for i in range(len(pieces) - 1)]

    learnt = []
    for _ in range(merges):
        tally = {}
        for pieces, count in corpus:
            for pair in pairs_of(pieces):
                tally[pair] = tally.get(pair, 0) + count
        ranked = sorted(tally, key=lambda pair: (age.index(pair[0]), age.index(pair[1])))
        ranked.sort(key=tally.get, reverse=True)  # stable: ties stay in the order of age
        if not ranked or tally[ranked[0]] < least or tally[ranked[0]] < 1:
            return learnt
        a, b = ranked[0]
        learnt.append((a, b))
        if a + b not in age:
            age.append(a + b)
        for pieces, _ in corpus:
            i = 0
            while i + 1 < len(pieces):
                if pieces[i] == a and pieces[i + 1] == b:
                    pieces[i] = a + b
                    del pieces[i + 1]
                i += 1
    return learnt


# %% spell
def spell(word, merges):
    pieces = ["▁"] + list(word)
    again = True
    while again:
        again = False
        for a, b in merges:
            at = next((i for i in range(len(pieces) - 1) if pieces[i] == a and pieces[i + 1] == b), None)
            if at is not None:
                pieces = pieces[:at] + [a + b] + pieces[at + 2 :]
                again = True
                break
    return pieces


# %% beam
def beam(table, beams, most, alpha=1.0):
    size = len(table)
    if size == 0 or beams < 1 or most < 1 or {len(row) for row in table} != {size}:
        raise ValueError("bad arguments")
    best = None
    frontier = {(): 0.0}
    for step in range(most):
        children = {}
        for text, logp in frontier.items():
            row = table[text[-1]] if text else table[0]
            for token in range(size):
                if row[token] > 0:
                    children[text + (token,)] = logp + math.log(row[token])
        frontier = {}
        for text in sorted(children, key=lambda text: (-children[text], text)):
            if text[-1] == 0 or step == most - 1:
                score = children[text] / len(text) ** alpha
                if best is None or (score, [-t for t in text]) > (best[1], [-t for t in best[0]]):
                    best = (list(text), score)
            elif len(frontier) < beams:
                frontier[text] = children[text]
    if best is None:
        raise ValueError("no text")
    return best
