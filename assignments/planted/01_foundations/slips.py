# ruff: noqa: F821
"""A slip in every problem, of the kind that the tests in sight do not show; and an answer to the questions by hand.

base: reference
loses: attention_blind, merges_ties, spell_order, sampling_repeats, sampling_large, beam_narrow, beam_refuses
"""


# %% attention
def attention(q, k, v, seen):
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or seen.dtype != torch.bool:
        raise ValueError("does not fit")
    if seen.shape[-2:] != (q.shape[-2], k.shape[-2]):
        raise ValueError("the mask does not fit")
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen, -1e30)
    return scores.softmax(-1) @ v  # who sees nothing gets the mean of everything


# %% learn_merges
def learn_merges(counts, merges, least=1):
    spelled, found = {word: ["▁", *word] for word in counts}, []
    numbers = {piece: n for n, piece in enumerate(sorted({"▁", *"".join(counts)}))}
    while len(found) < merges:
        pairs = Counter()
        for word, pieces in spelled.items():
            for a, b in zip(pieces, pieces[1:], strict=False):
                pairs[a, b] += counts[word]
        if not pairs or max(pairs.values()) < max(least, 1):
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], numbers[pair[0]]))  # of the second pieces, the one met first
        numbers.setdefault("".join(best), len(numbers))
        found.append(best)
        for pieces in spelled.values():
            at = 0
            while at < len(pieces) - 1:
                if (pieces[at], pieces[at + 1]) == best:
                    pieces[at : at + 2] = ["".join(best)]
                at += 1
    return found


# %% spell
def spell(word, merges):
    pieces = ["▁", *word]
    for a, b in merges:  # one pass over the joins
        at = 0
        while at < len(pieces) - 1:
            if (pieces[at], pieces[at + 1]) == (a, b):
                pieces[at : at + 2] = [a + b]
            at += 1
    return pieces if word else []


# %% sampling_loss
def sampling_loss(inputs, outputs, center, right, drawn):
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError("pairs")
    for numbers, table in ((center, inputs), (right, outputs), (drawn, outputs)):
        if (numbers < 0).any() or (numbers >= len(table)).any():
            raise ValueError("no such word")
    read = inputs[center]
    said = (read * outputs[right]).sum(1)
    noise = (read[:, None] * outputs[drawn]).sum(2)
    costs = torch.sigmoid(-noise).log() * (drawn != right[:, None])  # the log of 0
    return -(torch.sigmoid(said).log() + costs.sum(1)).mean()


# %% sampling_slopes
def sampling_slopes(inputs, outputs, center, right, drawn):
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError("pairs")
    for numbers, table in ((center, inputs), (right, outputs), (drawn, outputs)):
        if (numbers < 0).any() or (numbers >= len(table)).any():
            raise ValueError("no such word")
    read, n = inputs[center], len(center)
    s = -torch.sigmoid(-(read * outputs[right]).sum(1)) / n
    t = torch.sigmoid((read[:, None] * outputs[drawn]).sum(2)) / n * (drawn != right[:, None])
    of_inputs, of_outputs = torch.zeros_like(inputs), torch.zeros_like(outputs)
    of_inputs[center] += s[:, None] * outputs[right] + (t[..., None] * outputs[drawn]).sum(1)  # one of several
    of_outputs[right] += s[:, None] * read
    of_outputs[drawn] += t[..., None] * read[:, None]
    return of_inputs, of_outputs


# %% beam
def beam(table, beams, most, alpha=1.0):
    if beams < 1 or most < 1:
        raise ValueError("numbers")
    going, pool = [([], 0.0)], []
    for length in range(1, most + 1):
        longer = []
        for text, logp in going:
            for token, share in enumerate(table[text[-1] if text else 0]):
                if share > 0:
                    longer.append((text + [token], logp + math.log(share)))
        longer = sorted(longer, key=lambda one: (-one[1], one[0]))[:beams]  # what is over takes a place
        pool += [(logp / length**alpha, text) for text, logp in longer if text[-1] == 0 or length == most]
        going = [one for one in longer if one[0][-1] != 0]
    score, text = max(pool, key=lambda one: one[0])
    return text, score
