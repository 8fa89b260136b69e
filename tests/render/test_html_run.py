"""The tables of a whole run in the HTML page: the right numbers, bounded rows, and hostile names as text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from padfix.render import html as page_format
from padfix.render.html import render
from padfix.types import Finding, PadState, Report, Skip, Token

pytest.importorskip("jinja2")
EOS, OWN = Token("</s>", 2), Token("<pad>", 0)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} \u202e\x1b[31m'


def finding(code: str, severity: str = "error") -> Finding:
    return Finding(code, f"name-of-{code}", severity, "message")  # type: ignore[arg-type]


class Tables(HTMLParser):
    """Tables under their headings, as rows of cells' text; and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._heading, self._at = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "h2":
            self._heading, self._at = "", "h2"
        elif tag == "tr":
            self.tables.setdefault(self._heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append("")
            self._at = "cell"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h2", "td", "th"):
            self._at = ""

    def handle_data(self, data: str) -> None:
        if self._at == "h2":
            self._heading += data
        elif self._at == "cell":
            self.tables[self._heading][-1][-1] += data


REPORTS = [
    *(Report(f"a/own-{i}", PadState(model_type="bert", pad=OWN)) for i in range(3)),
    Report("a/eos", PadState(model_type="llama", pad=EOS, eos=EOS), (finding("PAD002", "warning"),)),
    Report("a/none", PadState(model_type="llama", eos=EOS), (finding("PAD001"), finding("PAD001"))),
    Report("a/unk", PadState(pad=OWN, unk=OWN), (finding("PAD001", "info"), finding("PAD004", "warning"))),
    Report("a/gone", None, (), (Skip("a/gone", "not-found: no such repository"),)),
]


def test_tables_of_a_run() -> None:
    """Pads by family with the largest first, rules by repositories, reasons of skips, worst repositories first."""
    tables = Tables(render(REPORTS)).tables
    assert tables["Pads by family"][1:] == [
        ["bert", "", "3", "", "", "", "3"],
        ["llama", "", "", "1", "", "1", "2"],
        ["no model_type", "", "", "", "1", "", "1"],
    ]
    # a rule counts once for a repository
    assert [" ".join(row).split() for row in tables["Findings by rule"][1:]] == [
        ["PAD001", "name-of-PAD001", "1", "1"],
        ["PAD002", "name-of-PAD002", "1"],
        ["PAD004", "name-of-PAD004", "1"],
    ]
    assert tables["Skipped"][1:] == [["not-found", "1"]]
    assert tables["Worst first"][1:] == [
        ["a/none", "2", "0", "0"],
        ["a/unk", "0", "1", "1"],
        ["a/eos", "0", "1", "0"],
    ]


def test_bars_add_up() -> None:
    """The bar of a family is 100 wide, in the order of the columns."""
    bars = [
        (float(str(a["x"])), float(str(a["width"])), a["class"])
        for t, a in Tables(render(REPORTS)).tags
        if t == "rect"
    ]
    assert bars == [(0, 100, "own"), (0, 50, "eos"), (50, 50, "none"), (0, 100, "unk")]


def test_one_repository_is_no_run() -> None:
    """The page of a single repository has its findings and no statistics."""
    assert set(Tables(render(REPORTS[4:5])).tables) == {"Findings", "Repositories"}
    assert "Findings" not in Tables(render(())).tables


def test_hostile_names_are_text() -> None:
    """Markup in names, families and reasons reaches the tables as text: no tag, no handler, no control character."""
    state = PadState(model_type=HOSTILE, pad=Token(HOSTILE, 1))
    evil = [Report(f"{HOSTILE}{i}", state, (Finding("PAD001", HOSTILE, "error", HOSTILE),)) for i in range(2)]
    evil.append(Report(HOSTILE, None, (), (Skip(HOSTILE, f"{HOSTILE}: {HOSTILE}"),)))
    written = render(evil)
    page = Tables(written)
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert "img" not in names
    assert not [
        a for _, attrs in page.tags for a in attrs if a.startswith("on") or a in ("src", "href", "style")
    ]
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert "49" not in "".join(cell for row in page.tables["Worst first"] for cell in row)
    assert "<script>alert(1)</script>" in page.tables["Worst first"][1][0]
    assert "<script>alert(1)</script>" in page.tables["Pads by family"][1][0]


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of any length has rows for the worst only; its tables count all and the page says so."""
    monkeypatch.setattr(page_format, "_MOST", 2)
    written = render(REPORTS)
    tables = Tables(written).tables
    assert [row[0] for row in tables["Repositories"][1:]] == ["a/none", "a/unk"]
    assert len(tables["Pads by family"]) == 4
    assert "rows of the 2 worst; the tables above count all 7" in written
    page = page_format.Page()
    for report in REPORTS * 10:
        page.add(report)
        assert len(page._kept) <= 4, "memory must not grow with the run"
    assert [row[0] for row in Tables(page.render()).tables["Repositories"][1:]] == ["a/none", "a/none"]


def test_what_was_not_looked_at() -> None:
    """What a reader could not see stands in the page: by repository, and in a long run by how often."""
    state = PadState(problems=("not looked at: most of vocab.json", HOSTILE))
    few = render([Report("a/b", state)])
    assert "<b>a/b</b>: most of vocab.json; &#34;&gt;&lt;script&gt;" in few
    many = render([Report(f"a/{i}", state) for i in range(30)])
    assert "<b>30 repositories</b>: most of vocab.json" in many
    assert "Not looked at" not in render([Report("a/b", PadState())])
