"""What a run logs to TensorBoard, and under which names."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from matplotlib.text import Text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from posenc.callbacks.tensorboard import TensorBoardExtras
from posenc.figures.attention import attention_card, bias_profile, position_similarity
from posenc.figures.style import DPI
from posenc.training.loggers.board import Board, tag
from posenc.training.loggers.metrics_file import open_logs
from tests.conftest import CONFIGS

ROW = {
    "validation/accuracy": 0.7, "validation/accuracy_standard_error": 0.01, "ceiling/order_blind": 0.5,
    "ceiling/order_aware": 1.0, "epoch": 0.0,
}  # fmt: skip


CARD_PIXELS = 330
"""Width of a picture in TensorBoard's cards."""


def smallest_type(figure: Figure) -> float:
    """Pixels of the smallest type of a picture in a card."""
    texts = [each for each in figure.findobj() if isinstance(each, Text) and each.get_text()]
    return min(float(text.get_fontsize()) for text in texts) / 72 * CARD_PIXELS / figure.get_figwidth()


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve of a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(each.step, round(each.value, 4)) for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def test_validation_and_training_stand_first_where_names_are_sorted() -> None:
    logged = [
        "attention_entropy/layer_1", "gradient/norm", "gradient_query/layer_1", "test/32/skill", "train/loss",
        "validation/skill", "dong_ratio/layer_0", "mine/value",
    ]  # fmt: skip
    assert sorted(tag(name) for name in logged) == [
        "1_validation/skill", "2_train/loss", "3_test/32/skill", "4_gradient/norm", "4_gradient_query/layer_1",
        "5_attention_entropy/layer_1", "5_dong_ratio/layer_0", "5_mine/value",
    ]  # fmt: skip
    assert tag("lr-AdamW") == "lr-AdamW"


def test_a_ceiling_is_a_run_of_its_own_in_the_chart_of_what_it_limits(tmp_path: Path) -> None:
    board = Board(str(tmp_path))
    open_logs([board], {}, steps=0)
    board.log_metrics(ROW, 10)
    board.finalize("success")
    assert shown(tmp_path) == {"1_validation/accuracy": [(10, 0.7)]}
    assert shown(tmp_path / "ceilings" / "order_blind") == {"1_validation/accuracy": [(0, 0.5), (10, 0.5)]}
    assert shown(tmp_path / "ceilings" / "order_aware") == {"1_validation/accuracy": [(0, 1.0), (10, 1.0)]}


def test_a_run_that_goes_on_takes_back_later_points_of_its_ceilings(tmp_path: Path) -> None:
    for steps, logged in ((0, (10, 20, 30)), (20, (20, 40))):
        board = Board(str(tmp_path))
        open_logs([board], {}, steps=steps)
        for step in logged:
            board.log_metrics(ROW, step)
        board.finalize("success")
    for folder, first in ((tmp_path, []), (tmp_path / "ceilings" / "order_blind", [0])):
        (curve,) = shown(folder).values()
        assert [step for step, _ in curve] == [*first, 10, 20, 40]


def test_a_run_of_a_sweep_leaves_ceilings_to_the_overview(tmp_path: Path) -> None:
    board = Board(str(tmp_path), ceilings=False)
    board.log_metrics(ROW, 10)
    board.finalize("success")
    assert not (tmp_path / "ceilings").exists()


@pytest.mark.parametrize("heads", [1, 4, 12])
def test_the_type_of_a_picture_is_nine_pixels_in_a_card(heads: int) -> None:
    weights = torch.rand(heads, 8, 8)
    pictures = (
        attention_card(weights, "layer 1"), bias_profile(weights[:, 0], torch.arange(8.0)),
        position_similarity(weights[0]),
    )  # fmt: skip
    for figure in pictures:
        assert smallest_type(figure) >= 9
        assert figure.dpi == DPI


def test_hparams_list_what_was_chosen_and_no_default() -> None:
    rows = []
    for words in ([], ["model.dim=32", "encoding=rope"]):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", overrides=["name=x", *words], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        node = config.callbacks.tensorboard
        assert words or {name: node.hparams[name] for name in node.usual} == node.usual  # still the defaults
        rows.append(TensorBoardExtras(node.hparams, figures=False, usual=node.usual).hparams)
    assert rows[0] == {"encoding": "learned_relative", "dataset": "pattern", "seed": 0, "lr": 0.003}
    assert rows[1] == rows[0] | {"encoding": "rope", "dim": 32}
