from __future__ import annotations

import pytest

from evaluation.robustness.constants import SEVERITIES, TABLES, constants_of, table_of


@pytest.mark.parametrize(
    ("side", "table"),
    [(8, 32), (16, 32), (32, 32), (48, 32), (49, 64), (128, 64), (129, 224), (260, 224), (261, 299), (800, 299)],
)
def test_a_side_takes_the_table_near_it(side: int, table: int) -> None:
    assert table_of(side) == table


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_five_severities_of_the_same_constants(name: str) -> None:
    assert list(TABLES[name]) == [32, 64, 224, 299]
    rows = [row for table in TABLES[name].values() for row in table]
    assert len(rows) == 4 * len(SEVERITIES)
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize(
    ("name", "severity", "side", "expected"),
    [
        ("defocus_blur", 5, 224, (10, 0.5)),
        ("defocus_blur", 5, 598, (24, 1.0)),
        ("glass_blur", 4, 598, (2.4, 8, 2)),
        ("motion_blur", 1, 598, (24, 8)),
        ("snow", 1, 598, (0.1, 0.3, 6, 0.5, 20, 8, 0.8)),
        ("frost", 1, 598, (1, 0.4, 2)),
        ("gaussian_noise", 1, 598, (0.09,)),
        ("jpeg_compression", 1, 598, (23,)),
        ("motion_blur", 5, 16, (9, 2.5)),  # no table below 32, and no length is halved
        ("defocus_blur", 5, 16, (1.5, 0.1)),
        ("elastic_transform", 1, 224, (488, 0.7 * 244, 0.1 * 244)),
        ("elastic_transform", 5, 64, (0.16 * 64, 0.03 * 64, 0.02 * 64)),
        ("elastic_transform", 5, 16, (0.1 * 16, 0.03 * 16, 0.03 * 16)),
    ],
)
def test_lengths_follow_the_side(name: str, severity: int, side: int, expected: tuple[float, ...]) -> None:
    assert constants_of(name, severity, side) == pytest.approx(expected, rel=1e-12)


def test_offsets_of_glass_are_whole_pixels() -> None:
    for side in (300, 380, 456, 600, 800):
        assert all(isinstance(constants_of("glass_blur", severity, side)[1], int) for severity in SEVERITIES)
