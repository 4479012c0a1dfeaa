"""The line from data to distilled set: census, select, fit or load, synthesize."""

from d3s2.pipeline.cost import accounted
from d3s2.pipeline.fitting.fit import fit_models
from d3s2.pipeline.guidance_cost import GUIDANCE_COST, measure_guidance_cost
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import select_run
from d3s2.pipeline.synthesize import synthesize


def distill_run(run: Run) -> None:
    """Makes the distilled set of a run, resuming from what exists."""
    if run.execution.share is not None:  # which keeps no costs: others write beside it
        synthesize(run, select_run(run), fit_models(run))
        return
    with accounted(run.folder, "census"):
        run.count_masks()
    with accounted(run.folder, "select"):
        selection = select_run(run)
    with accounted(run.folder, "fit"):
        models = fit_models(run)
    with accounted(run.folder, "synthesize"):
        synthesize(run, selection, models)
    if run.config.synthesize.measure_cost and not (run.folder / GUIDANCE_COST).exists():
        with accounted(run.folder, "guidance cost"):
            measure_guidance_cost(run, selection, models)
