"""The picture of what ranks keep says its figures in words."""

from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.parallel.data_parallel.accounting import table
from labkit.parallel.data_parallel.picture import kept

RUN = {"size": 200, "held": {"parameters": 200, "gradients": 100, "optimizer": 600}, "sent": {"all_gather": 600},
       "steps": 3, "losses": [2.0, 1.0]}  # fmt: skip


def test_the_words_and_the_table():
    found = kept({2: {2: RUN}})
    assert "ZeRO-2, 2 ranks: parameters 2.00, gradients 1.00, optimizer 6.00, together 9.00 (formula 9.00)" in found.alt
    assert len(found.figure.axes[0].patches) == 3
    rows = {row[0]: row[1:] for row in table(RUN, 2, 2, "bf16").rows}
    assert rows["sent a step, bytes"] == ("200", "200")
    assert rows["optimizer, bytes"] == ("600", "600")
    assert rows["loss, first → last"][0] == "2.0000 → 1.0000"
    with pytest.raises(UsageError, match="at least one run"):
        kept({2: {}})
