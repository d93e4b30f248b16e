"""labkit.report: tables and intervals against numpy and scipy, files against damage, pictures against empty boxes."""

from __future__ import annotations

import json
import re
import warnings
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from labkit.errors import DataError, UsageError
from labkit.report import Report, fonts
from labkit.report.table import short

TASK = SimpleNamespace(name="world/reviews", metric="accuracy", chance=0.5, ceiling=0.903)
SCORES = {"fine-tune": [0.71, 0.80, 0.74, 0.77, 0.69], "PET": [0.86, 0.88, 0.87, 0.85, 0.88]}


def report() -> Report:
    made = Report(command="python -m benchmarks.pet")
    for method, values in SCORES.items():
        for seed, value in enumerate(values):
            made.add(
                method, TASK, value, seed=seed, trainable=372_000, bytes=1_490_000, latency_ms=1.0 + seed, shots=16
            )
    return made


def test_cells_are_mean_and_sample_deviation():
    table = report().table()
    assert table.header == ("method", "accuracy", "n", "trainable", "size", "ms/row", "shots")
    cells = [f"{100 * np.mean(v):.1f} ± {100 * np.std(v, ddof=1):.1f}" for v in SCORES.values()]
    assert [row[:3] for row in table.rows] == [("fine-tune", cells[0], "5"), ("PET", cells[1], "5")]
    assert table.rows[0][3:] == ("372 k", "1.49 MB", "3", "16")
    assert [line[:2] for line in table.lines] == [("chance", "50.0"), ("ceiling", "90.3")]


def test_one_seed_has_no_spread_and_losses_stay_as_they_are():
    made = Report()
    made.add("a", "lm", 0.987654, metric="loss", bytes=900)
    assert made.table().rows == (("a", "0.9877", "1", "900 B"),)
    assert made.table().lines == ()


def test_the_paper_s_column_keeps_the_paper_s_figures_and_names_the_source():
    table = report().table({"PET": (86.9, "Schick & Schütze 2021"), "LM-BFF": (84.0, "Gao et al. 2021")})
    place = table.header.index("paper")
    assert [row[place] for row in table.rows] == ["", "86.9", "84"]
    assert table.rows[2][:2] == ("LM-BFF", "")
    assert table.notes == ("paper, PET: Schick & Schütze 2021", "paper, LM-BFF: Gao et al. 2021")
    assert report().table({"PET": 86.9}, source="its Table 1").notes == ("paper: its Table 1",)


def test_several_tasks_and_metrics_have_columns_of_their_own():
    made = Report()
    for seed in (0, 1):
        made.add("a", "x", 0.5 + seed / 10, seed=seed)
        made.add("a", "y", 0.7 + seed / 10, seed=seed)
        made.add("b", "x", 0.9, seed=seed)
    table = made.table()
    assert table.header == ("method", "x", "y", "mean", "n")
    assert table.rows == (("a", "55.0 ± 7.1", "75.0 ± 7.1", "65.0 ± 7.1", "2"), ("b", "90.0 ± 0.0", "", "", "2"))
    made.add("a", "x", 1.5, metric="loss")
    assert made.table().header == ("method", "x accuracy", "y accuracy", "mean accuracy", "loss", "n")
    assert made.table(task="x", metric="accuracy").header == ("method", "accuracy", "n")
    assert made.table().rows[0][-1] == "1–2"


def test_chance_belongs_to_its_metric():
    made = report()
    made.add("PET", "world/reviews", 0.8, metric="macro_f1")
    lines = made.table().lines
    assert lines[0][:3] == ("chance", "50.0", "")


def test_chance_and_ceiling_are_averaged_where_all_tasks_have_them():
    made = Report(title="A title")
    made.bounds["x"] = ("accuracy", 0.25, 0.9)
    made.add("a", "x", 0.5)
    made.add("a", "x", 0.4, metric="macro_f1")
    made.add("a", TASK, 0.5)
    lines = made.table().lines
    assert made.table().header[1:4] == ("x accuracy", "world/reviews accuracy", "mean accuracy")
    assert lines == (("chance", "25.0", "50.0", "37.5", "", ""), ("ceiling", "90.0", "90.3", "90.1", "", ""))
    assert made.plot(task="x").alt.startswith("A title. ") and "Chance 25. Ceiling 90." in made.plot(task="x").alt


def test_fields_and_extras_by_name():
    row = report().rows[0]
    assert (row["method"], row["value"], row["seconds"], row["shots"], row["other"]) == (
        "fine-tune",
        0.71,
        None,
        16,
        None,
    )


def test_a_paper_s_figure_may_be_a_text():
    table = report().table({"PET": "86.9", "fine-tune": ("≈ 74", "somewhere")})
    assert [row[table.header.index("paper")] for row in table.rows] == ["≈ 74", "86.9"]
    assert "paper 86.9" in report().plot(reference={"PET": "86.9", "fine-tune": "≈ 74"}).alt


