"""All that has to run on a GPU, by one command: the tests marked gpu, then every benchmark at full size.

    make gpu                                                  without data sets
    make gpu GPU="--data DATA"                                with CamVid and CCP of DATA/camvid and DATA/ccp
    make gpu GPU="--minutes 9"                                as much as fits into nine minutes; call again to go on
    python benchmarks/gpu.py --only guidance tests            some pieces
    python benchmarks/gpu.py --rehearse --out runs/rehearsed  tiny sizes on a CPU

It first says what it will do (with --plan it does no more), needs no network, and takes one piece after the other, each
at most nine minutes long. A call that is repeated skips what has finished, resumes what can be resumed, and tries
again what failed; the other pieces run whatever becomes of one. Results lie in --out, 50 MiB at most: a table
(table.md), a record a piece (pieces/), and for each piece a folder with its JSON and the end of its log. Weights and
distilled sets are larger than that and lie in --work, where runs resume; keep it between calls.
"""

import argparse
import sys
from pathlib import Path

import torch
from pieces import MOST_BYTES, Folders, Piece, plan_of, run_pieces, table_of

ROOT = Path(__file__).resolve().parents[1]
TINY_WORDS = (
    "data.options={count: {train: 24, test: 6}, size_px: [32, 48]}", "data.size=[32,48]",
    "teacher.train.iterations=3", "teacher.train.width=8", "generator.fit.steps=2", "generator.fit.batch=2",
    "generator.fit.channels=[32,32]", "synthesize.start=1", "synthesize.steps=3", "synthesize.batch=2",
    "evaluate.train.iterations=2",
    "select.ratio=0.2", "evaluate.train.width=8", "evaluate.seeds=1", "evaluate.workers=1",
    "evaluate.sets=[random, distilled]",
)  # fmt: skip
SETS = "evaluate.sets=[random, balanced, distilled-unguided, distilled, distilled-soft, all]"
BUDGETS, TINY_BUDGETS = "0.01,0.05,0.1", "0.1,0.2"
FULL_WORDS = {
    "camvid": ("data.size=[256,320]", "evaluate.train.augmentation.crop_px=[192,256]"),
    "ccp": ("data.size=[384,256]", "evaluate.train.augmentation.crop_px=[288,192]"),
}
"""Twice the side of the tables in docs/results.md."""
# A step of a fit is bound by the processor, so its batch is large; a small student alone leaves a card idle.
FIT_WORDS = (
    "teacher.train.iterations=4000", "teacher.train.width=32", "teacher.train.batch=16", "generator.fit.steps=5000",
    "generator.fit.batch=64", "generator.fit.lr=0.0008",
)  # fmt: skip
STUDENT_WORDS = (
    "synthesize.soft={}", SETS, "evaluate.train.iterations=4000", "evaluate.train.lr=0.003",
    "evaluate.train.backbone_lr_share=1", "evaluate.workers=12",
    "evaluate.architectures=[compact-unet, {name: segformer-b0, lr: 0.001}]",
)  # fmt: skip


def pieces_of(work: Path, *, rehearse: bool, data: Path | None) -> list[Piece]:
    """The pieces in the order in which they run."""
    pieces = [tests(work, rehearse), *measurements(work, rehearse)]
    if rehearse:
        return pieces + data_set("scenes", None, work, rehearse)
    for name in FULL_WORDS if data is not None else ():
        pieces += data_set(name, data / name, work, rehearse)
    return pieces


def tests(work: Path, rehearse: bool) -> Piece:
    """The tests marked gpu; rehearsed, those of them that a CPU can take."""
    chosen = ["tests/parity/test_cpu_against_gpu.py"] if rehearse else ["-m", "gpu"]
    words = [*chosen, "-q", "-p", "no:cacheprovider", "--junitxml", str(work / "tests" / "tests.xml")]
    return Piece("tests", "the tests marked gpu", (sys.executable, "-m", "pytest", *words), ("tests.xml",))


def measurements(work: Path, rehearse: bool) -> list[Piece]:
    """Every benchmark that is one script, one JSON."""
    device = "cpu" if rehearse else "cuda"

    def piece(name: str, script: str, about: str, full: str, tiny: str, *figures: str, on: str = device) -> Piece:
        words = (tiny if rehearse else full).split()
        words += ["--device", on] if on else []
        path = work / name / f"{name}.json"
        command = (sys.executable, f"benchmarks/{script}.py", *words, "--out", str(path))
        return Piece(name, about, command, (path.name,), figures=figures)

    shown = ("sides.*.images_per_hour", "sides.*.peak_gib", "counted_gib.*")
    full, tiny = "--size 512 --steps 20 --rounds 3", "--tiny --steps 2 --rounds 1"
    guidance = "images an hour at 512 px with SD 1.5, ControlNet and Mask2Former Swin-S of random weights,"
    students = "--sizes 512x512 --precision bfloat16 --network"
    small = "--sizes tiny --rounds 1 --network compact-unet"
    rates = ("512x512.steps_a_second.*", "tiny.steps_a_second.*")
    return [
        piece("guidance", "guidance", f"{guidance} float32", full, tiny, *shown),
        piece("guidance-bfloat16", "guidance", f"{guidance} bfloat16", f"{full} --dtype bfloat16",
              f"{tiny} --sides unguided pipeline fast --dtype bfloat16", *shown),
        piece("attention", "attention", "rectified attention, and sampling against the pipelines of diffusers",
              "--full --dtype float16", "--rounds 1 --steps 1 --size 64", "*.ratio"),
        piece("generator-options", "generator_options", "what each option of a generator's compute block costs",
              "--full", "--rounds 1 --options channels_last", "options.*.ratio"),
        piece("steps-compact-unet", "training_steps", "steps a second of a compact-unet, with the loader and without",
              f"{students} compact-unet", small, *rates),
        piece("steps-mask2former", "training_steps", "the same of Mask2Former Swin-S",
              f"{students} mask2former-swin-s", small, *rates),
        piece("census", "census", "masks a second that are counted", "--memory --workers 8",
              "--memory --count 4 --rounds 1 --workers 1 --good 10", "alone.masks_per_s.*", "processes.masks_per_s.*",
              on=""),
        piece("bank", "bank", "pairs a second that the feature bank takes in",
              "--size 512 --batch 8 --batches 8", "--teacher segformer-b0 --size 64 --batches 1 --rounds 1",
              "pairs_per_s", "peak_gib"),
    ]  # fmt: skip


