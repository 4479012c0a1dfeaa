"""RunConfig: everything a run was asked for. Recipes and users' run files are this, as YAML."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from d3s2.base.config import Config
from d3s2.base.names import choose
from d3s2.base.revisions import Revision
from d3s2.data.names import Fit
from d3s2.evaluation.set_names import checked
from d3s2.generator.names import HEAD_CHANNELS, Mode
from d3s2.nets.names import ARCHITECTURE_NAMES, UNET_GROUPS
from d3s2.selection.names import CoverageKind

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
SidePx = Annotated[int, Field(ge=1, le=2**15)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Deviation = Annotated[float, Field(ge=0, le=10)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Zoom = Annotated[float, Field(ge=0.01, le=100)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]
UNetWidth = Annotated[int, Field(ge=UNET_GROUPS, le=2**12, multiple_of=UNET_GROUPS)]
LevelChannels = Annotated[int, Field(ge=HEAD_CHANNELS, le=2**12, multiple_of=HEAD_CHANNELS)]
SetName = Annotated[str, AfterValidator(checked)]


def not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as they are; after each of them was checked, so that one problem is one sentence."""
    if not values:
        raise ValueError("needs at least one value")
    return values


class DataConfig(Config):
    """Which data, at which working size."""

    dataset: str
    """A known name (`d3s2 doctor` lists them) or the path of a YAML data set file."""
    root: Path | None = None
    """Where the data set lies; `scenes` needs none."""
    train: str = "train"
    test: str = "test"
    size: tuple[SidePx, SidePx]
    """Working size, height and width in px."""
    fit: Fit = "stretch"
    """What happens to another aspect ratio."""
    memory_gib: NotNegative = 2.0
    """A split up to this size (4 bytes a pixel) is held in memory, a larger one read as it is needed; same numbers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the data set, for example {count: 2000} per split for `scenes`."""

    @model_validator(mode="after")
    def _splits_differ(self) -> "DataConfig":
        if self.train == self.test:
            raise ValueError(
                f"data.train and data.test are both '{self.train}', so that students would be scored on the pairs that "
                "they and the teacher learnt from; name another split in data.test"
            )
        return self


class SelectConfig(Config):
    """Stage 1: which masks."""

    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Budget as a share of the masks; give this or `num_masks`."""
    num_masks: int | None = None
    method: str = "class-balanced"
    coverage: CoverageKind = "mixed"
    """What a mask adds to a class: its presence, its share of pixels, or half of each."""
    min_pixels: Positive = 1
    """A mask covers the classes of which it holds at least so many pixels."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of equal cells of a coarse grid from which on two masks count as one, for video; null compares none."""
    class_weights: dict[str, float] = Field(default_factory=dict)
    """Weights of classes in the objective; 1 where none is given."""
    rare_weight: Share = 0.0
    """Weights from the census for all other classes: (0.5 / share of the masks that hold it) ** rare_weight, 1 to 8."""
    group_by: str | None = None
    """A regular expression that finds in each id where its mask comes from (a drive, a patient): each origin is covered
    as a class is. Its first bracket is the name; '^[^_]+' takes what stands before the first underscore."""
    group_weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """What a group counts in the objective, where a class counts 1."""
    force: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    force_classes: tuple[str, ...] = ()
    forbid_classes: tuple[str, ...] = ()
    quotas: dict[str, int] = Field(default_factory=dict)
    skip_bad: bool = False
    """Leave masks out that cannot be read, and record them, instead of stopping."""

    @model_validator(mode="after")
    def _one_budget(self) -> "SelectConfig":
        if (self.ratio is None) == (self.num_masks is None):
            raise ValueError("select needs exactly one of ratio and num_masks")
        return self


