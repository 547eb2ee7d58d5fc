"""Networks of other libraries for benchmarks/backbones.py: the same input, a forward pass and a training step.

Each function returns (multiply-adds of one clip or None if they are ours, forward, train): functions of no arguments
that have done their work when they return. The weights are random. Nothing here is needed by the library itself.
"""

import os
import sys


def import_torch():
    """Must come before TensorFlow is imported: with torch 2.14 and TensorFlow 2.20 the other order crashes."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise SystemExit(f"--peer torch needs PyTorch: pip install torch torchvision ({error})") from None
    return torch, torchvision


def torch_network(name: str, clips):
    """torchvision's S3D or R(2+1)D-18, of clips [B,T,H,W,3].

    Its S3D has no gates, and a stem of (1,7,7) and (7,1,1) instead of one full 7x7x7 kernel: a tenth fewer
    multiply-adds. Its R(2+1)D has fewer channels between the factors. The layout of the clips in memory, channels last,
    is also the one that is fastest there.
    """
    torch, torchvision = import_torch()
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(os.cpu_count())
    if name == "s3d_rgb":  # its last pool wants 7x7 maps, so the maps themselves are averaged
        network = torchvision.models.video.s3d(weights=None).features
    elif name == "r2plus1d":
        network = torch.nn.Sequential(*list(torchvision.models.video.r2plus1d_18(weights=None).children())[:-2])
    else:
        return None
    x = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
    parameters = list(network.parameters())

    def forward():
        network.eval()
        with torch.inference_mode():
            return network(x).mean((2, 3, 4))

    def train():
        network.train()
        return torch.autograd.grad(network(x).mean((2, 3, 4)).square().sum(), parameters)

    with FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops() // 2 // len(clips), forward, train


def jax_network(checkout: str, name: str, clips):
    """The released code, google-deepmind/deepmind-research, whose folder `mmv` lies in `checkout`; compiled by XLA."""
    sys.path.insert(0, checkout)
    try:
        import haiku as hk
        import jax
        from mmv.models import normalization, s3d, tsm_resnet
    except ImportError as error:
        raise SystemExit(
            f"--peer-jax {checkout} needs a checkout of google-deepmind/deepmind-research there, and "
            f"pip install jax dm-haiku optax ({error})"
        ) from None
    classes = {"s3d_rgb": s3d.S3D, "s3d_s2d": s3d.S3D, "tsm50": tsm_resnet.TSMResNetV2}
    if name not in classes:
        return None

    def network(x, is_training):
        if name == "s3d_s2d":  # their input pipeline does this; here it is part of the network
            b, t, h, w, c = x.shape
            x = x.reshape(b, t // 2, 2, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4, 6, 7)
            x = x.reshape(b, t // 2, h // 2, w // 2, 8 * c)
        return classes[name](normalize_fn=normalization.get_normalize_fn("batch_norm"))(x, is_training=is_training)

    network = hk.transform_with_state(network)
    x = jax.device_put(clips)
    weights, state = jax.jit(lambda key: network.init(key, x, True))(jax.random.PRNGKey(0))

    def loss(weights, x):
        y, new_state = network.apply(weights, state, None, x, True)
        return (y**2).sum(), new_state

    forward = jax.jit(lambda weights, x: network.apply(weights, state, None, x, False)[0])
    train = jax.jit(jax.grad(loss, has_aux=True))
    return None, *(lambda f=f: jax.block_until_ready(f(weights, x)) for f in (forward, train))
