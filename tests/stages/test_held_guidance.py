"""Held gradients as a user asks for them: other images than with gaps, and a page that says so."""

from pathlib import Path

from tiny_run import call, content, distil

EVERY_SECOND = ("synthesize.guidance.window=[0, 1]", "synthesize.guidance.every=2", "synthesize.unguided_too=false")


def test_a_run_with_held_gradients_differs_from_one_with_gaps_and_its_page_says_so(tmp_path: Path) -> None:
    folders = {hold: tmp_path / hold for hold in ("false", "true")}
    for hold, folder in folders.items():
        assert distil(folder, *EVERY_SECOND, f"synthesize.guidance.hold={hold}") == 0
    gaps, held = (content(folder) for folder in folders.values())
    images = [name for name in gaps if name.startswith("images/")]
    assert images
    assert all(gaps[name] != held[name] for name in images)
    assert call("report", str(folders["true"]), "--device", "cpu") == 0
    assert "one in 2 steps and held between" in (folders["true"] / "report.html").read_text()
