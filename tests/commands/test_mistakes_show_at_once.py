"""Mistakes that a person makes with settings: one line that says what to do, before TensorFlow is imported."""

import subprocess
import sys

import pytest

# What the message has to say, and how it is provoked; RUN is a folder with a config.gin.
MISTAKES = {
    "Deflation has no parameter 'stpes'; did you mean 'steps'?": "deflate --workdir RUN --gin_param=Deflation.stpes=3",
    "there is no Deflatoin; did you mean 'Deflation'?": "deflate --workdir RUN --gin_param=Deflatoin.steps=3",
    "nowhere is not a workdir": "deflate --workdir nowhere --gin_file=gin/deflate.gin",
    "there is no gin file gin/nowhere.gin": "deflate --workdir RUN --gin_file=gin/nowhere.gin",
    "did you mean 'RECORDS'": "evaluate --workdir RUN --gin_file=gin/evals/esc50.gin --gin_param=RECRDS='x'",
    "folder nowhere; prepare them: python -m mmv_tf.beam.preprocess --dataset esc50":
        "evaluate --workdir RUN --gin_file=gin/evals/esc50.gin --gin_param=RECORDS='nowhere'",
    "either --workdir or --module": "evaluate --gin_file=gin/evals/esc50.gin",
    "which protocol": "evaluate --workdir RUN",
    "RUN: no result in it; `python -m mmv_tf.evaluate --workdir RUN": "report --results RUN",
    "there is no folder nowhere": "train --gin_file=gin/own.gin --workdir x --gin_param=TRAIN_DATA='nowhere/train-*'",
    "there is no macro %STPES; did you mean 'STEPS'?":
        "train --gin_file=gin/va.gin --workdir x --gin_param=train.steps=%STPES",
    "the macro stands for itself": "counts --gin_file=gin/va.gin --gin_param=STEPS=%STEPS",
    "there is no S3d; did you mean 'S3D'?": "graph --gin_file=gin/va.gin --gin_param=VIDEO=@S3d()",
    "there is no FrameMean. If it is yours, give a gin file that imports it: --allow_gin_imports":
        "deflate --workdir RUN/own --gin_file=gin/deflate.gin",
    "did you mean 'STEPS'": "train --gin_file=gin/own.gin --workdir x --gin_param=STPES=3",
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """{message: (exit status, what was said, whether TensorFlow was imported)}, from one process."""
    run = tmp_path_factory.mktemp("run")
    (run / "config.gin").write_text("STEPS = 4\ntrain.steps = %STEPS\n")
    (run / "own").mkdir()
    (run / "own" / "config.gin").write_text("import frame_mean\n\nVIDEO = @FrameMean()\n")
    (run / "summary.json").write_text('{"steps": 4}')
    code = f"""
import contextlib, io, shlex, sys
from mmv_tf import __main__ as mmv_tf
for message, command in {MISTAKES!r}.items():
    text = io.StringIO()
    # The shell's own quotes; those of gin stay.
    arguments = command.replace("RUN", {str(run)!r}).split()
    with contextlib.redirect_stderr(text):
        status = mmv_tf.cli(arguments)
    print(repr((message, status, text.getvalue().replace({str(run)!r}, "RUN"), "tensorflow" in sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {message: rest for message, *rest in map(eval, done.stdout.splitlines())}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_told_in_one_line_at_once(said, message):
    status, text, tensorflow = said[message]
    assert status == 2 and text.startswith("error: ") and text.count("\n") == 1
    assert message in text
    assert not tensorflow