class TrainConfig(Config):
    """Training of a segmentation network."""

    iterations: Positive
    batch: Positive = 8
    lr: LearningRate = 2e-3
    width: UNetWidth = 16
    """Channels of the compact U-Net's finest level, a multiple of 8."""
    backbone_lr_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of `lr` at which the backbone of a network of transformers learns; a compact U-Net has none."""
    weight_decay: NotNegative = 0.01
    """Of AdamW; norms and embeddings do not decay."""
    warmup_share: Share = 0.05
    """Share of the iterations over which the rate rises; at least one step."""
    poly_power: Annotated[float, Field(gt=0, le=100)] = 0.9
    """Of the polynomial decay to 0 that follows."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Largest norm of a step's gradient."""
    accumulate: Positive = 1
    """Parts of a device's share of a batch that go through the network one after another: less memory, for pixel losses
    the same step."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network in training and prediction; auto takes what the device does well, losses are float32."""
    zoom: tuple[Zoom, Zoom] = (0.75, 1.5)
    """Smallest and largest scale, drawn evenly in its logarithm."""
    crop_px: tuple[Positive, Positive] | None = None
    """Height and width of what is cut out of the zoomed pair, anywhere in it; null keeps the working size."""
    shift: Share = 0.15
    """Largest shift as a share of the side; without effect where there is a crop."""
    flip: bool = True
    light: Share = 0.25
    """Brightness and contrast vary by factors 1 +- light."""
    saturation: Share = 0.25
    """Saturation varies by factors 1 +- saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest turn of the hues, as a share of the colour circle."""

    @model_validator(mode="after")
    def _ordered_zoom(self) -> "TrainConfig":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom must be [smallest, largest] scale")
        return self


class TeacherConfig(Config):
    """The frozen judge: fitted on the training split, or loaded."""

    source: str | None = None
    """A hub id or folder; null fits a compact U-Net."""
    revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    train: TrainConfig = TrainConfig(iterations=2000)
    """How one is fitted; not read where there is a source."""
    layers: tuple[str, ...] | None = None
    """Whose features are matched; null takes the default of the architecture (docs/networks.md)."""
    label_map: dict[str, str | int | tuple[str | int, ...]] | None = None
    """For a network of other classes: class of the data set -> its labels (names or ids) that mean it."""
    size_px: Positive | tuple[Positive, Positive] | None = None
    """What the teacher sees: the shorter side, or height and width in px; null is the working size."""
    allow_pickle: bool = False
    """Also read weights that are not safetensors."""

    @model_validator(mode="after")
    def _only_for_a_source(self) -> "TeacherConfig":
        given = (self.label_map is not None, self.allow_pickle, self.revision is not None)
        if self.source is None and any(given):
            raise ValueError(
                "teacher.label_map, teacher.allow_pickle and teacher.revision are for a network that teacher.source "
                "names"
            )
        return self


