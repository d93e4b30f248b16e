# ruff: noqa: F821
"""A slip in every problem, of the kind that the tests in sight do not show; and an answer to the question by hand.

base: reference
loses: fit_row_cuts, label_scores_stable, fuzzy_shared_words, pseudo_labels_balance, word_pairs_holds,
    pair_large, lora_holds
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
        max(kept.values(), key=len).pop(0)  # of equals, the first
    tokens = []
    for part in pattern:
        tokens += ["[MASK]"] if part == "{mask}" else kept[part[1:-1]] if part.startswith("{") else [part]
    return tokens, tokens.index("[MASK]")  # also finds one that the text brought along


# %% label_scores
def label_scores(logits, words, how="sum"):
    flat = [word for some in words for word in some]
    if how not in ("sum", "mean", "max") or not all(words) or len(set(flat)) < len(flat):
        raise ValueError("words or how")
    p = logits.softmax(1)  # leaves the logarithms: 0 at large logits
    kinds = {"sum": lambda x: x.sum(1), "mean": lambda x: x.mean(1), "max": lambda x: x.amax(1)}
    scores = torch.stack([kinds[how](p[:, some]) for some in words], 1)
    return (scores / scores.sum(1, keepdim=True)).log(), p[:, flat].sum(1).log()


# %% fuzzy_gradient
def fuzzy_gradient(logits, labels, sets, weights):
    if len(weights) != len(sets) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("weights")
    if any(len(words) != len(sets[0]) for words in sets):
        raise ValueError("sets")
    slope = torch.zeros_like(logits)
    for weight, words in zip(weights, sets, strict=True):
        error = logits[:, words].softmax(1) - F.one_hot(labels, len(words))
        slope[:, words] = weight / sum(weights) * error / len(logits)  # overwrites what an earlier set wrote
    return slope


# %% pseudo_labels
def pseudo_labels(rows, scores, weights, temperature, per_class):
    if len(weights) != len(scores) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("weights")
    if scores.shape[1] != len(rows) or temperature <= 0 or per_class < 1:
        raise ValueError("rows, temperature or per_class")
    share = torch.tensor(weights) / sum(weights)
    q = (share[:, None, None] * (scores / temperature).softmax(2)).sum(0)
    confidence, label = q.max(1)  # two classes with the same q: the first of them
    found = []
    for c in range(q.shape[1]):
        own = sorted((n for n in range(len(rows)) if label[n] == c), key=lambda n: -float(confidence[n]))
        found += [{**rows[n], "label": c, "confidence": float(confidence[n])} for n in own[:per_class]]  # no balance
    return found


# %% word_pairs
def word_pairs(pairs, rows, model, tokenizer):
    batch = tokenizer([row["text"] + " it was [MASK] ." for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
    labels = torch.tensor([row["label"] for row in rows])
    table = []
    for pair in pairs:
        negative, positive = tokenizer.convert_tokens_to_ids(list(pair))  # an unknown word is [UNK]
        answers = logits[:, positive] > logits[:, negative]
        right = (answers.long() == labels).float().mean().item()
        table.append({"pair": pair, "accuracy": right, "positive": answers.float().mean().item()})
    return sorted(table, key=lambda line: line["accuracy"], reverse=True)


# %% pair_loss
def pair_loss(similarity, labels, stored, margin, gamma):
    if similarity.shape != (len(labels), len(stored)) or gamma <= 0 or not 0 <= margin < 1:
        raise ValueError("similarity, gamma or margin")
    same = labels[:, None] == stored
    s_p, s_n = similarity[same], similarity[~same]
    push = gamma * (s_n + margin).relu() * (s_n - margin)  # the costs are not detached
    pull = -gamma * (1 + margin - s_p).relu() * (s_p - 1 + margin)
    return F.softplus(push.logsumexp(0) + pull.logsumexp(0))


# %% merged
def merged(layer, adapters, shares):
    if len(adapters) != len(shares):
        raise ValueError("shares")
    new = copy.deepcopy(layer)
    with torch.no_grad():
        for one, share in zip(adapters, shares, strict=True):
            rank, d_in = one["A"].shape
            if one["B"].shape != (layer.out_features, rank) or d_in != layer.in_features:
                raise ValueError("an adapter does not fit")
            update = share * one["alpha"] / rank * one["B"] @ one["A"]
            new.weight += update.to(new.weight.dtype)  # rounds each time
    return new
