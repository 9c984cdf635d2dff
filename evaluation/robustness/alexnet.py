"""AlexNet's errors and flips, by which the benchmarks of Hendrycks and Dietterich (2019) divide.

The order of the keys is that of the benchmarks; the names are those of the published folders.
"""

from __future__ import annotations

SEVERITIES = (1, 2, 3, 4, 5)

# Top-1 errors of torchvision's AlexNet at severities 1..5 on ImageNet-C at 224 pixels, as the authors published them
# (hendrycks/robustness#10 on GitHub; the means over severities: google-research/augmix, imagenet.py).
_ERRORS = {
    # noise
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    # blur
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    # weather
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    # digital
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
ERRORS = {corruption: dict(zip(SEVERITIES, errors)) for corruption, errors in _ERRORS.items()}
CORRUPTIONS = tuple(ERRORS)

# The top-1 error on the clean validation pictures: torchvision lists an accuracy of 56.5 %.
CLEAN_ERROR = 0.435

# Flip probabilities on ImageNet-P. No public text has these ten together. With the flip probabilities that were published for
# ResNeXt-101 WSL 32x48d they give the published mFR (27.8), so their mean is safe to 0.1 points; a single one is not proven.
FLIP_PROBABILITIES = {
    "gaussian_noise": 0.2365,
    "shot_noise": 0.3006,
    "motion_blur": 0.0930,
    "zoom_blur": 0.0594,
    "snow": 0.1193,
    "brightness": 0.0489,
    "translate": 0.1101,
    "rotate": 0.1310,
    "tilt": 0.0705,
    "scale": 0.2353,
}
PERTURBATIONS = tuple(FLIP_PROBABILITIES)
