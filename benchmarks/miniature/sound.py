"""The sound of a simulated shot: each impact rings the modes of the material, in a room, before a microphone."""

import numpy as np

from benchmarks.miniature import scenes
from benchmarks.miniature.physics import STEP, Motion

# Hz of the lowest mode of a ball of radius _RADIUS, ratios of the modes, seconds of decay of the lowest.
MODES = {
    "glass": (2300.0, (1, 1.9, 2.75), 0.13),
    "metal": (1150.0, (1, 2.76, 5.4), 0.40),
    "plastic": (250.0, (1, 2.3, 3.6), 0.06),
    "rubber": (150.0, (1, 1.6), 0.045),
    "stone": (800.0, (1, 1.5, 2.2), 0.025),
    "wood": (420.0, (1, 2.57, 4.6), 0.035),
}
_RADIUS = 0.085
_HIGHEST = 7000.0  # Hz
_TONE = (50, 200, 600, 1800, 5000, 8050)  # Hz where the tone of a microphone is drawn


def _knock(material: str, radius: float, rng: np.random.Generator) -> np.ndarray:
    lowest, ratios, decay = MODES[material]
    lowest *= _RADIUS / radius * np.exp(rng.uniform(-0.35, 0.35))
    time = np.arange(int(scenes.SAMPLE_RATE * min(5 * decay, 1.0))) / scenes.SAMPLE_RATE
    modes = [
        np.sin(2 * np.pi * min(lowest * ratio, _HIGHEST) * time) * np.exp(-time / decay * (1 + 0.5 * n)) / (n + 1)
        for n, ratio in enumerate(ratios)
    ]
    return np.sum(modes, axis=0)


def _room(heard: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Level, hum, tone and hiss of another place and another microphone."""
    heard = heard * (0.3 / (np.abs(heard).max() + 1e-6)) * 10 ** rng.uniform(-0.8, 0)
    spectrum, hertz = np.fft.rfft(heard), np.fft.rfftfreq(len(heard), 1 / scenes.SAMPLE_RATE)
    hum = np.fft.rfft(rng.normal(0, 1, len(heard))) * (hertz + 60.0) ** -rng.uniform(0, 1.2)
    hum *= 10 ** rng.uniform(-1.6, -0.3) * np.sqrt(np.mean(np.abs(spectrum) ** 2) / np.mean(np.abs(hum) ** 2))
    tone = np.interp(np.log(hertz + 50), np.log(_TONE), rng.uniform(-1.1, 1.1, len(_TONE)))
    heard = np.fft.irfft((spectrum + hum) * np.exp(tone), len(heard))
    return heard + rng.normal(0, 10 ** rng.uniform(-4, -3), len(heard))


def samples(motion: Motion, material: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Float32 [seconds x SAMPLE_RATE] in [-1, 1] of a shot."""
    knock = _knock(material, motion.radius, rng)
    struck = np.zeros(round(seconds * scenes.SAMPLE_RATE))
    for second, impulse in motion.impacts:
        struck[min(int(second * scenes.SAMPLE_RATE), len(struck) - 1)] += min(impulse, 2.0) ** 0.7
    if motion.speed.any():  # what rolls, rumbles
        envelope = np.interp(
            np.arange(len(struck)) / scenes.SAMPLE_RATE, np.arange(len(motion.speed)) * STEP, motion.speed
        )
        struck += 0.02 * envelope * rng.normal(size=len(struck))
    size = 1 << (len(struck) + len(knock)).bit_length()
    heard = np.fft.irfft(np.fft.rfft(struck, size) * np.fft.rfft(knock, size), size)[: len(struck)]
    return np.clip(_room(heard, rng), -1, 1).astype(np.float32)
