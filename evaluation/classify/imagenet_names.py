"""The names of ImageNet's 1,000 classes, from Keras's class index (35 kB, downloaded once to ~/.keras/models).

Both that index and the labels here follow the order of the WordNet numbers.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

NUM_CLASSES = 1000
TIMEOUT = 10.0  # seconds to wait for the server
_WORDNET = re.compile(r"n\d{8}")


def readable(names: Sequence[str]) -> tuple[str, ...]:
    """Words for ImageNet's classes.

    Args:
      names: what a data set calls them: WordNet numbers (n01440764, ...), or nothing, for all thousand in order. Other names
        are words already.

    Returns:
      one name a class; `names` as they are where Keras's index can neither be found nor downloaded, with a line on stderr.
    """
    if names and not all(_WORDNET.fullmatch(name) for name in names):
        return tuple(names)
    try:
        words = class_index()
    except Exception as error:  # whatever a download may raise: the answers do not depend on it
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"notice: no names for ImageNet's classes, their numbers instead: {reason}", file=sys.stderr)
        return tuple(names)
    return tuple(words.get(name, name) for name in names) if names else tuple(words.values())


def class_index() -> dict[str, str]:
    """Words by WordNet number, in the order of classes; classes of the same word have their number behind it.

    Raises:
      Exception: not there, and the download failed.
    """
    each_first = np.eye(NUM_CLASSES, dtype=np.float32)
    with _short_timeout(), contextlib.redirect_stdout(io.StringIO()):
        rows = tf.keras.applications.imagenet_utils.decode_predictions(each_first, top=1)
    words = {number: word.replace("_", " ") for ((number, word, _),) in rows}
    often = Counter(words.values())
    return {number: word if often[word] == 1 else f"{word} ({number})" for number, word in words.items()}


@contextlib.contextmanager
def _short_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