def data_set(recipe: str, root: Path | None, work: Path, rehearse: bool) -> list[Piece]:
    """A compact generator fitted to a data set, the recipe evaluated with it, and the table along budgets."""
    fit, run, grid = f"{recipe}-fit", recipe, f"{recipe}-budgets"
    models = work / fit / "run" / "models"
    shared = [f"data.root={root}"] if root is not None else []
    shared += TINY_WORDS if rehearse else FULL_WORDS[recipe]
    given = [f"teacher.source={models / 'teacher'}", f"generator.model={models / 'generator'}"]
    fresh = ["teacher.source=null", "generator.model=null"] if rehearse else [*FIT_WORDS]
    students = [] if rehearse else [*STUDENT_WORDS]

    def piece(name: str, about: str, verb: str, words: list[str], leaves: str, *also: str, after: str = "") -> Piece:
        place = ["--device", "cpu" if rehearse else "cuda", "--out", str(work / name / "run")]
        command = (sys.executable, "-m", "d3s2.cli", verb, recipe, *shared, *words, *place)
        return Piece(
            name, about, command, (f"run/{leaves}",), tuple(f"run/{pattern}" for pattern in also),
            after=(after,) if after else (), resumes=True,
        )  # fmt: skip

    budgets = ["--vary", f"select.ratio={TINY_BUDGETS if rehearse else BUDGETS}", "--split", "test"]
    return [
        piece(fit, f"teacher and compact generator of {recipe}", "fit", fresh, "models/generator/fitted.json",
              "models/teacher/fitted.json", "cost.json"),
        piece(run, f"{recipe} evaluated at one budget", "evaluate", [*given, *students], "results.json",
              "judges.json", "guidance_cost.json", "cost.json", "run.json", "gallery.png", "report.html", after=fit),
        piece(grid, f"{recipe} along budgets", "ablate", [*given, *students, *budgets], "ablation-test.json",
              "*.md", "*.png", "*.html", after=fit),
    ]  # fmt: skip


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu", help="results, 50 MiB at most")
    parser.add_argument("--work", type=Path, help="where runs lie and resume; default: OUT-work")
    parser.add_argument(
        "--data", type=Path, help="folder that holds camvid and ccp, as docs/datasets.md describes them"
    )
    parser.add_argument("--minutes", type=float, help="ends before so many minutes are over; a later call goes on")
    parser.add_argument("--only", nargs="+", metavar="PIECE", help="these pieces alone")
    parser.add_argument("--rehearse", action="store_true", help="the same commands with tiny sizes on a CPU")
    parser.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    args = parser.parse_args(words)
    args.out = args.out.resolve()
    args.work = (args.work or args.out.with_name(f"{args.out.name}-work")).resolve()
    args.data = args.data.resolve() if args.data else None
    return args


def main(words: list[str]) -> int:
    """Exit status: 0 all pieces have finished, 1 some have not, 2 the call was wrong."""
    args = parse(words)
    if not (args.rehearse or args.plan or torch.cuda.is_available()):
        print("No CUDA device here: run it on a machine with a GPU, or rehearse it with --rehearse.", file=sys.stderr)
        return 2
    pieces = pieces_of(args.work, rehearse=args.rehearse, data=args.data)
    unknown = set(args.only or ()) - {piece.name for piece in pieces}
    if unknown:
        known = ", ".join(piece.name for piece in pieces)
        print(f"--only {', '.join(sorted(unknown))}: expected some of {known}.", file=sys.stderr)
        return 2
    pieces = [piece for piece in pieces if not args.only or piece.name in args.only]
    folders = Folders(args.out, args.work, MOST_BYTES)
    device = "a CPU, tiny sizes" if args.rehearse else f"{torch.cuda.device_count()} CUDA device(s)"
    print(f"On {device}, torch {torch.__version__}. {plan_of(pieces, folders)}")
    if args.data is None and not args.rehearse:
        print("  CamVid and CCP are left out: --data names no folder.")
    if args.plan:
        return 0
    budget_s = args.minutes * 60 if args.minutes is not None else None
    records = run_pieces(pieces, folders, cwd=ROOT, budget_s=budget_s)
    print(table_of(pieces, folders))
    return int(any(record.state != "finished" for record in records))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
