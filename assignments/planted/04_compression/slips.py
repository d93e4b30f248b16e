# ruff: noqa: F821
"""A slip in every problem, of the kind that the tests in sight do not show; and an answer to the questions by hand.

base: reference
loses: kd_limits, kd_rows, twn_shapes, scale_holds, split_edges, importance_holds, removed_holds
"""


# %% kd_loss
def kd_loss(student, teacher, labels, T=1.0, alpha=0.5):
    if student.shape != teacher.shape or not T > 0 or not 0 <= alpha <= 1:
        raise ValueError("arguments")
    labels = torch.full((len(student),), -100) if labels is None else labels
    if labels.shape != student.shape[:1] or any(
        y != -100 and y not in range(student.shape[1]) for y in labels.tolist()
    ):
        raise ValueError("labels")
    if T == math.inf:
        apart = student - teacher
        soft = (apart - apart.mean(1, keepdim=True)).square().mean() / 2
    else:
        log_s, log_t = (student / T).log_softmax(1), (teacher / T).log_softmax(1)
        soft = T**2 * (log_t.exp() * (log_t - log_s)).sum(1).mean()  # 0 times infinity
    known = labels != -100
    return alpha * soft + (1 - alpha) * (F.cross_entropy(student, labels) if known.any() else 0.0)


# %% kd_slope
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    if student.shape != teacher.shape or not T > 0 or not 0 <= alpha <= 1:
        raise ValueError("arguments")
    n, classes = student.shape
    labels = torch.full((n,), -100) if labels is None else labels
    if labels.shape != (n,) or any(y != -100 and y not in range(classes) for y in labels.tolist()):
        raise ValueError("labels")
    if T == math.inf:
        soft = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))  # not by classes
    else:
        soft = T * ((student / T).softmax(1) - (teacher / T).softmax(1))
    known = (labels != -100)[:, None]
    hard = (student.softmax(1) - F.one_hot(labels.clamp(min=0), classes)) * known
    return alpha * soft / n + (1 - alpha) * hard / max(int(known.sum()), 1)


# %% twn
def twn(w, rows=False):
    if w.ndim < 2 or not w.numel() or not w.isfinite().all():
        raise ValueError("weights")
    dims = 1 if rows else tuple(range(w.ndim))  # the rows of a matrix
    size = w.abs()
    kept = size > 0.7 * size.mean(dims, keepdim=True)
    return w.sign() * kept, (size * kept).sum(dims, keepdim=True) / kept.sum(dims, keepdim=True).clamp(min=1)


# %% best_scale
def best_scale(w, codes, rows=False):
    if w.ndim < 2 or not w.numel() or not w.isfinite().all() or codes.shape != w.shape:
        raise ValueError("weights")
    if not torch.isin(codes, torch.tensor([-1, 0, 1], dtype=codes.dtype)).all():
        raise ValueError("codes")
    dims, kept = tuple(range(1 if rows else 0, w.ndim)), codes != 0
    return (w.abs() * kept).sum(dims, keepdim=True) / kept.sum(dims, keepdim=True).clamp(min=1)  # whatever the sign


# %% split
def split(w, codes, alpha):
    if codes.shape != w.shape or alpha.shape not in ((1, 1), (len(w), 1)):
        raise ValueError("shapes")
    flat = w if len(alpha) == len(w) else w.reshape(1, -1)
    zero = codes.reshape(flat.shape) == 0
    up, down = zero & (flat > 0), zero & (flat <= 0)
    inside, signed = (flat.abs() * ~zero).sum(1, keepdim=True), (flat * zero).sum(1, keepdim=True)
    p = (inside - signed) / (2 * inside)
    r = (flat.shape[1] * alpha - flat.abs().sum(1, keepdim=True)) / (2 * zero.sum(1, keepdim=True))
    if not ((p > 0) & (p < 1) & (r > 0) & r.isfinite()).all():  # a row of zeros too
        raise ValueError("no split")
    first = p * flat * ~zero + (flat + r) * up + r * down
    return first.reshape(w.shape), (flat - first).reshape(w.shape)


# %% head_importance
def head_importance(model, loss, batches):
    attentions = [layer.attention for layer in model.layers]
    total = [torch.zeros(one.heads, dtype=one.out.weight.dtype) for one in attentions]
    for batch in batches:
        masks = [torch.ones_like(one).requires_grad_() for one in total]
        hooks = [
            one.out.register_forward_pre_hook(lambda _, x, m=m, s=one.size: (x[0] * m.repeat_interleave(s),))
            for one, m in zip(attentions, masks, strict=True)
        ]
        loss(model, batch).backward()  # into the weights as well
        for hook in hooks:
            hook.remove()
        total = [one + mask.grad.abs() for one, mask in zip(total, masks, strict=True)]
    return total


# %% remove_heads
def remove_heads(model, gone):
    for number, heads in gone.items():
        if number not in range(len(model.layers)) or not set(heads) <= set(range(model.layers[number].attention.heads)):
            raise ValueError("not there")
    new = copy.deepcopy(model)
    for number, heads in gone.items():
        one = new.layers[number].attention
        rows = [at for at in range(one.heads * one.size) if at // one.size not in heads]
        for linear in (one.query, one.key, one.value):
            linear.weight, linear.bias = nn.Parameter(linear.weight[rows]), nn.Parameter(linear.bias[rows])
        one.out.weight = nn.Parameter(one.out.weight[:, rows])
        one.heads -= len(heads)  # a head that stands twice
    return new
