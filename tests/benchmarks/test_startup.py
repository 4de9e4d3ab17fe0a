"""The tables of cold start and memory."""

from benchmarks.startup import Start, memory_rows, time_rows

STARTS = [Start(5.0, 7.0, 900.0, 1000.0, 1300.0, 1400.0), Start(6.0, 9.0, 910.0, 1010.0, 1500.0, 1600.0)]


def test_times_stand_beside_their_goals():
    assert time_rows(STARTS) == [
        ("start → first page", "5.5", "5.0", "6.0", 2, "≤ 8"),
        ("start → first tile by API", "8.0", "7.0", "9.0", 2, "≤ 12"),
    ]


def test_memory_is_told_in_the_order_in_which_it_is_met():
    rows = memory_rows(STARTS, callers=4, num=8)
    assert [row[1] for row in rows] == ["905", "1,005", "1,400", "1,500"]
    assert "4 callers wait for 8 tiles each" in rows[2][0]


def test_without_callers_there_is_no_row_of_load():
    starts = [Start(5.0, 7.0, 900.0, 1000.0, None, 1400.0)]
    assert len(memory_rows(starts, callers=0, num=8)) == 3
