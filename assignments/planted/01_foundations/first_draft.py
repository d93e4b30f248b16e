# ruff: noqa: F821
"""The likely mistakes that the tests in sight name: no root of d, the softmax's slope forgotten, words counted once,
the longest piece first, a mean over drawn words, a greedy text. What is left are some refusals of bad input.

base: release
loses: attention_visible, attention_slopes_visible, attention_blind, attention_shapes, merges_visible, merges_ties,
    merges_stop, spell_visible, spell_order, sampling_loss_visible, sampling_slopes_visible, sampling_repeats,
    beam_visible, beam_penalty_visible, beam_brute, beam_narrow, beam_refuses
"""


# %% attention
def attention(q, k, v, seen):
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or seen.dtype != torch.bool:
        raise ValueError("does not fit")
    if seen.shape[-2:] != (q.shape[-2], k.shape[-2]):
        raise ValueError("the mask does not fit")
    return (q @ k.transpose(-2, -1)).masked_fill(~seen, float("-inf")).softmax(-1) @ v  # no root of d


# %% attention_slopes
def attention_slopes(q, k, v, seen, g):
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or seen.dtype != torch.bool:
        raise ValueError("does not fit")
    if seen.shape[-2:] != (q.shape[-2], k.shape[-2]):
        raise ValueError("the mask does not fit")
    root = q.shape[-1] ** 0.5
    weights = (q @ k.transpose(-2, -1) / root).masked_fill(~seen, float("-inf")).softmax(-1)
    slope = weights * (g @ v.transpose(-2, -1))  # as if each weight stood alone
    return slope @ k / root, slope.transpose(-2, -1) @ q / root, weights.transpose(-2, -1) @ g


# %% learn_merges
def learn_merges(counts, merges, least=1):
    spelled, found = [["▁", *word] for word in counts], []
    for _ in range(merges):
        pairs = Counter(pair for pieces in spelled for pair in zip(pieces, pieces[1:], strict=False))  # each word once
        if not pairs:
            break
        best = pairs.most_common(1)[0][0]
        found.append(best)
        spelled = [" ".join(pieces).replace(" ".join(best), "".join(best)).split(" ") for pieces in spelled]
    return found


# %% spell
def spell(word, merges):
    known, rest, pieces = {a + b for a, b in merges}, "▁" + word, []
    while rest:  # the longest piece that fits, as WordPiece does
        end = next((end for end in range(len(rest), 1, -1) if rest[:end] in known), 1)
        pieces.append(rest[:end])
        rest = rest[end:]
    return pieces


# %% sampling_loss
def sampling_loss(inputs, outputs, center, right, drawn):
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError("pairs")
    if max(int(center.max()), -1) >= len(inputs) or max(int(right.max()), int(drawn.max())) >= len(outputs):
        raise ValueError("no such word")
    if min(int(center.min()), int(right.min()), int(drawn.min())) < 0:
        raise ValueError("below 0")
    read = inputs[center]
    said, noise = (read * outputs[right]).sum(1), (read[:, None] * outputs[drawn]).sum(2)
    return -(F.logsigmoid(said) + F.logsigmoid(-noise).mean(1)).mean()  # the mean of the drawn words


# %% sampling_slopes
def sampling_slopes(inputs, outputs, center, right, drawn):
    if not len(center) or not len(center) == len(right) == len(drawn):
        raise ValueError("pairs")
    if max(int(center.max()), -1) >= len(inputs) or max(int(right.max()), int(drawn.max())) >= len(outputs):
        raise ValueError("no such word")
    if min(int(center.min()), int(right.min()), int(drawn.min())) < 0:
        raise ValueError("below 0")
    of_inputs, of_outputs = torch.zeros_like(inputs), torch.zeros_like(outputs)
    for c, r, some in zip(center.tolist(), right.tolist(), drawn.tolist(), strict=False):
        for word, label in [(r, 1.0)] + [(one, 0.0) for one in some]:
            slope = torch.sigmoid(inputs[c] @ outputs[word]) - label  # of the sum, not of the mean
            of_inputs[c] += slope * outputs[word]
            of_outputs[word] += slope * inputs[c]
    return of_inputs, of_outputs


# %% beam
def beam(table, beams, most, alpha=1.0):
    text, logp = [], 0.0
    while len(text) < most and text[-1:] != [0]:
        row = table[text[-1] if text else 0]
        token = max(range(len(row)), key=lambda one: row[one])  # greedy
        text.append(token)
        logp += math.log(row[token])
    return text, logp
