"""Compares the corruptions and perturbations with pictures that the benchmark authors' own code produced.

The content of such a file; pictures are uint8 [H, W, 3], and a side's table is the one for its pictures:

- `input/<side>/<i>`: the clean pictures. `input/p<side>/0`: an uncropped source for perturbations, where there is one.
- `<corruption>/<side>/<severity>/<i>`: the corrupted pictures, of corruptions that are not random.
- `draws/<corruption>/<side>/<severity>/<name>` and `result/<corruption>/<side>/<severity>`: random numbers, intermediate
  results, and what becomes of picture 0.
- `stats/<corruption>/<side>/<severity>/<statistic>` [2, n]: mean and standard deviation of the statistic between as many
  draws as `stats/seeds` says, for picture 0. `stats/lags`: those of the autocorrelations.
- `p/<perturbation>/<side>/frames` [F, side, side, 3] and `/index` [F]: some frames, and which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from evaluation.robustness import blur, digital, weather
from evaluation.robustness.constants import constants_of
from evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt, picture_generator
from evaluation.robustness.perturbations import PERTURBATIONS, perturb
from runtime.errors import UserError
from tests.golden.checks import Checks

Arrays = Mapping[str, np.ndarray]

ALL = {**CORRUPTIONS, **EXTRA_CORRUPTIONS}
DETERMINISTIC = [name for name, corruption in ALL.items() if corruption.draw is None]

# The random numbers of each corruption, in the order in which it takes them.
DRAWS = {
    "gaussian_noise": ("standard_normal",),
    "speckle_noise": ("standard_normal",),
    "shot_noise": ("counts",),
    "impulse_noise": ("flipped", "salted"),
    "glass_blur": ("offsets",),
    "motion_blur": ("angle",),
    "snow": ("standard_normal", "angle"),
    "fog": ("uniform",),
    "elastic_transform": ("affine", "dx", "dy"),
}
# The share of the values that may differ, by one level; none where nothing is said. Picture 3 is procedural, with flat
# patches that lie just at whole levels.
SHARES = {"defocus_blur": 1e-4, "zoom_blur": 0.01, "elastic_transform": 0.01}
SHARES_OF_PICTURE_3 = {"zoom_blur": 0.05}
SHARES_OF_FRAMES = {"rotate": 0.06, "scale": 0.06, "zoom_blur": 0.06}
LARGEST_Z = 5.0
PLASMA_TOLERANCE = 1e-6
MATRIX_TOLERANCE = 1e-9


def is_corruptions(names: Iterable[str]) -> bool:
    """Whether a file with arrays of these names is of this kind."""
    first = {name.split("/")[0] for name in names}
    return "input" in first and bool(first & {"result", "stats", "p", *ALL})


def compare_corruptions(content: Arrays) -> dict[str, Any]:
    """Compares every array of a file.

    Returns:
      {"ok", "deviations", "not_compared": names without a counterpart here, if there are any, "checked": results compared}.

    Raises:
      UserError: a name that is none of these.
    """
    checks = Checks()
    checked = 0
    for key in content:
        kind, *rest = key.split("/")
        if kind in ("input", "draws") or key in ("stats/seeds", "stats/lags") or key.endswith("/index"):
            continue  # what the others are made from; intermediate results are compared with the result
        if kind == "result" and len(rest) == 3:
            checked += _compare_result(content, key, checks)
        elif kind == "stats" and len(rest) == 4:
            checked += rest[3] == "mean" and _compare_statistics(content, key[: -len("/mean")], checks)
        elif kind == "p" and len(rest) == 3:
            checked += _compare_frames(content, key, checks)
        elif len(rest) == 3:
            checked += _compare_picture(content, key, checks)
        else:
            raise UserError(
                f"got the name {key!r}, expected <corruption>/<side>/<severity>/<picture> or result/, stats/ or p/"
            )
    report = checks.report()
    return {**report, "ok": report["ok"] and checked > 0, "checked": checked}


def _compare_picture(content: Arrays, key: str, checks: Checks) -> bool:
    name, side, severity, number = key.split("/")
    if name not in DETERMINISTIC:
        checks.not_compared.append(key)
        return False
    unused = np.random.default_rng(0)
    ours = corrupt(content[f"input/{side}/{number}"], name, int(severity), unused)
    shares = {**SHARES, **SHARES_OF_PICTURE_3} if number == "3" else SHARES
    _pixels(checks, name if number != "3" else f"{name}, picture 3", ours, content[key], shares.get(name, 0.0), key)
    return True


def _compare_result(content: Arrays, key: str, checks: Checks) -> bool:
    _, name, side, severity = key.split("/")
    if name not in DRAWS:
        checks.not_compared.append(key)
        return False
    image, constants = content[f"input/{side}/0"], constants_of(name, int(severity), int(side))
    prefix = f"draws/{name}/{side}/{severity}/"
    draws = {name[len(prefix) :]: values for name, values in content.items() if name.startswith(prefix)}
    ours = ALL[name].apply(image, *(draws[draw] for draw in DRAWS[name]), *constants)
    _pixels(checks, f"{name} of its draws", ours, content[key], SHARES.get(name, 0.0), key)
    known = {**draws, **_between(name, draws, constants, int(side), checks, prefix)}
    checks.not_compared += [prefix + draw for draw in draws if draw not in DRAWS[name] and known[draw] is draws[draw]]
    return True


def _between(
    name: str, draws: Arrays, constants: tuple[Any, ...], side: int, checks: Checks, prefix: str
) -> dict[str, np.ndarray]:
    """Our intermediate results of those that are stored with the draws, compared with them."""
    ours: dict[str, np.ndarray] = {}
    tolerances: dict[str, float] = {}
    if name == "snow":
        ours["layer_uint8"] = weather.snow_layer(draws["standard_normal"], *constants[:4])
        ours["layer_blurred"] = blur.motion_blur(ours["layer_uint8"], float(draws["angle"]), *constants[4:6])
    elif name == "fog":
        ours["plasma"] = weather.plasma(draws["uniform"], constants[1], weather.fog_size(side))[:side, :side]
        tolerances["plasma"] = PLASMA_TOLERANCE
    elif name == "elastic_transform":
        ours["points_from"] = digital.fixed_points(side, side)
        ours["points_to"] = ours["points_from"] + draws["affine"]
        ours["matrix"] = digital.affine_matrix(draws["affine"], side, side)
        tolerances["matrix"] = MATRIX_TOLERANCE
    for what, values in ours.items():
        if what in draws:
            checks.absolute(f"{name}: {what}", values, draws[what], tolerances.get(what, 0.0), prefix + what)
    return ours


def _compare_frames(content: Arrays, key: str, checks: Checks) -> bool:
    _, name, side, _ = key.split("/")
    if name not in PERTURBATIONS or PERTURBATIONS[name].draw:
        checks.not_compared.append(key)
        return False
    uncropped = f"input/p{side}/0"
    image = content[uncropped if uncropped in content else f"input/{side}/0"]
    frames = perturb(image, name, np.random.default_rng(0), int(side))
    ours = frames[content[f"p/{name}/{side}/index"]]
    _pixels(checks, f"frames of {name}", ours, content[key], SHARES_OF_FRAMES.get(name, 0.0), key)
    return True


def _pixels(checks: Checks, quantity: str, ours: np.ndarray, reference: np.ndarray, share: float, where: str) -> None:
    """Notes by how many levels the values differ at most, and which share of them differs; none may where the share is 0."""
    checks.absolute(f"{quantity}: levels", ours, reference, 1.0 if share else 0.0, where)
    if ours.shape == reference.shape:
        checks.add(f"{quantity}: share", float(np.mean(ours != reference)), share, where)


# --- statistics of random corruptions -------------------------------------------------------------------------------


def _compare_statistics(content: Arrays, prefix: str, checks: Checks) -> bool:
    """A second run with other draws decides where the first is out of tolerance."""
    _, name, side, severity = prefix.split("/")
    if name not in ALL:
        checks.not_compared.append(prefix)
        return False
    seeds, lags = int(content["stats/seeds"]), [int(lag) for lag in content["stats/lags"]]
    names = [key[len(prefix) + 1 :] for key in content if key.startswith(prefix + "/")]
    image = content[f"input/{side}/0"]
    for attempt in (0, 1):
        ours = _drawn_statistics(image, name, int(severity), seeds, lags, attempt)
        largest = {what: _largest_z(ours[what], content[f"{prefix}/{what}"], seeds) for what in names}
        if max(largest.values()) <= LARGEST_Z:
            break
    for what, z in largest.items():
        checks.add(f"{name}: z of its statistics", z, LARGEST_Z, f"{prefix}/{what}")
    return True


def _largest_z(ours: np.ndarray, reference: np.ndarray, seeds: int) -> float:
    """The largest difference of the means in units of its standard error, that of both sides."""
    difference = np.abs(ours.mean(axis=0) - reference[0])
    error = np.sqrt((ours.var(axis=0, ddof=1) + reference[1] ** 2) / seeds)
    return float(np.max(np.divide(difference, error, out=np.where(difference > 0, np.inf, 0.0), where=error > 0)))


def _drawn_statistics(
    image: np.ndarray, name: str, severity: int, seeds: int, lags: list[int], attempt: int
) -> dict[str, np.ndarray]:
    """The statistics of so many draws, each [seeds, n]."""
    rows = []
    for number in range(seeds):
        generator = picture_generator(attempt, name, severity, number)
        rows.append(statistics(corrupt(image, name, severity, generator), image, lags))
    return {what: np.stack([row[what] for row in rows]) for what in rows[0]}


def statistics(result: np.ndarray, image: np.ndarray, lags: Iterable[int]) -> dict[str, np.ndarray]:
    """By channel, in grey levels: mean and deviation of the result, mean size of its difference from the picture.

    By lag: autocorrelation of that difference along rows (the first axis) and columns, the mean over the channels.
    """
    difference = np.subtract(result, image, dtype=np.float64)
    centred = difference - difference.mean(axis=(0, 1))
    return {
        "mean": result.mean(axis=(0, 1)),
        "std": result.std(axis=(0, 1)),
        "mad": np.abs(difference).mean(axis=(0, 1)),
        "autocorrelation_rows": np.array([_autocorrelation(centred, lag) for lag in lags]),
        "autocorrelation_columns": np.array([_autocorrelation(centred.transpose(1, 0, 2), lag) for lag in lags]),
    }


def _autocorrelation(centred: np.ndarray, lag: int) -> float:
    covariance = np.mean(centred[lag:] * centred[:-lag], axis=(0, 1))
    return float(np.mean(covariance / np.mean(centred**2, axis=(0, 1))))
