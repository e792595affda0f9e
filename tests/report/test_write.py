"""The files of a report are complete, the same each time, safe to open, and made without torch."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from posenc.__main__ import main
from posenc.checks import ConfigError
from posenc.figures.style import FRONT
from posenc.report import write
from posenc.report.numbers.compare import compare
from posenc.report.pages import page
from tests.report.conftest import Make

NASTY = "<script>alert(1)</script>"
FILES = {"comparison_summary.md", "comparison_summary.csv", "index.html"}


@pytest.fixture
def sweep(run: Make, root: Path) -> Path:
    """Three encodings, three seeds, two datasets, one of them text with its loss by position."""
    for seed in range(3):
        for place, encoding in enumerate(("none", "rope", "t5")):
            run(encoding, seed, 0.3 * place + 0.01 * seed)
            folder = run(encoding, seed, dataset="text", bits=3.0 - place + 0.01 * seed)
            rows = [f"32,{k},500,0.5,{4 - place - k / 32}" for k in range(32)]
            (folder / "by_position.csv").write_text("\n".join(["length,position,asked,accuracy,bits", *rows]) + "\n")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Elements(HTMLParser):
    """The scripts of the page, its text, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag == "script":
            self.scripts.append("")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.inside == "script" and self.scripts:
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


@pytest.mark.slow
def test_everything_is_written_whole_and_the_same_again(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    assert write([sweep], other).page == other / "index.html"
    once, before = contents(other), set(contents(sweep))
    for _ in range(2):  # among its own runs, where the second finds what the first left
        write([sweep])
        here = contents(sweep)
        assert {name: data for name, data in here.items() if name not in before} == once
    figures = {Path(name).stem for name in once if name.startswith("figures")}
    assert figures == {
        "seeds", "differences", "accuracy_by_length", "skill_by_length", "learning_validation", "learning_training",
        "bits_by_position",
    }  # fmt: skip
    pairs = {f"figures/{name}.{form}" for name in figures for form in ("png", "svg", "csv")}
    assert set(once) == FILES | pairs
    summary = once["comparison_summary.md"].decode()
    assert summary.splitlines()[2].startswith("There is no common ranking: of 2 comparisons, 2 undecided")
    assert "not for verdicts" in summary.splitlines()[2]
    for pair in pairs:
        assert pair in summary or not pair.endswith("png")


@pytest.mark.slow
def test_names_are_text_everywhere(run: Make, root: Path) -> None:
    arms = [
        NASTY,
        "none",
        "_$x_{^}|`*[a](javascript:alert(1))",
        "%{x}<br>&lt;",
        "</script><b>",
        "=1+1",
        """'" onclick="alert(1)""",
    ]
    for seed in range(3):
        for place, arm in enumerate(arms):
            error = NASTY if arm == "none" and seed == 2 else None
            run(arm, seed, None if error else 0.1 * place + 0.01 * seed, dataset=f"d{NASTY}", error=error)
    text = write([root], root / "out").page.read_text()
    parsed = Elements(text)
    assert len(parsed.scripts) == 1
    assert "alert" not in parsed.scripts[0]
    shown = "".join(parsed.text)
    for arm in arms:
        assert arm in shown
    for svg in (root / "out" / "figures").glob("*.svg"):  # parsed as XML, a name is text and never an element
        tree = list(ElementTree.fromstring(svg.read_text()).iter())
        assert not {part.tag.rpartition("}")[2] for part in tree} & {"script", "b", "img", "br", "a"}
        texts = {
            "".join(part.itertext()).strip("\u2009 ").split("\n")[0] for part in tree if part.tag.endswith("title")
        }
        assert {arm.strip() for arm in arms if arm != "none"} <= texts
    summary = (root / "out" / "comparison_summary.md").read_text().partition("```")[0]
    assert "<script" not in summary
    assert not re.search(r"(?<!\\)\]\(javascript", summary)


@pytest.mark.slow
def test_the_page_names_no_other_place(sweep: Path) -> None:
    parsed = Elements(write([sweep], sweep / "out").page.read_text())
    assert all(re.match(r"#|data:|figures/\w+\.(png|svg|csv)$", address) for address in parsed.addresses)
    assert "default-src 'none'" in page.POLICY


def test_nothing_but_failures_still_makes_a_report(run: Make, root: Path) -> None:
    run("rope", 0, status="failed", error="boom")
    text = write([root]).page.read_text()
    assert "nothing can be said yet" in text
    assert "boom" in text


@pytest.mark.slow
def test_of_sixty_arms_eight_are_in_colour_and_the_page_is_small(run: Make, root: Path) -> None:
    for k in range(60):
        for seed in range(3):
            run(f"encoding{k:02}", seed, k / 60 + 0.01 * seed)
    looks = compare([root], None, 0.01).styles
    assert len({style.colour for style in looks.values() if not style.quiet}) == FRONT
    assert len(looks) == 60
    assert write([root]).page.stat().st_size < 1_500_000


@pytest.mark.slow
def test_one_arm_one_length_and_no_number_give_figures(run: Make, root: Path) -> None:
    run("rope", 0, {32: 0.9})
    run("t5", 0, {32: float("nan")}, dataset="copy")
    found = {path.name for path in (write([root]).page.parent / "figures").iterdir()}
    assert {"seeds.png", "seeds.svg", "seeds.csv"} <= found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "error: nowhere is not a folder"),
        (["{root}"], "error: no run of posenc in"),
        (["{root}", "--delta", "0"], "error: report: --delta must be a number > 0"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", *(word.format(root=root) for word in words)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ropee", "has no run here; choose one of rope, t5. Did you mean rope?"),
        ("alibi", "has no run here; choose one of rope, t5."),
        ("", "has no run here; choose one of rope, t5."),
        ("fire", "has no run that completed here; choose one of rope, t5."),
    ],
)
def test_a_baseline_without_runs_is_refused_and_nothing_is_written(
    run: Make, root: Path, capsys: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    for seed in range(2):
        run("rope", seed, 0.9)
        run("t5", seed, 0.5)
        run("fire", seed, status="diverged", error="loss is nan")
    before = contents(root)
    with pytest.raises(SystemExit) as stop:
        main(["report", str(root), "--baseline", word])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: --baseline {shlex.quote(word)} {said}\n"
    assert contents(root) == before


@pytest.mark.usefixtures("undrawn")
def test_a_baseline_all_of_whose_rivals_are_lost_too_is_kept(run: Make, root: Path) -> None:
    run("rope", 0, status="failed", error="boom")
    assert "boom" in write([root], baseline="rope").page.read_text()


def test_an_output_that_cannot_be_written_says_what_to_do(run: Make, root: Path) -> None:
    run("rope", 0, 0.9)
    (root / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to .*choose another folder with --output"):
        write([root], root / "file" / "out")


@pytest.mark.slow
def test_the_command_line_starts_without_torch(run: Make, root: Path) -> None:
    run("rope", 0, 0.9)
    code = (
        "import sys; from posenc.__main__ import main, parser; parser().format_help(); "
        "assert not {'hydra', 'omegaconf'} & {*sys.modules}; main(['report', *sys.argv[1:]]); "
        "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(root)], capture_output=True, text=True, check=True
    )
    finding, where, modules = done.stdout.splitlines()
    assert finding.startswith("On pattern nothing can be compared yet, because rope is the only encoding with a result")
    assert (where, modules) == (f"report      {root / 'index.html'}", "[]")
