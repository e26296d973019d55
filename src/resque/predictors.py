"""What is known before retraining, by name: RESQUE in its variants, and its rivals."""

from __future__ import annotations

from resque.baselines import BASELINES, Predictor

PAPER = "Sangarya & Kim, arXiv 2412.15511"


def _resque(what: str, needs_labels: bool = True) -> Predictor:
    return Predictor(needs_labels, +1, what, PAPER, is_resque=True)


PREDICTORS: dict[str, Predictor] = {
    "resque_dist": _resque("RESQUE_dist at the classifier's input"),
    "resque_dist_debiased": _resque("the same, its sampling bias taken out"),
    "resque_dist_layers": _resque("RESQUE_dist, mean over the measured layers"),
    "resque_dist_predicted": _resque("RESQUE_dist with predicted labels", False),
    "resque_dist_soft": _resque("RESQUE_dist with class probabilities for labels", False),
    "resque_scatter": _resque("RESQUE_dist of centered classes, plus their lost η²"),
    "resque_scatter_aligned": _resque("the same of aligned features, predicted labels", False),
    "resque_task": _resque("RESQUE_task of the shifted data"),
    **BASELINES,
}
