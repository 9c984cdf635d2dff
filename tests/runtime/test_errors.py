"""What filesystems say, local and remote, on one line."""

from __future__ import annotations

import errno

import pytest
import tensorflow as tf

from runtime import errors
from runtime.errors import UserError


def tf_error(kind, message):
    return kind(None, None, message)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("--flag: one\ntwo"), "error: --flag: one two"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/x"),
            "error: /data/x: No such file or directory; check the path, and run the same command again",
        ),
        (
            tf_error(tf.errors.ResourceExhaustedError, "/out/a.writing-1; No space left on device"),
            "error: /out/a.writing-1: No space left on device; make room, and run the same command again",
        ),
        (
            tf_error(tf.errors.NotFoundError, "/in/a; No such file or directory [Op:IteratorGetNext]"),
            "error: /in/a: No such file or directory; check the path, and run the same command again",
        ),
        (
            tf_error(tf.errors.FailedPreconditionError, "Error executing\n\t when reading metadata of gs://b/x"),
            "error: Error executing when reading metadata of gs://b/x; check the path, the network and your permission, and run "
            "the same command again",
        ),
    ],
)
def test_what_the_user_can_put_right_is_one_line(error, line):
    assert errors.one_line(error) == line


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("bug"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        tf_error(tf.errors.InvalidArgumentError, "shapes must match; got 2"),
    ],
)
def test_a_bug_is_none(error):
    assert errors.one_line(error) == ""


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), "the memory is not enough; lower"),
        (
            tf_error(tf.errors.ResourceExhaustedError, "Graph error:\n\nOOM when allocating tensor with shape[8,8] on"),
            "the memory is not enough (OOM when allocating tensor with shape[8,8]); lower",
        ),
        (
            RuntimeError(
                "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 931. GiB for an array [while running x]"
            ),
            "the memory is not enough (Unable to allocate 931. GiB); lower",
        ),
    ],
)
def test_too_little_memory_says_what_to_lower(error, found):
    line = errors.one_line(error)
    assert line.startswith(f"error: {found}")
    assert "--train_batch_size" in line


def test_what_a_real_filesystem_says_is_understood(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for act in (
        lambda: tf.io.gfile.makedirs(str(tmp_path / "file" / "below")),
        lambda: tf.io.gfile.GFile(str(tmp_path / "none")).read(),
        lambda: (tmp_path / "file" / "below").read_text(),
        lambda: tf.io.write_file(str(tmp_path / "file" / "below"), "text"),
        lambda: tf.io.gfile.listdir(str(tmp_path / "none")),
        lambda: list(tf.data.TFRecordDataset(str(tmp_path / "none"))),
    ):
        with pytest.raises((tf.errors.OpError, OSError)) as error:
            act()
        line = errors.one_line(error.value)
        assert line.startswith(f"error: {tmp_path}/"), line
        assert line.endswith("; check the path, and run the same command again")


def test_a_broken_pipe_is_known_whatever_was_made_of_it():
    for cause in (True, False):
        with pytest.raises(UserError) as caught:
            try:
                raise BrokenPipeError(32, "Broken pipe")
            except OSError as error:
                raise UserError("cannot write") from (error if cause else None)
        assert errors.is_broken_pipe(caught.value)
        assert errors.one_line(caught.value) == ""
    assert not errors.is_broken_pipe(UserError("cannot write"))


def test_the_reason_alone():
    assert errors.reason(tf_error(tf.errors.UnknownError, "/a; File too large")) == "File too large"
    assert errors.reason(tf_error(tf.errors.UnknownError, "one; two\nthree")) == "one; two"
    assert errors.reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert errors.reason(ValueError()) == "ValueError"
