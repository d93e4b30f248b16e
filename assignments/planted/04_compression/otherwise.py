# ruff: noqa: F821
"""Everything right, written in another way: loops for tensors, functions of torch for formulas, new layers for cut ones.

base: reference
loses:
"""


# %% kd_loss
def kd_loss(student, teacher, labels, T=1.0, alpha=0.5):
    rows = _labelled(student, teacher, labels, T, alpha)
    if math.isinf(T):
        soft = (student - teacher).var(1, correction=0).mean() / 2  # a variance is of the centred
    else:
        q = F.softmax(teacher / T, 1)
        soft = T**2 * F.kl_div(F.log_softmax(student / T, 1), q, reduction="batchmean")
    hard = F.cross_entropy(student[rows], labels[rows]) if rows else 0.0
    return alpha * soft + (1 - alpha) * hard


def _labelled(student, teacher, labels, T, alpha):
    n, classes = student.shape
    if tuple(teacher.shape) != (n, classes) or T <= 0 or alpha < 0 or alpha > 1:
        raise ValueError("arguments")
    if labels is None:
        return []
    if tuple(labels.shape) != (n,):
        raise ValueError("one label a row")
    rows = [row for row, label in enumerate(labels.tolist()) if label != -100]
    if not all(0 <= int(labels[row]) < classes for row in rows):
        raise ValueError("no such class")
    return rows


# %% kd_slope
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    rows = _labelled(student, teacher, labels, T, alpha)
    n, classes = student.shape
    slope = torch.zeros_like(student)
    for i in range(n):
        if math.isinf(T):
            apart = student[i] - teacher[i]
            slope[i] += alpha / n * (apart - apart.mean()) / classes
        else:
            slope[i] += alpha / n * T * (F.softmax(student[i] / T, 0) - F.softmax(teacher[i] / T, 0))
        if i in rows:
            hard = F.softmax(student[i], 0).clone()
            hard[labels[i]] -= 1
            slope[i] += (1 - alpha) / len(rows) * hard
    return slope


# %% twn
def twn(w, rows=False):
    if w.dim() < 2 or w.numel() == 0 or not all(map(math.isfinite, w.flatten().tolist())):
        raise ValueError("weights")
    parts = list(w) if rows else [w]
    codes, scales = [], []
    for part in parts:
        threshold = 0.7 * part.abs().sum() / part.numel()
        code = (part > threshold).to(w.dtype) - (part < -threshold).to(w.dtype)
        kept = part[code != 0].abs()
        codes.append(code)
        scales.append(kept.mean() if len(kept) else kept.sum())
    codes = torch.stack(codes) if rows else codes[0]
    return codes, torch.stack(scales).reshape([-1] + [1] * (w.dim() - 1))


# %% best_scale
def best_scale(w, codes, rows=False):
    if w.dim() < 2 or w.numel() == 0 or not torch.isfinite(w).all() or codes.shape != w.shape:
        raise ValueError("weights")
    if bool((codes.abs() > 1).any()) or bool((codes != codes.round()).any()):
        raise ValueError("codes")
    scales = []
    for part, code in zip(w, codes, strict=True) if rows else [(w, codes)]:
        x, b = part.flatten(), code.flatten().to(w.dtype)
        count = torch.count_nonzero(b)
        scales.append(torch.dot(x, b) / count if count else torch.zeros((), dtype=w.dtype))
    return torch.stack(scales).reshape(-1, *[1] * (w.dim() - 1))


# %% split
def split(w, codes, alpha):
    if codes.shape != w.shape or alpha.dim() != 2 or tuple(alpha.shape) not in {(1, 1), (w.shape[0], 1)}:
        raise ValueError("shapes")
    over = 1 if alpha.shape[0] == w.shape[0] else (0, 1)
    i, j = codes.ne(0), codes.eq(0) & w.gt(0)
    k = codes.eq(0) & w.le(0)

    def total(x):
        return x.sum(over, keepdim=True)

    nothing = total(w.abs()) + total(codes.abs()) + alpha.abs() == 0
    sums = [total(w.abs() * where) for where in (i, j, k)]
    p = torch.where(nothing, 0.5, (sums[0] + sums[2] - sums[1]) / sums[0] / 2)
    r = (total(torch.ones_like(w)) * alpha - total(w.abs())) / (2 * total((j | k).to(w.dtype)))
    if bool((~((p > 0) & (p < 1))).any()) or bool(((~(r > 0) | r.isinf()) & ~nothing).any()):
        raise ValueError("there is no split")
    r = torch.where(nothing, 0.0, r)
    return i * p * w + j * (w + r) + k * r, i * (1 - p) * w - j * r + k * (w - r)


# %% head_importance
def head_importance(model, loss, batches):
    weights = {f"layers.{n}.attention.out.weight": layer.attention for n, layer in enumerate(model.layers)}
    found = [torch.zeros(one.heads, dtype=one.out.weight.dtype) for one in weights.values()]
    for batch in batches:
        masks = [torch.ones_like(one).requires_grad_() for one in found]
        changed = {
            name: one.out.weight.detach() * mask.repeat_interleave(one.size)
            for (name, one), mask in zip(weights.items(), masks, strict=True)
        }

        def run(tokens, changed=changed):
            return torch.func.functional_call(model, changed, (tokens,))

        loss(run, batch).backward(inputs=masks)
        found = [one + mask.grad.abs() for one, mask in zip(found, masks, strict=True)]
    return found


# %% remove_heads
def remove_heads(model, gone):
    known = {number: range(layer.attention.heads) for number, layer in enumerate(model.layers)}
    if any(number not in known or any(head not in known[number] for head in heads) for number, heads in gone.items()):
        raise ValueError("not there")
    new = copy.deepcopy(model)
    for number, heads in gone.items():
        old, size = model.layers[number].attention, model.layers[number].attention.size
        kept = sorted(set(known[number]) - set(heads))
        d, dtype = old.out.out_features, old.out.weight.dtype
        mine = Attention(d, len(kept), size).to(dtype)
        state = {"out.bias": old.out.bias}
        for name in ("query", "key", "value"):
            layer = getattr(old, name)
            state[f"{name}.weight"] = layer.weight.unflatten(0, (old.heads, size))[kept].flatten(0, 1)
            state[f"{name}.bias"] = layer.bias.unflatten(0, (old.heads, size))[kept].flatten()
        state["out.weight"] = old.out.weight.unflatten(1, (old.heads, size))[:, kept].flatten(1)
        mine.load_state_dict(state)
        new.layers[number].attention = mine
    return new