def test_adding_again_replaces():
    made = report()
    made.add("PET", TASK, 0.5, seed=0)
    assert len(made.rows) == 10 and made.rows[5].value == 0.5 and made.rows[5].seed == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": float("nan")}, "value must be a finite number"),
        ({"value": "0.8"}, "value"),
        ({"value": True}, "value"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"method": ""}, "method must be a text"),
        ({"bytes": -1}, "bytes must be a whole number of 0 or more"),
        ({"note": [1]}, "note must be"),
        ({"note": float("inf")}, "note must be"),
    ],
)
def test_what_is_no_result_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        Report().add(**{"method": "a", "task": "x", "value": 0.5, **change})


def test_numpy_numbers_are_numbers():
    made = Report()
    made.add("a", "x", np.float32(0.5), seed=np.int64(3), parameters=np.int64(7), note=np.float64(1.5))
    assert json.loads(json.dumps(made.rows[0].plain()))["seed"] == 3


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_interval_equals_scipy_s_paired_t_test(pairs):
    made = Report()
    for seed, (a, b) in enumerate(pairs):
        made.add("a", "x", a, seed=seed)
        made.add("b", "x", b, seed=seed)
    made.add("a", "x", 0.1, seed=99)  # a seed of one alone counts for nothing
    found = made.compare("a", "b")
    differences = np.array([a - b for a, b in pairs])
    assert found.seeds == tuple(range(len(pairs))) and found.difference == pytest.approx(differences.mean(), abs=1e-12)
    if differences.std() > 1e-6:
        expected = stats.ttest_rel([a for a, _ in pairs], [b for _, b in pairs]).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert found.error == pytest.approx(stats.sem(differences), abs=1e-9)


def test_comparison_in_words():
    assert re.fullmatch(r"PET − fine-tune: \+12\.\d points of accuracy, 95 % interval \[.+\], 5 seeds",
                        str(report().compare("PET", "fine-tune")))  # fmt: skip
    single = Report()
    single.add("a", "x", 0.5)
    single.add("b", "x", 0.25)
    assert str(single.compare("a", "b")) == "a − b: +25.0 points of accuracy, one seed: no interval"
    single.add("c", "x", 0.5, seed=4)
    with pytest.raises(UsageError, match="no seed in common"):
        single.compare("a", "c")
    single.add("d", "z", 0.5)
    with pytest.raises(UsageError, match="no task"):
        single.compare("a", "d")
    with pytest.raises(UsageError, match="did you mean"):
        report().compare("PETT", "fine-tune")


def test_comparison_over_several_tasks_takes_each_seed_s_mean():
    made = Report()
    for seed, (x, y) in enumerate([(0.5, 0.7), (0.6, 0.9)]):
        made.add("a", "x", x, seed=seed)
        made.add("a", "y", y, seed=seed)
        made.add("b", "x", 0.5, seed=seed)
        made.add("b", "y", 0.5, seed=seed)
    made.add("a", "z", 0.0)
    assert made.compare("a", "b").difference == pytest.approx((0.1 + 0.25) / 2)
    assert made.compare("a", "b", task="y").difference == pytest.approx(0.3)


def test_unknown_names_and_empty_reports():
    with pytest.raises(UsageError, match="no rows yet"):
        Report().table()
    with pytest.raises(UsageError, match="accuracy"):
        report().table(metric="acuracy")
    with pytest.raises(UsageError, match="world/reviews"):
        report().plot(task="world/review")


HOSTILE = '<script>alert("x")</script> | `a` \x1b[2J\n[l](javascript:1)'


def test_markup_is_shown_as_text():
    made = Report()
    made.add(HOSTILE, "x", 0.5, note="<img src=x onerror=alert(1)>")
    table = made.table({HOSTILE: (1.0, "<b>source</b>")})
    page = table._repr_html_()
    ElementTree.fromstring(f"<div>{page}</div>")
    assert "<script" not in page and "<img" not in page and "<b>" not in page and "\x1b" not in page
    lines = made.table().markdown().splitlines()
    assert len(lines) == 3 and "<" not in lines[2] and r"\|" in lines[2] and r"\[l\]" in lines[2]
    assert "\x1b" not in str(table) and len(str(table).splitlines()) == 3
    assert "<script" not in made.plot()._repr_html_()


def test_columns_line_up_in_a_terminal_with_chinese_names():
    made = Report()
    made.add("两层学生", "x", 0.5)
    made.add("teacher", "x", 0.25)
    assert str(made.table()).splitlines() == ["method    accuracy  n", "两层学生  50.0      1", "teacher   25.0      1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(97, "97 "), (999.6, "1 k"), (372_000, "372 k"), (999_999, "1 M"), (14_523_000, "14.5 M"), (2e9, "2 G")],
)
def test_short(value, text):
    assert short(value) == text


