"""Reviews of the world as tables without a header, as EasyNLP's are."""

from __future__ import annotations

from labkit.tasks import load_task


def write_reviews(folder, **counts):
    """The first so many rows of each split, text and label, in `SPLIT.tsv`; the files' paths."""
    task, paths = load_task("world/reviews"), []
    for split, count in counts.items():
        lines = [f"{row['text']}\t{row['label']}" for row in task.splits[split][:count]]
        paths.append(folder / f"{split}.tsv")
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths
