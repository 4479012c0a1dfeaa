"""Stage report: one page and one gallery picture from what a run left on disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from d3s2.base.formats.files import write_bytes, write_text
from d3s2.base.formats.records import read_object, read_record
from d3s2.base.machine.runtime import versions
from d3s2.base.progress import SILENT, Progress
from d3s2.data.census import MaskCensus
from d3s2.data.strips import sources_of
from d3s2.evaluation import random_ids
from d3s2.judgements import Judgements, Neighbour, read_judgements
from d3s2.pipeline.controls.same_masks import below_best_real
from d3s2.pipeline.cost import read_costs
from d3s2.pipeline.evaluate import RESULTS
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.guidance_cost import GUIDANCE_COST, GuidanceCost
from d3s2.pipeline.judge import JUDGES
from d3s2.pipeline.run import Run, read_config
from d3s2.pipeline.select import read_selection
from d3s2.pipeline.synthesize import read_traces
from d3s2.pipeline.work.batches import UNGUIDED
from d3s2.report import (
    ClassFrequencies,
    EnergyTrace,
    Gallery,
    GalleryRow,
    PageItem,
    ReportContent,
    gallery_png,
    pack,
    render,
)
from d3s2.results import Results, read_results
from d3s2.selection import Pick, Selection
from d3s2.store import DistilledSet, item_id_for, read_manifest
from d3s2.store.soft import cell_px_for
from d3s2.student import predict
from d3s2.synthesis import GuidanceSettings, SynthesizeSettings, Trace

PAGE = "report.html"
GALLERY = "gallery.png"
NEIGHBOURS = "neighbours.png"
GALLERY_ROWS = 6


def write_report(folder: Path, device: torch.device, progress: Progress = SILENT) -> Path:
    """Writes report.html and gallery.png of the run in `folder`; returns the page's path.

    Raises:
        StoreError: the folder holds no run, or no finished distilled set.
    """
    run = Run(read_config(folder), folder, device, progress)
    selection, census = read_selection(folder), run.census
    judgements = _judgements(run)
    count, read = len(selection.picks), read_items(run, selection.picks, judgements)
    gallery = make_gallery(run, count, read)
    neighbours = _neighbours(run, judgements) if judgements else None
    results = read_results(folder / RESULTS) if (folder / RESULTS).exists() else None
    content = ReportContent(
        title=f"{run.config.name}, distilled to {len(selection.ids)} images",
        subtitle=_subtitle(run, selection, census),
        date=results.date if results else "",
        asked=_asked(run, selection),
        results=results,
        frequencies=_frequencies(run, census, selection),
        gallery=gallery,
        items=pack(count, read, run.train_data.space, progress=run.progress),
        judgements=judgements,
        neighbours=neighbours,
        energies=_energies(folder),
        cost=read_costs(folder),
        provenance=_provenance(folder, results),
        folder=os.fspath(folder),
        notes=(*below_best_real(results, run.config), *_notes(folder)),
    )
    write_bytes(folder / GALLERY, gallery_png(gallery))
    if neighbours is not None:
        write_bytes(folder / NEIGHBOURS, gallery_png(neighbours))
    write_text(folder / PAGE, render(content))
    return folder / PAGE


def read_items(run: Run, picks: Sequence[Pick], judgements: Judgements | None) -> Callable[[int], PageItem]:
    """Position in the order of choice -> the item: what is on disk of it, and the teacher's opinion of its image."""
    guided = DistilledSet(run.folder)
    unguided = DistilledSet(run.folder / UNGUIDED) if (run.folder / UNGUIDED).is_dir() else None
    teacher = fit_teacher(run)
    judged = judgements.of("distilled") if judgements else None
    neighbours = {one.item_id: one for one in judged.neighbours} if judged else {}

    def read(position: int) -> PageItem:
        pick = picks[position]
        item = guided.item(item_id_for(pick.item_id))
        image, neighbour = guided.image(item.item_id), neighbours.get(item.item_id)
        opinion = predict(teacher, torch.from_numpy(image).permute(2, 0, 1)[None], device=run.device)[0].numpy()
        agrees = item.teacher_accuracy
        note = f"mask {pick.item_id}" + (f", taken for {pick.reason_class}" if pick.reason_class else "")
        pictures = GalleryRow(
            mask=guided.mask(item.item_id),
            real=run.source_data.image(pick.item_id),
            unguided=unguided.image(item.item_id) if unguided else None,
            guided=image,
            opinion=opinion,
            note=note + (f"; the teacher agrees on {100 * agrees:.0f} % of the pixels" if agrees else ""),
        )
        return PageItem(
            item_id=item.item_id,
            source_id=item.source_id,
            pictures=pictures,
            chosen_for=pick.reason_class,
            candidate=item.candidate,
            energies_before=item.energies_before,
            energies=item.energies_after,
            nearest_id=neighbour.nearest_id if neighbour else None,
            distance=neighbour.distance if neighbour else None,
            ratio=neighbour.ratio if neighbour else None,
        )

    return read


