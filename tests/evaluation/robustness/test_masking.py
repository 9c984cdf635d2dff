from __future__ import annotations

import numpy as np

from evaluation.robustness.masking import signs_of_masking


def right(count: int, of: int = 100) -> np.ndarray:
    return np.arange(of) < count


def test_a_network_that_falls_as_it_should_shows_no_sign():
    falls = {0.0: right(90), 2.0: right(60), 16.0: right(30)}
    harder = {0.0: right(90), 2.0: right(62), 16.0: right(2)}
    assert signs_of_masking(np.zeros(100), falls, harder, right(0)) == []
    assert signs_of_masking([]) == []


def test_gradients_of_zero_are_a_sign():
    zeros = np.array([0.0, 0.0, 0.5, 1.0])
    (sign,) = signs_of_masking(zeros)
    assert sign.startswith(
        "37.5% of the gradients are 0 or no number (expected at most 1%); all of them on 1 of 4 pictures"
    )
    assert signs_of_masking(np.full(100, 0.01)) == []


def test_fgsm_that_does_more_harm_than_pgd_is_a_sign_unless_by_chance():
    fgsm = {0.0: right(90), 4.0: right(40), 8.0: right(30)}
    pgd = {0.0: right(99), 4.0: right(43), 8.0: right(50)}
    (sign,) = signs_of_masking([0.0], fgsm, pgd)
    assert sign.startswith("epsilon 8: FGSM leaves 30.0% right, PGD 50.0% of 100 pictures: ")


def test_pictures_that_survive_any_change_are_a_sign():
    (sign,) = signs_of_masking([0.0], at_255=right(5))
    assert sign.startswith("epsilon 255: PGD leaves 5.0% of 100 pictures right")
    assert signs_of_masking([0.0], at_255=right(1)) == []
