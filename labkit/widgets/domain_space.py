"""Where a model puts texts of several domains: its features in two dimensions, one panel for each state of the model.

Each panel has its own two principal components, because another training makes another space; the number above it is of
all dimensions: how many texts have their nearest neighbour in their own domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from labkit.errors import UsageError
from labkit.report import Plot
from labkit.report.figure import COLOURS, MARKS

MOST = 7  # domains that colour and mark tell apart


def neighbours(features: np.ndarray, domains: Sequence[str]) -> float:
    """The share of texts whose nearest other text, by cosine, is of their own domain; `features` (n, d)."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    names = np.asarray(domains)
    return float((names[near.argmax(1)] == names).mean())


def plane(features: np.ndarray) -> tuple[np.ndarray, float]:
    """The points (n, 2) on the first two principal components, and the share of the variance that these keep."""
    centred = features - features.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12))


def domain_space(states: Mapping[str, np.ndarray], domains: Sequence[str]) -> Plot:
    """A panel for each of `states`, name → features (n, d) of the same texts, coloured by their `domains` (n,).

    UsageError for features that are not as many as the domains, and for more domains than can be told apart.
    """
    from matplotlib.figure import Figure

    names = sorted(set(domains))
    if not 2 <= len(names) <= MOST:
        raise UsageError(f"{len(names)} domains: 2 to {MOST} can be told apart by colour and mark")
    for name, features in states.items():
        if np.ndim(features) != 2 or len(features) != len(domains):
            raise UsageError(f"{name}: features {np.shape(features)} for {len(domains)} texts: (texts, d) are needed")
    figure = Figure(figsize=(3.6 * len(states), 3.7), layout="constrained")
    said, chosen = [], np.asarray(domains)
    for axes, (name, features) in zip(figure.subplots(1, len(states), squeeze=False)[0], states.items(), strict=True):
        features = np.asarray(features, np.float64)
        (points, kept), share = plane(features), neighbours(features, domains)
        for number, domain in enumerate(names):
            mine = points[chosen == domain]
            look = {"color": COLOURS[number], "marker": MARKS[number], "label": domain}
            axes.scatter(mine[:, 0], mine[:, 1], s=16, alpha=0.65, lw=0, **look)
        axes.set_title(f"{name}\nneighbour of the same domain: {share:.0%}", fontsize=10)
        axes.set_xlabel(f"two components, {kept:.0%} of the variance", fontsize=9)
        axes.set(xticks=[], yticks=[])
        said.append(f"{name}: {share:.0%} of the nearest neighbours are of the same domain, {kept:.0%} of the variance")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    what = f"Scatter plots of {len(domains)} texts of the domains {', '.join(names)} on two principal components"
    return Plot(figure, f"{what}. {'; '.join(said)}.")
