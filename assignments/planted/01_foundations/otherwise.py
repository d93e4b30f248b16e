# ruff: noqa: F821
"""Everything right, written in another way: loops for tensors, sums of exponentials for softmax.

base: reference
loses:
"""


# %% attention
def attention(q, k, v, seen):
    return _shares(q, k, v, seen).matmul(v)


def _shares(q, k, v, seen):
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    if k.shape[-1] != d or v.shape[-2] != m or seen.dtype is not torch.bool or tuple(seen.shape[-2:]) != (n, m):
        raise ValueError("sizes")
    scores = torch.einsum("...nd,...md->...nm", q, k) * d**-0.5
    scores = torch.where(seen, scores, torch.full_like(scores, -1e300 if scores.dtype == torch.float64 else -1e38))
    powers = torch.exp(scores - scores.max(dim=-1, keepdim=True).values) * seen
    total = powers.sum(-1, keepdim=True)
    return torch.where(total > 0, powers / torch.where(total > 0, total, torch.ones_like(total)), 0 * powers)


# %% attention_slopes
def attention_slopes(q, k, v, seen, g):
    shares, scale = _shares(q, k, v, seen), q.shape[-1] ** -0.5
    back = torch.einsum("...nc,...mc->...nm", g, v)
    inner = ((shares @ v) * g).sum(-1, keepdim=True)  # the same sum, from the result
    slope = shares * (back - inner) * scale
    first = torch.einsum("...nm,...md->...nd", slope, k)
    second = torch.einsum("...nm,...nd->...md", slope, q)
    return first, second, torch.einsum("...nm,...nc->...mc", shares, g)


# %% sampling_loss
def sampling_loss(inputs, outputs, center, right, drawn):
    n = _number(inputs, outputs, center, right, drawn)
    total = torch.zeros((), dtype=inputs.dtype)
    for i in range(n):
        score = inputs[center[i]] @ outputs[right[i]]
        total = total + torch.logaddexp(torch.zeros_like(score), -score)
        for word in drawn[i].tolist():
            if word != int(right[i]):
                score = inputs[center[i]] @ outputs[word]
                total = total + torch.logaddexp(torch.zeros_like(score), score)
    return total / n


def _number(inputs, outputs, center, right, drawn):
    n = center.numel()
    if n == 0 or right.numel() != n or drawn.shape[0] != n:
        raise ValueError("pairs")
    ranges = [(center, len(inputs)), (right, len(outputs)), (drawn, len(outputs))]
    if any(word < 0 or word >= size for words, size in ranges for word in words.flatten().tolist()):
        raise ValueError("no such word")
    return n


# %% sampling_slopes
def sampling_slopes(inputs, outputs, center, right, drawn):
    n = _number(inputs, outputs, center, right, drawn)
    first, second = torch.zeros_like(inputs), torch.zeros_like(outputs)
    for i in range(n):
        c, r = int(center[i]), int(right[i])
        for word, wanted in [(r, 1.0)] + [(one, 0.0) for one in drawn[i].tolist() if one != r]:
            slope = (torch.sigmoid(inputs[c] @ outputs[word]) - wanted) / n
            first[c] += slope * outputs[word]
            second[word] += slope * inputs[c]
    return first, second
