"""Draws of the distilled set: the same models, another noise and other ties; what a table calls its spread.

Draw d is the set that the run would make with `seed` + d from the models that it has. Draw 0 is the run's own set, the
others lie in `draws/<d>` of its folder.
"""

from dataclasses import replace
from pathlib import Path

from d3s2.pipeline.fitting.fit import fit_models
from d3s2.pipeline.run import Run, set_folder
from d3s2.pipeline.select import select_run
from d3s2.pipeline.synthesize import begin_sets, make_items
from d3s2.set_names import GUIDED, HERE
from d3s2.store import MANIFEST

DRAWS = "draws"


def drawn(run: Run, draw: int) -> Run:
    """The run of one draw, which shares census and models with the first."""
    if draw == 0:
        return run
    config = run.config.model_copy(update={"seed": run.config.seed + draw})
    return replace(run, config=config, folder=run.folder / DRAWS / str(draw), shared=run.base)


def draw_folder(run: Run, name: str, draw: int) -> Path:
    """Where a distilled set of one draw lies; `name` as for `set_folder`."""
    return set_folder(drawn(run, draw), name)


def make_draws(run: Run) -> None:
    """Makes the sets of all draws but the first, which is there, resuming from what exists."""
    missing = [one for draw in range(1, run.config.evaluate.draws) if not _is_there(one := drawn(run, draw))]
    if not missing:
        return
    models = fit_models(run)
    begun = [begin_sets(one, select_run(one), models) for one in missing]
    make_items(run, begun, models)
    with run.alone("finish the draws"):  # with a share too: students of the draws come next
        for made in begun:
            made.finish()


def _is_there(run: Run) -> bool:
    own = HERE if run.config.synthesize.unguided_too else (GUIDED,)
    return all((set_folder(run, name) / MANIFEST).exists() for name in own)
