"""An example a command, at the end of its help; the tests parse each with the command line itself."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("d3s2 demo --dry-run", "d3s2 demo --out runs/demo"),
    "init": ("d3s2 init data/mine --out mine",),
    "distill": ("d3s2 distill scenes select.ratio=0.02 --out runs/scenes --dry-run",),
    "evaluate": ("d3s2 evaluate mine/run.yaml --dry-run", "d3s2 evaluate mine/run.yaml --out runs/mine"),
    "ablate": (
        "d3s2 ablate scenes --axis parts --axis strength --out runs/ablation",
        "d3s2 ablate scenes --vary synthesize.steps=12,24 --out runs/steps",
    ),
    "census": ("d3s2 census camvid data.root=data/camvid --out runs/camvid",),
    "select": ("d3s2 select scenes select.ratio=0.02 --explain --out runs/scenes",),
    "fit": ("d3s2 fit mine/run.yaml --out runs/mine",),
    "synthesize": ("d3s2 synthesize mine/run.yaml --device cuda --out runs/mine",),
    "report": ("d3s2 report runs/mine",),
    "join": ("d3s2 distill mine/run.yaml --shard 1/4 --out runs/mine", "d3s2 join runs/mine"),
    "verify": ("d3s2 verify runs/mine",),
    "export": (
        "d3s2 export runs/mine --format mmseg --to runs/mine-mmseg",
        "d3s2 export runs/mine --push-to-hub OWNER/NAME --dry-run",
    ),
    "doctor": ("d3s2 doctor", "d3s2 doctor --dataset camvid --root data/camvid"),
}


def shown(command: str) -> str:
    """What help shows below the options of a command; the first line keeps click from joining the others."""
    return "\b\n" + "\n".join(["Examples:" if len(EXAMPLES[command]) > 1 else "Example:", *_indented(command)])


def _indented(command: str) -> list[str]:
    return [f"  {line}" for line in EXAMPLES[command]]
