"""Parameters as the paper counts them, and multiply-adds, against the released networks and by hand."""

import json
import pathlib

import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.common import config
from mmv_tf.model.cost import count, table
from mmv_tf.model.mmv import MMV

RELEASED = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "param_counts.json").read_text())


def test_the_fac_network_has_the_parameters_of_the_released_one():
    config.parse(["gin/fac.gin"])
    model = MMV()
    model.build_by_call(
        {
            "video": tf.zeros([1, 2, 32, 32, 3]),
            "audio": tf.zeros([1, 32, 32, 1]),
            "text": tf.zeros([1, 16], tf.int32),
        }
    )
    inputs = {
        "video": tf.TensorSpec([1, 16, 200, 200, 3]),
        "audio": tf.TensorSpec([1, 75, 80, 1]),
        "text": tf.TensorSpec([1, 16], tf.int32),
    }
    found = {c.part: c for c in count(model, inputs)}
    assert {part: c.parameters for part, c in found.items()} == RELEASED
    assert found["text"].frozen == 65536 * 300
    assert 2 * found["video"].multiply_adds == 29_443_845_632  # 29.4 GFLOP at 16 x 200 x 200


def test_multiply_adds_by_hand():
    model = toy.mmv(graphs.fac(), compiled=False)
    inputs = {
        "video": tf.TensorSpec([1, 2, 4, 4, 3]),
        "audio": tf.TensorSpec([1, 5, 4, 1]),
        "text": tf.TensorSpec([1, 3], tf.int32),
    }
    for backbone in model.backbones.values():
        backbone.output_dim = 6
    found = {c.part: c for c in count(model, inputs)}
    assert found["video"].multiply_adds == 3 * 6 and found["video"].parameters == 3 * 6 + 2 * 6
    assert found["video -> va"].multiply_adds == 6 * 6 + 6 * 6
    assert found["text -> vat"].parameters == 6 * 4 + 4
    assert found["va -> vat"].parameters == 6 * 4 + 4 + 2 * 4
    assert "total" in table(list(found.values()))
