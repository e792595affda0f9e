"""metrics.csv after damage: every row that can be read stays, the others are set aside and said."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posenc.training.loggers.metrics_file import MetricsFile

STEPS = 20


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@given(st.data())
def test_a_damaged_row_costs_itself(data: st.DataObject) -> None:
    """A flipped bit anywhere in the rows: all others are there, what is missing is set aside, and the run goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = MetricsFile(name)
        for step in range(STEPS):
            log.log_metrics({"loss": step / 7} if step % 2 else {"accuracy": 0.5, "loss": step / 3}, step)
        path = folder / "metrics.csv"
        whole, before = path.read_bytes(), rows_of(path)
        place = data.draw(st.integers(whole.index(b"\n") + 1, len(whole) - 3))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))]) + whole[place + 1 :]
        path.write_bytes(flipped)
        last = STEPS + 10  # a digit that makes a later step of a row leaves a row of a future that is taken back
        future = any(cell.isdigit() and int(cell) >= last for row in flipped.split() for cell in row.split(b","))
        again = MetricsFile(name)
        again.begin(last)
        again.log_metrics({"new": 1.0}, STEPS)
        after = [{key: value for key, value in row.items() if key != "new"} for row in rows_of(path)]
        assert after.pop()["step"] == str(STEPS)
        odd = [row for row in before if row not in after]
        assert len(odd) <= 2  # the end of a line joins two
        aside = folder / "metrics_damaged.csv"
        assert len(after) == STEPS or aside.exists() or future


def test_a_comma_too_many_is_set_aside_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text('loss,step\n1.5,0\n1.4,,1\n"1.3,2\n1.2,3\n1.1,99\n1.0,4\n0.9,5\n0.8,6\n0.7')
    log = MetricsFile(str(tmp_path))
    log.begin(5)
    assert [row["step"] for row in rows_of(path)] == ["0", "3", "4"]
    assert (tmp_path / "metrics_damaged.csv").read_text() == '1.4,,1\n"1.3,2\n1.1,99\n'
    assert "3 rows are damaged and moved to metrics_damaged.csv" in capsys.readouterr().out
    path.write_text("loss,sXep\n1.5,0\n")  # no row can be placed
    log.begin(5)
    log.log_metrics({"loss": 1.0}, 5)
    assert rows_of(path) == [{"loss": "1.0", "step": "5"}]
    assert (tmp_path / "metrics_damaged.csv").read_text().endswith("loss,sXep\n1.5,0\n")
