r"""Compute the prepared answers of the bundled cases, by the functions that a visitor's runs take.

cd spaces_demo/assets
resque demo
for epochs in 1 0.04; do
    resque retrain --model resque-demo/model --dataset resque-demo/digits#train \
        --strategy scratch --target-accuracy 0.99 --epochs $epochs --output-dir epochs-$epochs
done
python ../build_cases.py
"""

from __future__ import annotations

import datetime
import os
from typing import Any

import jobs
from cases import CORRUPTIONS, FILE, OPENING, TASKS, Cases, bundled, bundled_task, write_cases


def main() -> None:
    """Write assets/cases.json."""
    from cpuinfo import get_cpu_info
    from tqdm import tqdm

    import resque
    from resque.shifts import severities_of

    os.chdir(FILE.parent)
    levels = [f"{name}:{x:g}" for name in CORRUPTIONS for x in severities_of(name)]
    shifts: dict[jobs.Shift, dict[str, Any]] = {}
    for corruption in tqdm(levels):
        forecast = jobs.forecast(bundled(corruption))
        for labels in ("auto", "predicted"):
            shift = bundled(corruption, labels)
            shifts[shift] = {"report": jobs.estimate(shift), "forecast": forecast}
    made = (
        f"Computed beforehand by build_cases.py on {datetime.date.today()}, with resque "
        f"{resque.__version__} on {get_cpu_info()['brand_raw']}; the costs are of that computer."
    )
    tasks = {}
    for column in tqdm(TASKS):
        task = bundled_task(column)
        maps = {model: jobs.embed(model, task) for model in task.models}
        tasks[task] = {"ranking": jobs.rank(task), "maps": maps}
    write_cases(Cases(made, shifts, tasks, jobs.samples(bundled(OPENING))))


if __name__ == "__main__":
    main()
