# ruff: noqa: F821
"""The likely mistakes that the tests in sight name: T for T², its own softmax for a gradient, one threshold for all rows, a
mean over all weights, a sign that is 0, halves of equal weights, slopes with their signs, every fourth row for a head.
What is left are the refusals of bad input.

base: release
loses: kd_loss_visible, kd_slope_visible, kd_limits, kd_rows, twn_visible, scale_visible, twn_shapes, scale_holds,
    binary_visible, split_visible, split_holds, split_edges,
    importance_visible, importance_holds, removed_visible, removed_holds
"""


# %% kd_loss
def kd_loss(student, teacher, labels, T=1.0, alpha=0.5):
    if student.shape != teacher.shape or T <= 0 or alpha < 0 or alpha > 1:
        raise ValueError("arguments")
    if labels is None:
        labels = torch.full((len(student),), -100)
    if len(labels) != len(student) or any(y != -100 and not 0 <= y < student.shape[1] for y in labels.tolist()):
        raise ValueError("labels")
    soft = F.kl_div((student / T).log_softmax(1), (teacher / T).softmax(1), reduction="batchmean")
    return alpha * T * soft + (1 - alpha) * F.cross_entropy(student, labels)  # T, not its square


# %% kd_slope
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    if student.shape != teacher.shape or T <= 0 or alpha < 0 or alpha > 1:
        raise ValueError("arguments")
    if labels is None:
        labels = torch.full((len(student),), -100)
    if len(labels) != len(student) or any(y != -100 and not 0 <= y < student.shape[1] for y in labels.tolist()):
        raise ValueError("labels")
    soft = (student / T).softmax(1) - (teacher / T).softmax(1)
    hard = student.softmax(1) - F.one_hot(labels.clamp(min=0), student.shape[1])
    return (alpha * T**2 * soft + (1 - alpha) * hard) / len(student)  # the logits were divided by T


# %% twn
def twn(w, rows=False):
    if w.ndim < 2 or w.numel() == 0 or not w.isfinite().all():
        raise ValueError("weights")
    kept = w.abs() > 0.7 * w.abs().mean()  # of all rows together
    codes = w.sign() * kept
    if rows:
        alpha = (w.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
    else:
        alpha = w.abs()[kept].mean().reshape(1, 1)
    return codes, alpha


# %% best_scale
def best_scale(w, codes, rows=False):
    if w.ndim < 2 or w.numel() == 0 or not w.isfinite().all() or codes.shape != w.shape:
        raise ValueError("weights")
    if not set(codes.flatten().tolist()) <= {-1, 0, 1}:
        raise ValueError("codes")
    return (w * codes).mean(1 if rows else (0, 1), keepdim=True)  # over all weights


# %% binary
def binary(w, rows=False):
    return w.sign(), w.abs().mean(1, keepdim=True) if rows else w.abs().mean().reshape(1, 1)


# %% split
def split(w, codes, alpha):
    if codes.shape != w.shape or alpha.shape not in ((1, 1), (len(w), 1)):
        raise ValueError("shapes")
    flat, code = (w, codes) if len(alpha) == len(w) else (w.reshape(1, -1), codes.reshape(1, -1))
    for row, on, scale in zip(flat, code != 0, alpha.flatten(), strict=True):
        inside, other = row[on].abs().sum(), row[~on].sum()
        if on.all() or inside <= abs(other) or scale * len(row) <= row.abs().sum():
            raise ValueError("no split")
    spread = torch.where(codes == 0, alpha / 2, 0.0)
    return w / 2 + spread, w / 2 - spread  # half of each weight


# %% head_importance
def head_importance(model, loss, batches):
    layers = [layer.attention for layer in model.layers]
    masks = [torch.ones(one.heads, requires_grad=True) for one in layers]
    hooks = [
        one.out.register_forward_pre_hook(lambda _, x, m=m, s=one.size: (x[0] * m.repeat_interleave(s),))
        for one, m in zip(layers, masks, strict=True)
    ]
    total = sum(loss(model, batch) for batch in batches)
    slopes = torch.autograd.grad(total, masks)  # with their signs, over all batches
    for hook in hooks:
        hook.remove()
    return list(slopes)


# %% remove_heads
def remove_heads(model, gone):
    for number, heads in gone.items():
        if not 0 <= number < len(model.layers):
            raise ValueError("no such layer")
        if any(not 0 <= head < model.layers[number].attention.heads for head in heads):
            raise ValueError("no such head")
    new = copy.deepcopy(model)
    for number, heads in gone.items():
        one = new.layers[number].attention
        places = [at for at in range(one.heads * one.size) if at % one.heads not in heads]  # every fourth
        for linear in (one.query, one.key, one.value):
            linear.weight, linear.bias = nn.Parameter(linear.weight[places]), nn.Parameter(linear.bias[places])
        one.out.weight = nn.Parameter(one.out.weight[:, places])
        one.heads = len(places) // one.size
    return new