class CompactFitConfig(Config):
    """Fitting of the compact generator."""

    channels: Annotated[tuple[LevelChannels, ...], AfterValidator(not_empty)] = (128, 256, 384)
    """Of the U-Net's levels, multiples of 32."""
    pack: Annotated[int, Field(ge=1, le=64)] = 4
    """Side of the square of pixels, or of cells of a latent, that the network sees as one; 1 by default for latents."""
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    steps: Positive = 2000
    batch: Positive = 16
    lr: LearningRate = 4e-4
    rare_boost: NotNegative = 0.0
    """How much more often pairs with rare classes are drawn; 0 draws evenly, 0.5 is repeat-factor sampling."""
    start: str | None = None
    """A folder with a compact generator of the same shape to go on from, instead of fresh weights."""
    autoencoder: str | None = None
    """Hub id or folder of an AutoencoderKL or AutoencoderTiny whose latents the generator works on; null: pixels."""
    autoencoder_revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    autoencoder_subfolder: str | None = None
    """Where the autoencoder lies inside it; 'vae' in a Stable Diffusion pipeline."""
    flip: bool = True
    checkpoint_s: Seconds = 120.0
    """Seconds between checkpoints, each with a picture of samples."""

    @model_validator(mode="before")
    @classmethod
    def _latents_are_packed_already(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("autoencoder") is not None:
            return {"pack": 1, **values}
        return values


class ControlNetFitConfig(Config):
    """Fine-tuning of a ControlNet."""

    steps: Positive = 10000
    batch: Positive = 8
    """Pairs a step, over all devices."""
    accumulate: Positive = 1
    """Parts of its share of a batch that a device works on one after another: less memory, the same gradient."""
    lr: LearningRate = 1e-5
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 500
    drop_prompt: Share = 0.1
    """Share of pairs seen with an empty prompt, for classifier-free guidance."""
    flip: bool = True
    checkpoint_s: Seconds = 600.0
    """Seconds between checkpoints, each with a picture of samples."""


class GeneratorConfig(Config):
    """The layout-to-image model: fitted on the training split, or loaded."""

    kind: str = "compact"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the kind's loader (docs/generators.md); without `model` and with kind compact: fit one."""
    fit: CompactFitConfig = CompactFitConfig()
    """How a compact generator is fitted; other kinds do not read it."""
    tune: ControlNetFitConfig | None = None
    """With kind controlnet: fine-tune settings.controlnet on the training split, or a new one where that is not set."""

    @property
    def is_fitted_here(self) -> bool:
        """Whether the run makes its own generator."""
        return self.tune is not None or (self.kind == "compact" and "model" not in self.settings)

    @model_validator(mode="after")
    def _tunes_controlnets(self) -> "GeneratorConfig":
        if self.tune is not None and self.kind != "controlnet":
            raise ValueError(
                f"generator.tune fine-tunes a ControlNet, but generator.kind is '{self.kind}'; set kind to controlnet, "
                "or leave tune out"
            )
        return self


class GuidanceConfig(Config):
    """How the teacher guides; docs/guidance.md has the formulas."""

    strength: Annotated[float, Field(ge=0, le=100)] = 0.1
    mode: Mode = "fast"
    """`fast` takes the gradient by the prediction, `full` the one through the diffusion network, `both` adds them."""
    full_share: Share = 0.5
    """With mode `both`: part of the strength that goes through the network; 0 is `fast`, 1 is `full`."""
    window: tuple[Share, Share] = (0.1, 0.9)
    """[cleanest, noisiest] share of noise between which guidance acts, and time travel; 1 is pure noise."""
    inner_steps: Positive = 1
    smoothing: Deviation = 0.0
    """Noise on the prediction when its energy is taken, its deviation as a share of the level's noise; 0 is none."""
    smoothing_draws: Positive = 1
    """How many such noises the energy is averaged over; each costs a whole energy."""
    every: Positive = 1
    """A gradient is taken at every n-th step of the window."""
    hold: bool = False
    """Go on along the last gradient at the steps between; they are unguided otherwise."""
    l_seg: NotNegative = 1.0
    l_feat: NotNegative = 0.1
    by_class: bool = True
    views: Annotated[int, Field(ge=0)] = 1
    shift_px: Annotated[int, Field(ge=0)] = 4
    noise: Deviation = 0.03
    flip: bool = True

    @model_validator(mode="after")
    def _ordered_window(self) -> "GuidanceConfig":
        if self.window[0] >= self.window[1]:
            raise ValueError("guidance.window must be [cleanest, noisiest] with cleanest below noisiest")
        return self


class SoftConfig(Config):
    """The teacher's distribution on each finished image, stored beside its label."""

    num_top: Annotated[int, Field(ge=1, le=255)] = 4
    """The most probable classes that are kept in a cell."""
    cell_px: Positive | None = None
    """Height and width of a cell, in pixels of the image; null: a 64th of the picture's smaller side, at least 1 px."""


class SynthesizeConfig(Config):
    """Stage 2: one image a mask."""

    sampler: str = "ddim"
    steps: int = 24
    eta: Share = 0.0
    """Share of fresh noise a step: 0 is deterministic, 1 has DDPM's variance; for the sampler ddim."""
    guidance_scale: Annotated[float, Field(ge=0, le=100)] = 1.5
    """Classifier-free guidance; 1 switches it off."""
    batch: Positive = 10
    candidates: Positive = 1
    """Guided images made for each mask, from as many noises; the one that the teacher agrees with most is kept."""
    guidance: GuidanceConfig = GuidanceConfig()
    repeats: Positive = 1
    """Time travel: how often each step that starts in `guidance.window` is taken."""
    filter: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Pixels become 255 where the teacher's loss exceeds this times the class's mean on real data; null keeps all."""
    soft: SoftConfig | None = None
    """Soft labels beside the masks; null stores none, {} stores them as SoftConfig says."""
    unguided_too: bool = True
    """Also writes the set without guidance, for comparison."""
    trace_every: Annotated[int, Field(ge=0)] = 1
    """Energies are taken at every n-th step, for the page's curves; 0 at none. No image depends on it."""
    measure_cost: bool = False
    """Also measures what guidance costs, `fast` and `full` against unguided, on four of the masks."""

    @model_validator(mode="after")
    def _eta_is_for_ddim(self) -> "SynthesizeConfig":
        if self.eta and self.sampler != "ddim":
            raise ValueError(
                f"synthesize.eta is {self.eta:g}, but the sampler {self.sampler} is deterministic; set eta to 0, or "
                "the sampler to ddim"
            )
        return self


class ArchitectureConfig(Config):
    """A network that students are trained as; in YAML its bare name will do."""

    name: str
    """`compact-unet`, `segformer-b0`, ...: docs/networks.md lists them."""
    label: str | None = None
    """What tables call it; null is its name."""
    backbone: str | None = None
    """Hub id or folder of a pretrained backbone; null trains from scratch."""
    backbone_revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    iterations: Positive | None = None
    """This and what follows: null is what `evaluate.train` says."""
    batch: Positive | None = None
    lr: LearningRate | None = None
    weight_decay: NotNegative | None = None
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    accumulate: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        return {"name": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _known(self) -> "ArchitectureConfig":
        choose(dict.fromkeys(ARCHITECTURE_NAMES), self.name, "architecture")
        return self

    @property
    def student(self) -> str:
        """What tables call it."""
        return self.label or self.name

    def protocol(self, train: TrainConfig) -> TrainConfig:
        """The protocol of this architecture's students: `train` with what is set here."""
        own = self.model_dump(exclude={"name", "label", "backbone", "backbone_revision"}, exclude_none=True)
        return train.model_copy(update=own)


class InferenceConfig(Config):
    """Prediction in windows that overlap, their scores averaged."""

    window_px: tuple[Positive, Positive]
    """Height and width; a smaller picture is padded to it."""
    stride_px: tuple[Positive, Positive]
    """Down and across, from one window to the next; at most the window."""

    @model_validator(mode="after")
    def _no_gaps(self) -> "InferenceConfig":
        if any(stride > window for stride, window in zip(self.stride_px, self.window_px, strict=True)):
            raise ValueError("stride_px is larger than window_px, so that pixels would be left out")
        return self


class EvaluateConfig(Config):
    """Students on every set, one protocol."""

    sets: tuple[SetName, ...] = ("random", "balanced", "distilled-unguided", "distilled", "all")
    """What is compared; docs/evaluation.md has the grammar of names, for example `balanced+distilled-soft`."""
    soft_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the loss that soft labels have in sets with `-soft`; the mask has the rest."""
    inference: InferenceConfig | None = None
    """Sliding windows; null predicts whole images."""
    architectures: tuple[ArchitectureConfig, ...] = (ArchitectureConfig(name="compact-unet"),)
    """Each is trained on every set with every seed; the first one on all real data is the independent judge."""
    seeds: Positive = 3
    train: TrainConfig
    workers: Annotated[int, Field(ge=0)] = 0
    """Students that are trained side by side; 0 is as many as the cores of a CPU, or the GPUs, have room for."""
    devices_per_student: Positive = 1
    """GPUs (on a CPU: processes) that train one student together, each on its part of every batch."""
    checkpoint_s: Annotated[float, Field(ge=0, le=1e9)] = 120.0
    """Seconds between checkpoints of a student; one that takes less leaves none."""
    score_every: Annotated[int, Field(ge=0)] = 0
    """Iterations between two early scores of a student; 0 scores it at its end only. No other figure depends on it."""

    @model_validator(mode="after")
    def _sets_differ(self) -> "EvaluateConfig":
        twice = next((name for name in self.sets if self.sets.count(name) > 1), None)
        if twice is not None or not self.sets:
            raise ValueError(f"evaluate.sets names '{twice}' twice" if twice else "evaluate.sets is empty")
        return self

    @model_validator(mode="after")
    def _labels_differ(self) -> "EvaluateConfig":
        labels = [architecture.student for architecture in self.architectures]
        if not labels:
            raise ValueError("evaluate.architectures is empty; name at least one")
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"evaluate.architectures names '{twice}' twice; give each a label of its own")
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> "EvaluateConfig":
        for architecture in self.architectures:
            batch = architecture.protocol(self.train).batch
            if batch % self.devices_per_student:
                raise ValueError(
                    f"a batch of {batch} ({architecture.student}) does not divide among {self.devices_per_student} "
                    f"devices (evaluate.devices_per_student); make it a multiple of {self.devices_per_student}"
                )
        return self


class RunConfig(Config):
    """One run."""

    name: str
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    data: DataConfig
    select: SelectConfig
    teacher: TeacherConfig
    generator: GeneratorConfig
    synthesize: SynthesizeConfig = SynthesizeConfig()
    evaluate: EvaluateConfig
