"""What is known before retraining, by name: RESQUE in its variants, and its rivals."""

from __future__ import annotations

from dataclasses import dataclass

from resque.baselines import BASELINES

PAPER = "Sangarya & Kim, arXiv 2412.15511"


@dataclass(frozen=True)
class Predictor:
    """A quantity that may tell the cost of retraining.

    Attributes:
        what: in words.
        needs_labels: whether it needs labels of the shifted data.
        sign: 1 where a greater value should mean a dearer retraining, else -1.
        source: paper.
        is_resque: whether it is RESQUE or a variant of it.
    """

    what: str
    needs_labels: bool
    sign: int
    source: str
    is_resque: bool = False


def _resque(what: str, needs_labels: bool = True) -> Predictor:
    return Predictor(what, needs_labels, 1, PAPER, True)


PREDICTORS: dict[str, Predictor] = {
    "resque_dist": _resque("RESQUE_dist at the classifier's input"),
    "resque_dist_debiased": _resque("the same, its sampling bias taken out"),
    "resque_dist_layers": _resque("RESQUE_dist, mean over the measured layers"),
    "resque_dist_predicted": _resque("RESQUE_dist with predicted labels", False),
    "resque_dist_soft": _resque("RESQUE_dist with class probabilities for labels", False),
    "resque_task": _resque("RESQUE_task of the shifted data"),
    **{
        name: Predictor(known.what, known.needs_labels, known.sign, known.source)
        for name, known in BASELINES.items()
    },
}