def make_gallery(run: Run, count: int, read: Callable[[int], PageItem]) -> Gallery:
    """A few items, spread over the order of choice: mask, its real image, unguided, guided, the teacher's opinion."""
    chosen = np.unique(np.linspace(0, count - 1, min(GALLERY_ROWS, count)).round().astype(int))
    return Gallery(tuple(read(int(position)).pictures for position in chosen), run.train_data.space)


def _subtitle(run: Run, selection: Selection, census: MaskCensus) -> str:
    height, width = run.config.data.size
    strips, count, whole = run.config.select.strips, len(selection.ids), f"{len(census.ids):,}"
    masks = f"{count} of {whole} masks" if strips == 1 else f"{count} masks put together of {strips} strips of {whole}"
    return f"{masks} of {run.train_data.name}, each with one image made for it at {height} x {width} px."


def _judgements(run: Run) -> Judgements | None:
    """What judges said; None before the evaluation."""
    path = run.folder / JUDGES
    if not path.exists():
        return None
    if "rows" not in read_object(path):
        run.progress.say(f"{path} was written by an older d3s2 and is left out: `d3s2 evaluate` writes it again.")
        return None
    return read_judgements(path)


def _neighbours(run: Run, judgements: Judgements) -> Gallery | None:
    """The guided images that come closest to real ones."""
    judged = judgements.of("distilled")
    if judged is None or not judged.neighbours:
        return None
    distilled = DistilledSet(run.folder)
    return Gallery(tuple(_beside(run, distilled, one) for one in judged.closest(GALLERY_ROWS)), distilled.space)


def _beside(run: Run, distilled: DistilledSet, neighbour: Neighbour) -> GalleryRow:
    own = neighbour.nearest_id in (neighbour.source_id, *sources_of(neighbour.source_id))
    nearest = "its own mask's image" if own else neighbour.nearest_id
    return GalleryRow(
        mask=distilled.mask(neighbour.item_id),
        real=run.source_data.image(neighbour.source_id),
        guided=distilled.image(neighbour.item_id),
        nearest=run.train_data.image(neighbour.nearest_id),
        note=f"mask {neighbour.source_id}; nearest is {nearest}, distance {neighbour.distance:.1f}, "
        f"ratio {neighbour.ratio:.2f}",
    )


def _asked(run: Run, selection: Selection) -> dict[str, str]:
    config, guidance = run.config, run.config.synthesize.guidance
    return {
        "Data": f"{run.train_data.name}, {len(run.train_data.ids):,} pairs, {run.train_data.space.num_classes} classes",
        "Budget": f"{len(selection.ids)} masks by {selection.method} selection",
        "Generator": config.generator.summary,
        "Teacher": config.teacher.source or f"{config.teacher.architecture.student}, fitted on the training split",
        "Sampling": f"{config.synthesize.sampler}, {config.synthesize.steps} steps, "
        f"classifier-free guidance {config.synthesize.guidance_scale:g}",
        "Guidance": f"{guidance.rule}, strength {guidance.strength:g}, window {guidance.window.cleanest:g} to "
        f"{guidance.window.noisiest:g} of the noise, {guidance.views.count} perturbed view(s) a gradient"
        f"{_spacing(guidance)}",
        "Energies": " + ".join(f"{weight:g} x {name}" for name, weight in guidance.energies.items()),
        "Seed": str(config.seed),
        **_past_the_paper(config.synthesize, config.data.size),
    }


