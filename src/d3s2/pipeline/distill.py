"""The line from data to distilled set: census, select, fit or load, synthesize."""

from d3s2.pipeline.cost import accounted
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.fitting.generator import require_size
from d3s2.pipeline.guidance_cost import GUIDANCE_COST, measure_guidance_cost
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import select_run
from d3s2.pipeline.synthesize import synthesize
from d3s2.selection import Selection


def distill_run(run: Run) -> None:
    """Makes the distilled set of a run, resuming from what exists."""
    selection, models = prepare_run(run)
    if run.execution.share is not None:
        synthesize(run, selection, models)
        return
    with accounted(run.folder, "synthesize"):
        synthesize(run, selection, models)
    if run.config.synthesize.measure_cost and not (run.folder / GUIDANCE_COST).exists():
        with accounted(run.folder, "guidance cost"):
            measure_guidance_cost(run, selection, models)


def prepare_run(run: Run) -> tuple[Selection, Models]:
    """What synthesis needs: the chosen masks, and the models, fitted where there are none."""
    require_size(run)
    if run.execution.share is not None:  # which keeps no costs: others write beside it
        return select_run(run), fit_models(run)
    with accounted(run.folder, "census"):
        run.count_masks()
    with accounted(run.folder, "select"):
        selection = select_run(run)
    with accounted(run.folder, "fit"):
        models = fit_models(run)
    return selection, models
