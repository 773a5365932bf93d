import csv
import io
import random

import pytest

from m3it_jax.dataset_building.interchange import tab_separated
from m3it_jax.dataset_building.specification import Rejected


@pytest.fixture
def read(tmp_path):
    def _read(text):
        path = tmp_path / "a.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return [row if isinstance(row, Rejected) else row[1] for row in tab_separated.rows(path)]

    return _read


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("header", [[], [["caption", "url"]]])
def test_what_a_table_program_writes_is_read_back(read, quoting, header):
    captions = [
        'a "big" dog',
        '"Hello"',
        "two\nlines",
        "a\n\nb\n",
        "a\ttab",
        '"',
        "plain",
        "",
        '""',
        'ends with "',
        "it's",
    ]
    rows = header + [[caption, f"{number}.jpg"] for number, caption in enumerate(captions)]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", quoting=quoting, lineterminator="\n").writerows(rows)
    assert read(file.getvalue()) == rows


def test_random_tables_are_read_back(read):
    draw = random.Random(0)
    for _ in range(200):
        rows = [
            ["".join(draw.choices("ab \"\t\n,'", k=draw.randrange(9))), "", f"{number}.jpg"]
            for number in range(draw.randrange(1, 9))
        ]
        rows[0][0] = 'first "one"'
        file = io.StringIO(newline="")
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
        assert read(file.getvalue()) == rows


@pytest.mark.parametrize(
    "caption",
    [
        '"yes" or "no"',
        '" i love you " hand lettering',
        '"an open one',
        'a 5" nail',
        '"one ""doubled"" and more',
        '"""',
        '"said "" he',
    ],
)
def test_a_quote_of_the_text_stays_where_nothing_else_is_in_quotes(read, caption):
    rows = [["a dog", "0.jpg"], [caption, "1.jpg"], ["a cat", "2.jpg"], [caption, "3.jpg"], ["an end", "4.jpg"]]
    assert read("".join("\t".join(row) + "\n" for row in rows)) == rows
    turned = [row[::-1] for row in rows]
    assert read("".join("\t".join(row) + "\n" for row in turned)) == turned


def test_quotes_around_some_captions_are_text_and_around_all_are_form(read):
    assert read('"a dog"\t0.jpg\na cat\t1.jpg\n"a cow"\t2.jpg\n') == [
        ['"a dog"', "0.jpg"],
        ["a cat", "1.jpg"],
        ['"a cow"', "2.jpg"],
    ]
    assert read('caption\turl\n"a dog"\t0.jpg\n"a cow"\t2.jpg\n')[1:] == [["a dog", "0.jpg"], ["a cow", "2.jpg"]]
    assert read('"a dog"\t"0.jpg"\na cow\t2.jpg\n') == [["a dog", "0.jpg"], ["a cow", "2.jpg"]]


def test_lines_that_cannot_be_read_are_told_and_end_no_other_row(read):
    found = read(b'\xef\xbb\xbf"a\t0.jpg\n\xff\t1.jpg\nb"\t2.jpg\n' + b"x" * (1 << 21) + b"\nc\t3.jpg\n")
    assert [row.reason if isinstance(row, Rejected) else row for row in found] == [
        ['"a', "0.jpg"],
        "not-utf8",
        ['b"', "2.jpg"],
        "line-too-long",
        ["c", "3.jpg"],
    ]


def test_an_open_quote_takes_no_whole_rows_with_it(read):
    rows = [['"open', f"{number}.jpg"] for number in range(300)]
    assert read("".join("\t".join(row) + "\n" for row in rows)) == rows
    assert len(read('"open\n' * 300)) == 300


def test_a_row_is_named_by_its_first_line(tmp_path):
    (tmp_path / "a.tsv").write_text('\n"two\nlines"\t0.jpg\none\t1.jpg\n')
    assert [place for place, _ in tab_separated.rows(tmp_path / "a.tsv")] == ["a.tsv:2", "a.tsv:4"]


def test_quotes_of_two_cells_do_not_make_them_one(read):
    assert read('one\t0.jpg\tz\n"two\t1.jpg\ty"\n') == [["one", "0.jpg", "z"], ['"two', "1.jpg", 'y"']]