def _spacing(guidance: GuidanceSettings) -> str:
    if guidance.every == 1:
        return ""
    return f", one in {guidance.every} steps{' and held between' if guidance.hold else ''}"


def _past_the_paper(config: SynthesizeSettings, size_px: tuple[int, int]) -> dict[str, str]:
    """What is switched on beyond the method as published."""
    asked = {}
    if config.candidates > 1:
        asked["Candidates"] = f"{config.candidates} a mask, the one that the teacher agrees with most"
    if config.filter is not None:
        asked["Filter"] = f"pixels harder than {config.filter:g} x their class on real images are ignored"
    if config.soft is not None:
        cell_px = config.soft.cell_px or cell_px_for(size_px)
        asked["Soft labels"] = f"{config.soft.num_top} classes a cell of {cell_px} px"
    return asked


def _frequencies(run: Run, census: MaskCensus, selection: Selection) -> ClassFrequencies:
    """Shares of masks that hold each class: all, the random set of the first seed, the chosen."""
    row_of = {item_id: row for row, item_id in enumerate(census.ids)}
    sets = {
        "all": list(census.ids),
        "random": random_ids(run.train_data.ids, len(selection.ids), run.config.seed, 0),
        "distilled": selection.ids,
    }
    shares = {}
    for name, ids in sets.items():
        rows = [row_of[item_id] for item_id in ids if item_id in row_of]
        held = np.asarray((census.pixels[rows] > 0).sum(axis=0)).ravel()
        composed = [item_id for item_id in ids if item_id not in row_of]
        for item_id in composed:
            held = held + np.isin(np.arange(census.num_classes), run.source_data.mask(item_id))
        shares[name] = tuple(float(count) / (len(rows) + len(composed)) for count in held)
    return ClassFrequencies(census.class_names, shares)


def _energies(folder: Path) -> tuple[EnergyTrace, ...]:
    series = {"distilled-unguided": UNGUIDED, "distilled": "guided"}
    found = []
    for name, kind in series.items():
        traces = read_traces(folder, kind)
        if traces:
            found += [EnergyTrace(energy, name, _joined(traces, energy)) for energy in traces[0].energies]
    return tuple(found)


def _joined(traces: Sequence[Trace], energy: str) -> np.ndarray:
    """Items x steps, NaN where no energy was taken."""
    return np.concatenate([np.array(trace.energies[energy], dtype=np.float64).T for trace in traces])


def _provenance(folder: Path, results: Results | None) -> Mapping[str, str]:
    manifest = read_manifest(folder)
    inputs, machine = manifest.get("inputs") or {}, (manifest.get("cost") or {}).get("hardware")
    told = {
        "Set": str(manifest.get("items_sha256", "not recorded")),
        "Data": str(inputs.get("data_digest", "not recorded")),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "Commit": str(manifest.get("commit") or "installed package"),
        "Hardware": ", ".join(f"{key} {value}" for key, value in machine.items())
        if isinstance(machine, dict)
        else "not recorded",
    }
    return told | ({"Evaluated by": results.command} if results and results.command else {})


def _notes(folder: Path) -> tuple[str, ...]:
    notes = []
    if (folder / GUIDANCE_COST).exists():
        cost = read_record(folder / GUIDANCE_COST, GuidanceCost)
        notes.append(
            f"Guidance in fast mode cost {cost.fast_ratio:.2f} times an unguided sample, in full mode "
            f"{cost.full_ratio:.2f} times (same masks, same process)."
        )
    return tuple(notes)
