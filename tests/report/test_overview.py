"""The overview of a sweep for TensorBoard has few folders, each arm once, the ceilings, and readable pictures."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]

from posenc.figures.style import DPI
from posenc.report.numbers.compare import compare
from posenc.report.pages.overview import _pictures, _rooms, write_overview
from posenc.runs.files import EVENTS, SELECTED
from tests.report.conftest import Make
from tests.test_board import smallest_type


def written(root: Path, folder: Path) -> dict[str, EventAccumulator]:
    """The runs that TensorBoard finds in the overview of all runs below `root`."""
    write_overview(compare([root], None, 0.01), folder)
    found = {}
    for path in sorted(folder.rglob(f"{EVENTS}*")):
        assert path.parent not in found
        events = EventAccumulator(str(path.parent))
        events.Reload()
        found[path.parent.relative_to(folder).as_posix()] = events
    return found


def choices(events: EventAccumulator) -> dict[str, str]:
    """The row of a run in the HPARAMS tab."""
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return {
        name: value.string_value
        for name, value in HParamsPluginData.FromString(content).session_start_info.hparams.items()
    }


def test_an_arm_is_the_mean_of_its_seeds_beside_what_is_achievable(run: Make, root: Path, tmp_path: Path) -> None:
    for seed, skill in enumerate((0.4, 0.6)):
        run("rope", seed, skill)
        run("none", seed, 0.1)
    found = written(root, tmp_path / "o")
    assert [*found] == ["ceilings/order_aware", "ceilings/order_blind", "none", "pictures", "rope"]
    rope = found["rope"]
    assert [(e.step, round(e.value, 6)) for e in rope.Scalars("3_test_by_length/skill")] == [(32, 0.5), (64, 0.25)]
    assert [(e.step, round(e.value, 6)) for e in rope.Scalars("1_validation/accuracy")] == [(10, 0.1), (20, 0.2)]
    assert [e.step for e in rope.Scalars("2_train/loss")] == [0, 10, 20]
    blind = found["ceilings/order_blind"]
    assert [(e.step, e.value) for e in blind.Scalars("1_validation/accuracy")] == [(0, 0.5), (20, 0.5)]
    assert [(e.step, e.value) for e in blind.Scalars("3_test_by_length/accuracy")] == [(32, 0.5), (64, 0.5)]
    assert found["pictures"].Tags()["images"] == ["score_by_length/pattern", "every_seed/pattern"]


@pytest.mark.slow
def test_what_all_arms_share_is_no_column(run: Make, root: Path, tmp_path: Path) -> None:
    for encoding in ("rope", "none"):
        run(encoding, 0, 0.5)
    assert choices(written(root, tmp_path / "a")["rope"]) == {"encoding": "rope"}
    for encoding in ("rope", "none"):
        run(encoding, 0, 0.5, dataset="copy")
    assert choices(written(root, tmp_path / "b")["copy/rope"]) == {"encoding": "rope", "dataset": "copy"}


@pytest.mark.slow
def test_of_sixty_arms_on_three_data_sets_tensorboard_selects_all(run: Make, root: Path, tmp_path: Path) -> None:
    for dataset in ("pattern", "copy", "sorting"):
        for k in range(60 if dataset == "pattern" else 2):
            run(f"arm{k}", 0, k / 100, dataset=dataset)
    found = written(root, tmp_path / "o")
    assert len(found) == SELECTED
    assert sum("arm" in name for name in found if name.startswith("sorting")) == 2
    assert "arm59" in found
    assert "pattern/arm0" not in found


@pytest.mark.parametrize(
    ("wanted", "given"), [([3, 3], [3, 3]), ([100, 2], [37, 2]), ([100, 100], [19, 20]), ([1] * 39, [1] * 39)]
)
def test_rooms(wanted: list[int], given: list[int]) -> None:
    assert _rooms(wanted, 39) == given


@pytest.mark.slow
def test_a_second_overview_replaces_the_first_and_no_file_of_others(run: Make, root: Path, tmp_path: Path) -> None:
    run("rope", 0, 0.5)
    assert "rope" in written(root, tmp_path / "o")
    (tmp_path / "o" / "mine").write_text("precious")
    run("none", 0, 0.5)
    run("rope", 0, 0.5, dataset="copy")
    found = written(root, tmp_path / "o")
    assert "none" in found
    assert not (tmp_path / "o" / "rope").exists()  # it is pattern/rope now
    assert (tmp_path / "o" / "mine").read_text() == "precious"
    (tmp_path / "link").symlink_to(tmp_path / "o")
    with pytest.raises(OSError, match="is a link"):
        written(root, tmp_path / "link")


def test_names_lead_nowhere_and_stay_apart(run: Make, root: Path, tmp_path: Path) -> None:
    for name in ("<b>x</b>", "[b]x[.b]", "..", "."):
        run(name, 0, 0.5, name=str(len(name)) + "x")
    found = written(root, tmp_path / "deep" / "o")
    assert len(found) == 4 + 2 + 1
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"o"}


def test_the_type_of_a_picture_is_nine_pixels_in_a_card(run: Make, root: Path) -> None:
    for k in range(30):
        run(f"arm{k}", 0, k / 100)
    comparison = compare([root], None, 0.01)
    for _, figure in _pictures(comparison, comparison.facets[0]):
        assert smallest_type(figure) >= 9
        assert figure.dpi == DPI
