"""What all figures share: colours, markers, plain axes, and their forms as PNG or as SVG in the page's own colours.

Colours are those of Okabe and Ito, which readers with any colour vision tell apart; every series has a marker of its
own as well. Source: M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

import io
import re
from dataclasses import dataclass, replace

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from d3s2.set_names import hard_of, set_title

INK, FAINT, RULE, PAPER = "#1d2733", "#5c6773", "#dfe3e8", "#fefefe"
WIDTH_IN = 9.0
FONT_PT = 9.0
MAX_NAME, MAX_TITLE = 28, 52


@dataclass(frozen=True)
class Style:
    """How a series looks: colour on white, marker, and the CSS variable that takes the colour's place on the page.

    Args:
        soft: with soft labels: lines are dashed, markers hollow.
    """

    colour: str
    marker: str
    variable: str
    soft: bool = False

    @property
    def line(self) -> str:
        """Of a curve, in matplotlib's words."""
        return "--" if self.soft else "-"

    @property
    def fill(self) -> str:
        """Of a marker."""
        return PAPER if self.soft else self.colour

    @property
    def edge(self) -> str:
        """Of a marker."""
        return self.colour if self.soft else PAPER


STYLES = {
    "random": Style("#e69f00", "^", "--random"),
    "balanced": Style("#009e73", "s", "--balanced"),
    "composed": Style("#8c564b", "P", "--composed"),
    "best-real": Style("#d55e00", "P", "--best"),
    "distilled-unguided": Style("#56b4e9", "D", "--unguided"),
    "distilled": Style("#0072b2", "o", "--distilled"),
    "all": Style("#7a828c", "|", "--all"),
}
OTHER = Style("#cc79a7", "v", "--other")
VARIABLES = {INK: "--ink", FAINT: "--faint", RULE: "--rule", PAPER: "--card", OTHER.colour: OTHER.variable}
VARIABLES |= {style.colour: style.variable for style in STYLES.values()}


def style_of(name: str) -> Style:
    """The look of a set, with soft labels that of hard ones; sets that have none of their own share one."""
    hard = hard_of(name)
    return replace(STYLES.get(hard, OTHER), soft=hard != name)


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure on white; the same bytes from the same numbers."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """The figure as an inline SVG element that takes the colours and the font of the page around it."""
    buffer = io.BytesIO()
    # Matplotlib takes these two from its settings alone; they are as before when the block ends.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "d3s2"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in VARIABLES.items():
        text = re.sub(rf"{colour}\b", f"var({variable})", text, flags=re.IGNORECASE)
    return text


def plain(axes: Axes) -> None:
    """Nothing but tick labels: no frame, no ticks, no ground."""
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=FONT_PT, colors=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)


def legend(figure: Figure, axes: Axes) -> None:
    """The series of `axes` above the figure, in as few lines as its width allows."""
    handles, labels = axes.get_legend_handles_labels()
    for num_lines in range(1, len(labels) + 1):
        made = figure.legend(
            handles, labels, loc="outside upper left", ncols=-(-len(labels) // num_lines), frameon=False,
            fontsize=FONT_PT, labelcolor=INK, handletextpad=0.4, columnspacing=1.6,
        )  # fmt: skip
        if made.get_window_extent().width <= figure.bbox.width:
            return
        if num_lines < len(labels):
            made.remove()


def short(name: str) -> str:
    """A class name that leaves room for the dots."""
    return literal(name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1].rstrip(' ,')}…")


def set_label(name: str) -> str:
    """The title of a set, without its middle where it would leave no room for the drawing: a path can be long."""
    title, half = set_title(name), MAX_TITLE // 2
    return literal(title if len(title) <= MAX_TITLE else f"{title[:half].rstrip()}…{title[-half:].lstrip()}")


def literal(name: str) -> str:
    """A name that others chose, as matplotlib must be told it: between two dollars it would read mathematics."""
    return name.replace("$", r"\$")


def per_cent(value: float, _: int | None = None) -> str:
    """A share as whole per cent, also as a formatter of ticks."""
    return f"{100 * value:.0f} %"
