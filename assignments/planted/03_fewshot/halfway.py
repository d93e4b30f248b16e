# ruff: noqa: F821
"""Two problems solved, the rest not begun.

base: release
loses: fuzzy_loss_visible, fuzzy_gradient_visible, fuzzy_shared_words, fuzzy_refuses,
    pseudo_labels_visible, pseudo_labels_balance, pseudo_labels_refuses, word_pairs_visible, word_pairs_holds,
    pair_loss_visible, pair_slope_visible, pair_large, pair_refuses,
    merged_visible, one_adapter_visible, lora_holds, lora_refuses
"""


# %% fit_row
def fit_row(pattern, row, budget):
    fields = {
        part: list(row[part[1:-1]]) for part in pattern if part[0] == "{" and part != "{mask}" and part[1:-1] in row
    }
    if pattern.count("{mask}") != 1 or any(p[0] == "{" and p != "{mask}" and p not in fields for p in pattern):
        raise ValueError("pattern and row do not fit")
    too_many = len(pattern) - len(fields) + sum(map(len, fields.values())) - budget
    for _ in range(max(too_many, 0)):
        longest = max(reversed(fields.values()), key=len)
        if not longest:
            raise ValueError("the budget is too small")
        del longest[0]
    tokens = []
    for part in pattern:
        if part == "{mask}":
            blank = len(tokens)
        tokens += ["[MASK]"] if part == "{mask}" else fields.get(part, [part])
    return tokens, blank


# %% label_scores
def label_scores(logits, words, how="sum"):
    flat = sum(words, [])
    if how not in ("sum", "mean", "max") or [] in words or len(flat) != len(set(flat)):
        raise ValueError("words or how")
    columns = []
    for some in words:
        x = logits[:, some]
        columns.append(
            {"sum": x.logsumexp(1), "mean": x.logsumexp(1) - math.log(len(some)), "max": x.max(1).values}[how]
        )
    scores = torch.stack(columns, dim=1)
    mass = logits[:, flat].logsumexp(1) - logits.logsumexp(1)
    return scores - scores.logsumexp(1, keepdim=True), mass
