"""`scenes`: a procedural, long-tailed data set of small outdoor views, drawn on the fly.

Layouts have structure (sky above a skyline, a road in perspective, cars on the road, boats on water), classes are
textured and lit, so that no class is one colour, and colours are shared between classes (a red car, a red sign, a red
hydrant), so that shape and place matter. Class frequencies fall from every mask to fewer than one in a hundred, like
ADE20K's. A view depends on (seed, split, index) only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from d3s2.base.errors import DataError
from d3s2.base.seeds import numpy_generator
from d3s2.data.label_space import LabelSpace

VERSION = 1
"""Part of every digest; raised whenever the same seed would give other pixels."""

SPACE = LabelSpace(
    name="scenes",
    names=(
        "sky", "ground", "road", "building", "tree", "mountain", "water", "car", "person",
        "pole", "fence", "sign", "bus", "light", "boat", "bird", "balloon", "hydrant",
    ),
    palette=(
        (126, 190, 238), (134, 178, 92), (112, 108, 120), (196, 146, 108), (38, 120, 62), (122, 128, 160),
        (40, 96, 176), (216, 40, 52), (244, 164, 40), (60, 60, 72), (170, 120, 60), (250, 226, 60),
        (150, 60, 170), (90, 230, 200), (240, 240, 240), (20, 20, 20), (255, 90, 170), (160, 20, 20),
    ),
)  # fmt: skip
CLASS = {name: index for index, name in enumerate(SPACE.names)}

# Chance that a view asks for an object; layout (water needs a shore, cars a road) lowers some of them further.
CHANCE = {
    "mountain": 0.34, "water": 0.16, "road": 0.72, "building": 0.72, "tree": 0.66, "fence": 0.14, "pole": 0.22,
    "sign": 0.10, "car": 0.48, "bus": 0.075, "person": 0.24, "light": 0.05, "boat": 0.20, "bird": 0.022,
    "balloon": 0.011, "hydrant": 0.008,
}  # fmt: skip

Number = int | float
Rgb = tuple[Number, Number, Number]
Point = tuple[Number, Number]


@dataclass(frozen=True)
class Scenes:
    """One split of the procedural data set.

    Args:
        split: part of the seed; views of two splits never coincide.
        count: how many views.
        size_px: (height, width), at least 32 x 48.
        seed: the same seed gives the same pixels.
    """

    split: str
    count: int
    size_px: tuple[int, int] = (64, 96)
    seed: int = 0

    def __post_init__(self) -> None:
        height, width = self.size_px
        if self.count < 1 or height < 32 or width < 48:
            raise DataError(
                f"scenes: {self.count} views of {height} x {width} px were asked for, "
                "expected at least 1 of 32 x 48 (height x width)."
            )

    @property
    def name(self) -> str:
        return f"scenes/{self.split}"

    @property
    def space(self) -> LabelSpace:
        return SPACE

    @cached_property
    def ids(self) -> Sequence[str]:
        return tuple(f"{index:06d}" for index in range(self.count))

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return self._view(item_id)[0]

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        return self._view(item_id)[1]

    def pair_stamp(self, item_id: str) -> str:
        height, width = self.size_px
        return f"v{VERSION}-{self.seed}-{self.split}-{height}x{width}"

    def pair_digest(self, item_id: str) -> str:
        return self.pair_stamp(item_id)

    def _view(self, item_id: str) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        return _cached_view(self.seed, self.split, int(item_id), self.size_px)


@lru_cache(maxsize=16)
def _cached_view(
    seed: int, split: str, index: int, size_px: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    # An image and its mask are asked for one after the other: keep the last few views.
    return draw_view(numpy_generator(seed, "scenes", VERSION, split, index), size_px)


class Canvas:
    """Image and mask under construction; positions are in fractions of height and width."""

    def __init__(self, rng: np.random.Generator, size_px: tuple[int, int]) -> None:
        self.rng = rng
        self.height, self.width = size_px
        self.rgb: Float32[np.ndarray, "h w 3"] = np.zeros((*size_px, 3), dtype=np.float32)
        self.mask: UInt8[np.ndarray, "h w"] = np.zeros(size_px, dtype=np.uint8)
        self.daylight = rng.uniform(0.62, 1.08)
        self.tint = np.array([1.0, rng.uniform(0.92, 1.0), rng.uniform(0.82, 1.06)], dtype=np.float32)
        self.light_from_left = bool(rng.random() < 0.5)

    def grain(self, cells: int, strength: float) -> Float32[np.ndarray, "h w 1"]:
        """Smooth noise around 1 with about `cells` blobs across the width."""
        rows = max(2, cells * self.height // self.width)
        coarse = self.rng.normal(0.0, strength, (rows, cells)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC)
        return 1.0 + np.asarray(smooth, dtype=np.float32)[..., None]

    def region(self, draw: Callable[[ImageDraw.ImageDraw], None]) -> np.ndarray:
        """The pixels that `draw` fills, as booleans."""
        stencil = Image.new("1", (self.width, self.height))
        draw(ImageDraw.Draw(stencil))
        return np.asarray(stencil)

    def polygon(self, points: Sequence[Point]) -> np.ndarray:
        """The pixels inside a polygon."""
        pixels = [(x * self.width, y * self.height) for x, y in points]
        return self.region(lambda pen: pen.polygon(pixels, fill=1))

    def box(self, x0: Number, y0: Number, x1: Number, y1: Number) -> np.ndarray:
        """The pixels of a rectangle, at least one."""
        left, top = int(x0 * self.width), int(y0 * self.height)
        right, bottom = max(left, int(x1 * self.width) - 1), max(top, int(y1 * self.height) - 1)
        return self.region(lambda pen: pen.rectangle((left, top, right, bottom), fill=1))

    def ellipse(self, x: Number, y: Number, rx: Number, ry: Number) -> np.ndarray:
        """The pixels of an ellipse."""
        box = ((x - rx) * self.width, (y - ry) * self.height, (x + rx) * self.width, (y + ry) * self.height)
        return self.region(lambda pen: pen.ellipse(box, fill=1))

    def paint(self, name: str, where: np.ndarray, colour: Rgb, texture: np.ndarray | float = 1.0) -> None:
        """Gives the pixels `where` a class and a lit, textured colour; a view of one object is shaded across."""
        shade = 1.0
        columns = np.flatnonzero(where.any(axis=0))
        if columns.size > 2 and name not in ("sky", "ground", "road", "water"):
            ramp = (np.arange(self.width) - columns[0]) / (columns[-1] - columns[0])
            shade = (1.12 - 0.3 * (ramp if self.light_from_left else 1 - ramp))[None, :, None]
        lit = np.asarray(colour, dtype=np.float32) * self.tint * np.asarray(texture * shade * self.daylight)
        self.rgb[where] = np.broadcast_to(lit, self.rgb.shape)[where]
        self.mask[where] = CLASS[name]

    def detail(self, where: np.ndarray, colour: Rgb) -> None:
        """Recolours pixels without changing their class (windows, wheels, markings)."""
        self.rgb[where] = np.asarray(colour, dtype=np.float32) * self.daylight


def draw_view(
    rng: np.random.Generator, size_px: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """One view: far things first, near things over them, then haze and sensor noise."""
    canvas = Canvas(rng, size_px)
    wants = {name: bool(rng.random() < chance) for name, chance in CHANCE.items()}
    horizon = rng.uniform(0.34, 0.52)
    _sky(canvas, horizon, wants)
    if wants["mountain"]:
        _mountains(canvas, horizon)
    _ground(canvas, horizon)
    if wants["water"]:
        _water(canvas, horizon, boat=wants["boat"])
    if wants["building"]:
        _buildings(canvas, horizon)
    if wants["tree"]:
        _trees(canvas, horizon)
    if wants["fence"]:
        _fence(canvas, horizon)
    if wants["road"]:
        _road(canvas, horizon, wants)
    _street_furniture(canvas, horizon, wants)
    if wants["person"]:
        _people(canvas, horizon)
    return _photograph(canvas), canvas.mask


def _sky(canvas: Canvas, horizon: float, wants: dict[str, bool]) -> None:
    rng = canvas.rng
    tops: list[Rgb] = [(88, 148, 226), (150, 158, 176), (206, 132, 112), (108, 170, 214)]
    top = np.array(tops[rng.integers(len(tops))], dtype=np.float32)
    rows = np.linspace(0.0, 1.0, canvas.height, dtype=np.float32)[:, None, None]
    gradient = (1.0 - rows) + rows * (np.array([226, 224, 222], dtype=np.float32) / top)
    clouds = np.maximum(canvas.grain(7, 0.22), 0.94)
    everywhere = np.ones(canvas.mask.shape, dtype=bool)
    canvas.paint("sky", everywhere, (float(top[0]), float(top[1]), float(top[2])), gradient * clouds)
    if wants["bird"]:
        for _ in range(rng.integers(2, 6)):
            x, y, span = rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.26), rng.uniform(0.025, 0.05)
            wings = [(x - span, y - span), (x, y), (x + span, y - span), (x, y + 0.025)]
            canvas.paint("bird", canvas.polygon(wings), (38, 36, 44))
    if wants["balloon"]:
        x, y, radius = rng.uniform(0.15, 0.85), rng.uniform(0.14, 0.22), rng.uniform(0.05, 0.08)
        stripes = 1.0 + 0.35 * np.sin(np.arange(canvas.width) * 1.6)[None, :, None]
        canvas.paint("balloon", canvas.ellipse(x, y, radius, radius * 1.6), (232, 72, 150), stripes)
        canvas.paint(
            "balloon", canvas.box(x - 0.015, y + radius * 1.6, x + 0.02, y + radius * 1.6 + 0.05), (120, 70, 30)
        )


def _mountains(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    xs = np.linspace(-0.05, 1.05, rng.integers(5, 9))
    ridge = [(float(x), horizon - rng.uniform(0.03, 0.24)) for x in xs]
    colours: list[Rgb] = [(112, 122, 156), (128, 112, 118), (98, 126, 122)]
    where = canvas.polygon([(-0.1, horizon + 0.05), *ridge, (1.1, horizon + 0.05)])
    canvas.paint("mountain", where, colours[rng.integers(3)], canvas.grain(22, 0.13))


def _ground(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    colours: list[Rgb] = [(112, 156, 76), (176, 158, 104), (136, 150, 92), (198, 200, 204)]
    colour = colours[rng.choice(4, p=[0.5, 0.2, 0.22, 0.08])]
    rows = np.linspace(0.82, 1.12, canvas.height, dtype=np.float32)[:, None, None]
    texture = canvas.grain(40, 0.12) * canvas.grain(8, 0.06) * rows
    canvas.paint("ground", canvas.box(0, horizon, 1, 1), colour, texture)


def _water(canvas: Canvas, horizon: float, boat: bool) -> None:
    rng = canvas.rng
    shore = horizon + rng.uniform(0.12, 0.3)
    left, right = (0.0, rng.uniform(0.5, 1.0)) if rng.random() < 0.5 else (rng.uniform(0.0, 0.5), 1.0)
    bank = [(left - 0.05, horizon), (right + 0.05, horizon), (right + 0.02, shore - 0.06), (right - 0.1, shore)]
    ripples = 1.0 + 0.12 * np.sin(np.arange(canvas.height) * 1.9 + rng.uniform(0, 6))[:, None, None]
    where = canvas.polygon([*bank, (left - 0.02, shore)])
    canvas.paint("water", where, (62, 112, 158), ripples * canvas.grain(12, 0.09))
    if boat:
        x, y, size = rng.uniform(left + 0.1, right - 0.1), horizon + 0.09, rng.uniform(0.06, 0.1)
        hull = [(x - size, y), (x + size, y), (x + size * 0.6, y + 0.07), (x - size * 0.6, y + 0.07)]
        canvas.paint("boat", canvas.polygon(hull), (150, 74, 44))
        canvas.paint(
            "boat", canvas.polygon([(x, y - 0.02), (x, y - size * 2.2), (x + size * 0.9, y - 0.02)]), (244, 240, 230)
        )


def _buildings(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    colours: list[Rgb] = [(186, 132, 102), (166, 164, 168), (204, 186, 150), (146, 96, 86), (110, 124, 146)]
    x = rng.uniform(-0.1, 0.45)
    for _ in range(rng.integers(1, 5)):
        wide, tall = rng.uniform(0.12, 0.3), rng.uniform(0.16, 0.42)
        top, bottom = max(horizon - tall, 0.02), horizon + rng.uniform(0.0, 0.07)
        where = canvas.box(x, top, x + wide, bottom)
        if rng.random() < 0.45:
            where = where | canvas.polygon([(x, top), (x + wide / 2, top - 0.1), (x + wide, top)])
        canvas.paint("building", where, colours[rng.integers(5)], canvas.grain(30, 0.05))
        pitch_x, pitch_y = rng.integers(4, 7), rng.integers(4, 7)
        rows, columns = np.indices(canvas.mask.shape)
        windows = (
            (rows % pitch_y < 2) & (columns % pitch_x < 2) & canvas.box(x + 0.02, top + 0.04, x + wide - 0.02, bottom)
        )
        canvas.detail(windows, (60, 74, 96) if rng.random() < 0.7 else (236, 214, 132))
        x += wide + rng.uniform(-0.02, 0.16)


def _trees(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    colours: list[Rgb] = [(58, 112, 52), (84, 128, 50), (44, 92, 66), (168, 112, 42)]
    colour = colours[rng.choice(4, p=[0.4, 0.26, 0.24, 0.1])]
    for _ in range(rng.integers(1, 6)):
        x, foot = rng.uniform(0.0, 1.0), horizon + rng.uniform(0.0, 0.16)
        size = rng.uniform(0.05, 0.11) * (0.7 + 3 * (foot - horizon))
        crown = foot - size * 3.2
        canvas.paint("tree", canvas.box(x - 0.012, crown, x + 0.014, foot), (92, 66, 44))
        if rng.random() < 0.35:
            where = canvas.polygon(
                [(x - size, foot - size * 0.9), (x, crown - size * 1.5), (x + size, foot - size * 0.9)]
            )
        else:
            where = canvas.ellipse(x, crown, size, size * 1.6)
            where = where | canvas.ellipse(x + size * 0.6, crown + size * 0.6, size * 0.7, size)
        canvas.paint("tree", where, colour, canvas.grain(34, 0.24))


def _fence(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    top = horizon + rng.uniform(0.06, 0.16)
    x0 = rng.uniform(0.0, 0.5)
    x1 = x0 + rng.uniform(0.3, 0.6)
    slats = np.where(np.arange(canvas.width) % 4 < 2, 1.1, 0.72)[None, :, None]
    colour: Rgb = (164, 118, 70) if rng.random() < 0.6 else (216, 212, 206)
    canvas.paint("fence", canvas.box(x0, top, x1, top + rng.uniform(0.09, 0.14)), colour, slats)


def _road(canvas: Canvas, horizon: float, wants: dict[str, bool]) -> None:
    rng = canvas.rng
    far, near, half = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.8), rng.uniform(0.28, 0.55)
    start = horizon + 0.02
    tip = [(far - 0.025, start), (far + 0.025, start)]
    where = canvas.polygon([*tip, (near + half, 1.02), (near - half, 1.02)])
    grey = float(rng.uniform(86, 128))
    canvas.paint("road", where, (grey, grey, grey + 5), canvas.grain(44, 0.05))
    for dash in np.arange(0.1, 1.0, 0.24):
        y0, y1 = start + dash * (1 - start), start + (dash + 0.1) * (1 - start)
        x0, x1 = far + (near - far) * dash, far + (near - far) * (dash + 0.1)
        stripe = canvas.polygon([(x0 - 0.004, y0), (x0 + 0.006, y0), (x1 + 0.014, y1), (x1 - 0.008, y1)])
        canvas.detail(stripe & where, (226, 224, 210))
    vehicles = ["car"] * (int(rng.integers(1, 4)) if wants["car"] else 0) + (["bus"] if wants["bus"] else [])
    for depth, kind in sorted((float(rng.uniform(0.16, 0.8)), kind) for kind in vehicles):
        side = rng.choice([-0.45, 0.45]) * half * depth
        x, y = far + (near - far) * depth + side, start + depth * (1 - start)
        _vehicle(canvas, kind, x, y, depth)


def _vehicle(canvas: Canvas, kind: str, x: float, y: float, depth: float) -> None:
    rng = canvas.rng
    paints: list[Rgb] = [(198, 44, 46), (48, 78, 158), (226, 226, 228), (44, 46, 54), (156, 160, 166), (56, 120, 76)]
    if kind == "bus":
        wide, tall = 0.07 + 0.13 * depth, 0.12 + 0.24 * depth
        colour: Rgb = (222, 170, 36) if rng.random() < 0.6 else (150, 54, 150)
        canvas.paint("bus", canvas.box(x - wide, y - tall, x + wide, y), colour)
        canvas.detail(canvas.box(x - wide * 0.8, y - tall * 0.85, x + wide * 0.8, y - tall * 0.5), (56, 68, 88))
    else:
        wide, tall = 0.045 + 0.1 * depth, 0.05 + 0.11 * depth
        body = canvas.box(x - wide, y - tall, x + wide, y)
        cabin = canvas.polygon(
            [
                (x - wide * 0.7, y - tall),
                (x - wide * 0.4, y - tall * 1.7),
                (x + wide * 0.4, y - tall * 1.7),
                (x + wide * 0.7, y - tall),
            ]
        )
        canvas.paint("car", body | cabin, paints[rng.integers(6)])
        canvas.detail(cabin & canvas.box(x - wide * 0.5, y - tall * 1.6, x + wide * 0.5, y - tall), (70, 88, 108))
    for wheel in (-0.62, 0.62):
        canvas.detail(
            canvas.ellipse(x + wheel * wide, y - 0.01, 0.012 + 0.02 * depth, 0.016 + 0.028 * depth)
            & canvas.box(x - wide, y - tall, x + wide, y),
            (24, 24, 28),
        )


def _street_furniture(canvas: Canvas, horizon: float, wants: dict[str, bool]) -> None:
    rng = canvas.rng
    if wants["pole"]:
        for _ in range(rng.integers(1, 3)):
            x, foot = rng.uniform(0.05, 0.95), horizon + rng.uniform(0.15, 0.4)
            grey = float(rng.uniform(60, 130))
            canvas.paint("pole", canvas.box(x, foot - rng.uniform(0.4, 0.55), x + 0.024, foot), (grey, grey, grey + 6))
    if wants["sign"]:
        x, foot, size = rng.uniform(0.1, 0.9), horizon + rng.uniform(0.2, 0.4), rng.uniform(0.035, 0.055)
        top = foot - rng.uniform(0.28, 0.36)
        canvas.paint("pole", canvas.box(x - 0.008, top, x + 0.014, foot), (120, 120, 126))
        face: Rgb = [(206, 36, 40), (238, 206, 52), (40, 84, 190)][rng.integers(3)]
        plate = canvas.ellipse(x, top, size, size * 1.5)
        if rng.random() < 0.5:
            plate = canvas.polygon([(x - size, top + size * 1.3), (x, top - size * 1.6), (x + size, top + size * 1.3)])
        canvas.paint("sign", plate, face)
        canvas.detail(canvas.ellipse(x, top + 0.01, size * 0.4, size * 0.5), (240, 240, 236))
    if wants["light"]:
        x, foot = rng.uniform(0.1, 0.9), horizon + rng.uniform(0.2, 0.4)
        top = foot - rng.uniform(0.42, 0.5)
        canvas.paint("pole", canvas.box(x - 0.008, top, x + 0.016, foot), (52, 54, 58))
        canvas.paint("light", canvas.box(x - 0.026, top - 0.02, x + 0.034, top + 0.15), (34, 38, 36))
        for row, colour in enumerate(((232, 52, 40), (238, 188, 44), (64, 214, 96))):
            lamp = canvas.box(x - 0.01, top + row * 0.05, x + 0.02, top + row * 0.05 + 0.035)
            canvas.detail(lamp, colour if rng.random() < 0.6 else (70, 62, 50))
    if wants["hydrant"]:
        x, foot = rng.uniform(0.1, 0.9), rng.uniform(0.8, 0.96)
        canvas.paint("hydrant", canvas.box(x - 0.024, foot - 0.13, x + 0.03, foot), (196, 34, 30))
        canvas.paint("hydrant", canvas.box(x - 0.046, foot - 0.09, x + 0.05, foot - 0.055), (222, 66, 40))
        canvas.paint("hydrant", canvas.ellipse(x, foot - 0.13, 0.02, 0.035), (232, 200, 60))


def _people(canvas: Canvas, horizon: float) -> None:
    rng = canvas.rng
    for _ in range(rng.integers(1, 4)):
        foot = horizon + rng.uniform(0.14, 0.5)
        tall = 0.14 + 0.42 * (foot - horizon)
        x, wide = rng.uniform(0.04, 0.96), tall * 0.12
        shirt: Rgb = (float(rng.uniform(40, 240)), float(rng.uniform(40, 220)), float(rng.uniform(40, 220)))
        trousers: Rgb = (44, 52, 84) if rng.random() < 0.6 else (96, 84, 70)
        canvas.paint("person", canvas.box(x - wide * 0.8, foot - tall * 0.48, x + wide * 0.9, foot), trousers)
        canvas.paint("person", canvas.box(x - wide, foot - tall * 0.8, x + wide * 1.1, foot - tall * 0.42), shirt)
        canvas.paint("person", canvas.ellipse(x, foot - tall * 0.88, wide * 0.75, tall * 0.11), (214, 164, 130))


def _photograph(canvas: Canvas) -> UInt8[np.ndarray, "h w 3"]:
    """A slight lens blur, exposure and sensor noise."""
    rng = canvas.rng
    rgb = canvas.rgb
    blurred = (rgb + np.roll(rgb, 1, axis=1) + np.roll(rgb, 1, axis=0) + np.roll(rgb, -1, axis=1)) / 4
    strength = rng.uniform(0.15, 0.45)
    noise = rng.normal(0.0, rng.uniform(2.0, 6.0), rgb.shape).astype(np.float32)
    return np.clip(rgb * (1 - strength) + blurred * strength + noise, 0, 255).astype(np.uint8)
