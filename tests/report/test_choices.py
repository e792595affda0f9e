"""What a report is asked for: a metric, a length, tables for a paper."""

import re
from pathlib import Path

import pytest

from posenc.checks import ConfigError
from posenc.report import write
from posenc.report.numbers.compare import Comparison, compare
from posenc.report.pages.tex import _line, escape, render
from tests.report.conftest import Make


@pytest.fixture
def sweep(run: Make, root: Path) -> Path:
    """RoPE is the best at the trained length, T5 at twice it."""
    for seed in range(10):
        wobble = 0.001 * ((seed * 7) % 5)
        run("rope", seed, {32: 0.95 + wobble, 64: 0.1 + wobble})
        run("t5", seed, {32: 0.6 + wobble, 64: 0.5 + wobble})
    return root / "sweep"


def asked(sweep: Path, metric: str | None = None, length: int | None = None) -> Comparison:
    return compare([sweep], "rope", 0.01, metric, length)


def test_arms_are_compared_where_and_by_what_is_asked(sweep: Path) -> None:
    (near,), (far,) = asked(sweep).scored, asked(sweep, length=64).scored
    assert (near.metric, near.length, near.arms) == ("skill", 32, ["rope", "t5"])
    assert (far.metric, far.length, far.arms) == ("skill", 64, ["t5", "rope"])
    assert asked(sweep).first.text.index("rope") < asked(sweep).first.text.index("t5")
    assert "at length 64" in asked(sweep, length=64).first.text
    (loss,) = asked(sweep, "bits").scored
    assert loss.lower
    assert loss.arms == ["rope", "t5"]
    assert loss.values("rope", None, 32) == {
        seed: pytest.approx(1 - 0.95 - 0.001 * ((seed * 7) % 5)) for seed in range(10)
    }
    assert "accuracy at length 32" in {facet.measure for facet in asked(sweep, "accuracy").scored}


def test_what_no_run_has_is_said(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--metric exact_match: runs on pattern have skill, bits, accuracy, loss"):
        asked(sweep, "exact_match")
    with pytest.raises(ConfigError, match="--length 48: pattern was tested for skill at 32, 64; choose one of these"):
        asked(sweep, length=48)
    with pytest.raises(ConfigError, match="--metric=perplexity is not one of skill, bits"):
        write([sweep], tmp_path / "report", metric="perplexity")
    assert not (tmp_path / "report").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_paper_gets_every_number_of_the_page(sweep: Path, tmp_path: Path) -> None:
    write([sweep], tmp_path, latex=True)
    text = (tmp_path / "comparison_summary.tex").read_text()
    assert text == render(compare([sweep], None, 0.01))
    for number in re.findall(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", (tmp_path / "comparison_summary.md").read_text()):
        assert number in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{table}") > 1
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    forms = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(form) for form in forms}
    assert text.isascii()


def test_a_name_in_brackets_is_no_option_of_a_line_break() -> None:
    assert _line(["[red]a", "1"]) == r"{}[red]a & 1 \\"
    assert _line(["a", "[1]"]) == r"a & [1] \\"


@pytest.mark.parametrize(
    ("text", "printed"),
    [("a_b & 5 %", r"a\_b \& 5 \%"), ("−0.5 ± 2×", r"$-$0.5 $\pm$ 2$\times$"), ("{\\x}", r"\{\textbackslash{}x\}")],
)
def test_letters_that_latex_reads_are_written_out(text: str, printed: str) -> None:
    assert escape(text) == printed
