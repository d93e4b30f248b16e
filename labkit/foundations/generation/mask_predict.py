"""Mask-predict (Ghazvininejad et al. 2019, §3): all tokens of a text at once, and the doubtful ones again.

A masked language model fills every blank in one pass, each as if it knew nothing of what is put into the others. In
later passes the tokens with the lowest probability are hidden again, fewer each time, and are filled beside the rest.
A text of n tokens costs `passes` steps, not n; its length must be known before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labkit.errors import UsageError
from labkit.evaluation import eval_mode
from labkit.foundations.encoder import lm_logits


def mask_predict(
    model: nn.Module, input_ids: Tensor, mask_id: int, passes: int, attention_mask: Tensor | None = None
) -> Tensor:
    """`input_ids` (rows, tokens) with every `mask_id` filled in; all else stays as it is.

    In pass t of T, N blanks of a row, the ⌊N (T − t) / T⌋ tokens with the lowest probability are hidden again for the
    next. UsageError for less than one pass, or a row without a blank.
    """
    blanks = input_ids == mask_id  # (rows, tokens)
    if passes < 1 or not blanks.any(1).all():
        raise UsageError(f"passes={passes}: at least 1 is needed, and in every row a blank to fill (token {mask_id})")
    ids, hidden, batch = input_ids.clone(), blanks, {"attention_mask": attention_mask}
    sure = torch.full(ids.shape, torch.inf, device=ids.device)  # what was given is never hidden
    for number in range(1, passes + 1):
        rows, columns = hidden.nonzero(as_tuple=True)
        with eval_mode(model), torch.no_grad():
            logits = lm_logits(model, batch | {"input_ids": ids.masked_fill(hidden, mask_id)}, rows, columns)
        logits[:, mask_id] = -torch.inf
        sure[rows, columns], ids[rows, columns] = logits.float().softmax(-1).max(-1)
        again = blanks.sum(1) * (passes - number) // passes  # (rows,)
        if not again.any():
            break
        hidden = sure.argsort(1).argsort(1) < again[:, None]  # a token's rank from the most doubtful
    return ids