def test_saved_and_loaded_reports_are_the_same(tmp_path):
    path = tmp_path / "folder" / "pet.json"
    made = report()
    made.title = "A title"
    made.save(path)
    again = Report.load(path)
    assert again.title == made.title and again.rows == made.rows
    assert again.bounds == made.bounds and again.origin == made.origin
    assert str(again.table()) == str(made.table())
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) >= {"command", "date", "device", "versions", "rows"} and found["command"] == made.command
    assert found["rows"][0]["shots"] == 16 and "seconds" not in found["rows"][0]
    assert [entry.name for entry in path.parent.iterdir()] == ["pet.json"]


def test_a_digit_that_changed_in_a_saved_report_is_found(tmp_path):
    path = tmp_path / "pet.json"
    report().save(path)
    text = path.read_text(encoding="utf-8")
    values = json.loads(text)
    values["rows"][0]["value"] += 0.01
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DataError, match=r"pet.json: altered since .*if you changed it yourself, delete 'seal' in it"):
        Report.load(path)
    values.pop("seal")
    path.write_text(json.dumps(values), encoding="utf-8")
    assert Report.load(path).rows[0].value == values["rows"][0]["value"]


def test_the_device_names_no_machine():
    import platform
    from pathlib import Path

    origin = json.dumps(Report().origin)
    assert (
        platform.node() not in origin.split()
        and str(Path.home()) not in origin
        and "/" not in Report().origin["device"]
    )
    assert {"python", "torch"} <= set(Report().origin["versions"])


def damaged(change) -> bytes:
    plain = {"command": "", "bounds": {}, "rows": [row.plain() for row in report().rows]}
    change(plain)
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 column 1"),
        (b'{"rows": [{"method": "a"', "line 1 column"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[]", "not a JSON object"),
        (b'{"rows": 3}', "rows"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (damaged(lambda plain: plain["rows"].__setitem__(1, 5)), "row 2: a row must be an object"),
        (damaged(lambda plain: plain["rows"][2].pop("value")), "row 3: value must be"),
        (damaged(lambda plain: plain["rows"][2].update(value=float("nan"))), "row 3: value must be"),
        (damaged(lambda plain: plain["rows"][3].update(seed="one")), "row 4: seed must be"),
        (damaged(lambda plain: plain.update(bounds={"x": [1, 2]})), "bounds"),
        (damaged(lambda plain: plain.update(bounds={"x": ["accuracy", 0.5, "high"]})), "bounds"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        Report.load(path)
    assert "damaged.json" in str(caught.value)
    with pytest.raises(DataError, match="absent.json"):
        Report.load(tmp_path / "absent.json")


def test_the_picture_says_in_words_what_it_shows(tmp_path):
    plot = report().plot(tmp_path / "p.png", {"PET": 86.9}, title="Sixteen shots")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    for part in ("Sixteen shots", "fine-tune 74.2 ± 4.4 (5 seeds)", "paper 86.9", "Chance 50", "Ceiling 90.3", "1.49"):
        assert part in plot.alt
    left, right = plot.figure.axes
    assert left.get_xlabel().startswith("accuracy (%)") and "MB" in right.get_xlabel() and right.get_ylabel()
    assert "alt=" in plot._repr_html_() and Image.open(tmp_path / "p.png").info["Description"] == plot.alt
    report().plot(tmp_path / "p.svg")
    ElementTree.parse(tmp_path / "p.svg")


def test_no_empty_boxes_where_there_is_no_chinese_font(monkeypatch):
    full = fonts._fonts()
    monkeypatch.setattr(fonts, "_fonts", lambda: full[:1])
    made = Report()
    for number, name in enumerate(("两层学生", "KD 学生", "KD 老师", "$x_1^2$ \\frac{", "😀")):
        made.add(name, "情感", 0.5 + number / 10, bytes=10 ** (4 + number))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = made.plot(title="蒸馏 distillation")
        assert plot.png()
    labels = [text.get_text() for text in plot.figure.axes[0].get_yticklabels()]
    assert labels == ["method 1", "KD", "KD (3)", "$x_1^2$ \\frac{", "method 5"]
    assert "两层学生" in plot.alt and "蒸馏" in plot.alt


def test_chinese_is_drawn_where_there_is_a_font():
    if len(fonts._fonts()) < 2:
        pytest.skip("no Chinese font on this machine")
    made = Report()
    made.add("两层学生", "x", 0.5)
    labels = made.plot().figure.axes[0].get_yticklabels()
    assert [text.get_text() for text in labels] == ["两层学生"]


def test_names_in_the_second_panel_overlap_nothing():
    made = Report()
    for number in range(12):
        made.add(f"method {number}", TASK, 0.8 + 0.004 * (number % 5), bytes=400_000 + 9_000 * number)
    plot = made.plot()
    plot.png()
    axes = plot.figure.axes[1]
    renderer = plot.figure.canvas.get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # of the words, without the lines to marks
    assert len(boxes) > 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    centres = [axes.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in axes.lines[:12]]
    assert not any(box.contains(*centre) for box in boxes for centre in centres)
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines[:12]}) == 12


@pytest.mark.parametrize("number", [1, 30])
def test_one_method_and_many(number):
    made = Report()
    for i in range(number):
        made.add(f"m{i}", "x", 0.0, parameters=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.plot().png()
