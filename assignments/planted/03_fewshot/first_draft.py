# ruff: noqa: F821
"""The likely mistakes that the tests in sight name: texts cut at the wrong end, logits added up, a sum for a mean, the
softmax after the mean, the words of a pair the wrong way round, one margin for two, a rank forgotten. What is left are the
refusals of bad input.

base: release
loses: fit_row_visible, fit_row_cuts, label_scores_visible, label_scores_kinds, label_scores_stable,
    fuzzy_loss_visible, fuzzy_gradient_visible, fuzzy_shared_words,
    pseudo_labels_visible, pseudo_labels_balance, word_pairs_visible, word_pairs_holds,
    pair_loss_visible, pair_slope_visible, pair_large, merged_visible, one_adapter_visible, lora_holds
"""


# %% fit_row
def fit_row(pattern, row, budget):
    names = [part[1:-1] for part in pattern if part.startswith("{") and part != "{mask}"]
    if pattern.count("{mask}") != 1 or any(name not in row for name in names):
        raise ValueError("pattern and row do not fit")
    own = len(pattern) - len(names)
    if own > budget:
        raise ValueError("the budget is too small")
    kept = {name: list(row[name]) for name in names}
    while own + sum(map(len, kept.values())) > budget:
        max(reversed(kept.values()), key=len).pop()  # the last token, not the first
    tokens = []
    for part in pattern:
        tokens += ["[MASK]"] if part == "{mask}" else kept[part[1:-1]] if part.startswith("{") else [part]
    return tokens, tokens.index("[MASK]")


# %% label_scores
def label_scores(logits, words, how="sum"):
    flat = [word for some in words for word in some]
    if how not in ("sum", "mean", "max") or not all(words) or len(set(flat)) < len(flat):
        raise ValueError("words or how")
    scores = torch.stack([logits[:, some].sum(1) for some in words], 1)  # multiplies probabilities
    return scores.log_softmax(1), logits.log_softmax(1)[:, flat].logsumexp(1)


# %% fuzzy_loss
def fuzzy_loss(logits, labels, sets, weights):
    if len(weights) != len(sets) or min(weights) < 0 or sum(weights) <= 0 or len({len(some) for some in sets}) > 1:
        raise ValueError("weights or sets")
    losses = [F.cross_entropy(logits[:, some], labels, reduction="sum") for some in sets]  # not the mean
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


# %% fuzzy_gradient
def fuzzy_gradient(logits, labels, sets, weights):
    tracked = logits.clone().requires_grad_()  # autograd, where the formula was asked for
    fuzzy_loss(tracked, labels, sets, weights).backward()
    return tracked.grad


# %% pseudo_labels
def pseudo_labels(rows, scores, weights, temperature, per_class):
    if len(weights) != len(scores) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("weights")
    if scores.shape[1] != len(rows) or temperature <= 0 or per_class < 1:
        raise ValueError("rows, temperature or per_class")
    share = torch.tensor(weights) / sum(weights)
    q = ((share[:, None, None] * scores).sum(0) / temperature).softmax(1)  # as in the lesson
    found = []
    for c in range(q.shape[1]):
        for n in q[:, c].argsort(descending=True)[:per_class].tolist():
            found.append({**rows[n], "label": c, "confidence": float(q[n, c])})
    return found


# %% word_pairs
def word_pairs(pairs, rows, model, tokenizer):
    batch = tokenizer([row["text"] + " it was [MASK] ." for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
    labels = torch.tensor([row["label"] for row in rows])
    table = []
    for pair in pairs:
        positive, negative = tokenizer.convert_tokens_to_ids(list(pair))  # the wrong way round
        answers = logits[:, positive] > logits[:, negative]
        right = (answers.long() == labels).float().mean().item()
        table.append({"pair": pair, "accuracy": right, "positive": answers.float().mean().item()})
    return sorted(table, key=lambda line: line["accuracy"], reverse=True)


# %% pair_loss
def pair_loss(similarity, labels, stored, margin, gamma):
    if similarity.shape != (len(labels), len(stored)) or gamma <= 0 or not 0 <= margin < 1:
        raise ValueError("similarity, gamma or margin")
    same, fixed = labels[:, None] == stored, similarity.detach()
    push = (gamma * (fixed + margin).relu() * (similarity - margin))[~same]
    pull = (-gamma * (1 + margin - fixed).relu() * (similarity - margin))[same]  # the margin of the other kind
    return (1 + push.exp().sum() * pull.exp().sum()).log()


# %% pair_slope
def pair_slope(similarity, labels, stored, margin, gamma):
    tracked = similarity.clone().requires_grad_()  # autograd, where the formula was asked for
    pair_loss(tracked, labels, stored, margin, gamma).backward()
    return torch.zeros_like(similarity) if tracked.grad is None else tracked.grad


# %% merged
def merged(layer, adapters, shares):
    if len(adapters) != len(shares):
        raise ValueError("shares")
    new = copy.deepcopy(layer)
    with torch.no_grad():
        for one, share in zip(adapters, shares, strict=True):
            if one["B"].shape[1] != one["A"].shape[0] or len(one["B"]) != layer.out_features:
                raise ValueError("an adapter does not fit")
            if one["A"].shape[1] != layer.in_features:
                raise ValueError("an adapter does not fit")
            new.weight += share * one["alpha"] * one["B"] @ one["A"]  # without the rank
    return new


# %% one_adapter
def one_adapter(adapters, shares):
    if not adapters or len(adapters) != len(shares):
        raise ValueError("shares")
    for one in adapters:
        if one["B"].shape[1] != one["A"].shape[0]:
            raise ValueError("A and B do not fit")
        if one["A"].shape[1] != adapters[0]["A"].shape[1] or len(one["B"]) != len(adapters[0]["B"]):
            raise ValueError("adapters do not fit")
    b = torch.cat([share * one["B"] for one, share in zip(adapters, shares, strict=True)], 1)  # α / r forgotten
    return {"A": torch.cat([one["A"] for one in adapters]), "B": b, "alpha": b.shape[1]}
