"""The look of a shot: three balls of one material before a place that is never the same, seen by a moving camera."""

import numpy as np

from benchmarks.miniature import scenes
from benchmarks.miniature.physics import Motion

_WORLD = 160  # pixels of the side of the world; the ground reaches half of it further on each side
_FINE = 2  # drawn so many times larger than shown


def _ground(rng: np.random.Generator) -> np.ndarray:
    """A place, float32 [2 n, 2 n, 3]: blurred colours and some discs that do not move."""
    import cv2

    side = 2 * _WORLD
    ground = cv2.resize(rng.uniform(0, 1, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    ground = np.clip(0.5 + (ground - 0.5) * 0.7, 0, 1)
    for _ in range(6):
        (x, y), radius = rng.integers(0, side, 2), int(rng.integers(8, 30))
        cv2.circle(ground, (int(x), int(y)), radius, rng.uniform(0, 1, 3).tolist(), -1)
    return ground


def _ball(material: str, side: int, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ball as RGBA float32 [side, side, 4]; a material is told by its pattern, not by its colour."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    distance, angle = np.hypot(x, y), rng.uniform(0, np.pi)
    light, alpha = np.ones_like(x), np.ones_like(x)
    if material == "wood":
        light = 0.65 + 0.35 * np.sign(np.sin((x * np.cos(angle) + y * np.sin(angle)) * 9))
    elif material == "metal":
        light = np.clip(1.5 - 1.3 * np.hypot(x + 0.3, y + 0.3), 0.15, 1.3)
    elif material == "glass":
        alpha = np.where(distance > 0.7, 0.95, 0.2)
    elif material == "rubber":
        light = np.where(distance < 0.4, 0.2, 0.8)
    elif material == "plastic":
        light = np.where(x * np.cos(angle) + y * np.sin(angle) < 0, 0.3, 1.0)
    elif material == "stone":
        light = np.kron(rng.choice([0.4, 0.7, 1.0], (8, 8)), np.ones((-(-side // 8),) * 2))[:side, :side]
    rgb = np.clip(light[..., None] * colour, 0, 1)
    return np.concatenate([rgb, (alpha * (distance < 1))[..., None]], axis=-1).astype(np.float32)


def _put(picture: np.ndarray, ball: np.ndarray, place: np.ndarray) -> None:
    side = len(ball)
    left, top = (int(v * _WORLD + _WORLD / 2) - side // 2 for v in place)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, 2 * _WORLD), min(top + side, 2 * _WORLD)
    if x1 > x0 and y1 > y0:
        part = ball[y0 - top : y1 - top, x0 - left : x1 - left]
        picture[y0:y1, x0:x1] += part[..., 3:] * (part[..., :3] - picture[y0:y1, x0:x1])


def frames(
    motion: Motion, material: str, camera: str, rng: np.random.Generator, may_mirror: bool = True
) -> list[np.ndarray]:
    """A frame uint8 [SIZE, SIZE, 3] for each of motion.places."""
    import cv2

    ground, dark = _ground(rng), rng.random() < 0.5
    # The balls stand out: light before a dark place, or dark before a light one.
    ground = ground * 0.55 if dark else 0.45 + ground * 0.55
    colour = rng.uniform(0.6, 1.0, 3) if dark else rng.uniform(0.0, 0.4, 3)
    ball = _ball(material, 2 * round(motion.radius * _WORLD), colour, rng)
    closeness, centre, mirrored = rng.uniform(0.95, 1.2), rng.uniform(0.45, 0.55, 2), rng.random() < 0.5
    mirrored = mirrored and may_mirror
    angle = rng.uniform(0, 2 * np.pi)
    large, shown = scenes.SIZE * _FINE, []
    for index, places in enumerate(motion.places):
        picture = ground.copy()
        for place in places:
            _put(picture, ball, place)
        along = index / (len(motion.places) - 1) - 0.5
        middle, zoom, turned = centre, closeness, 0.0
        if camera == "pan":
            middle = centre + 0.5 * along * np.array([np.cos(angle), np.sin(angle)])
        elif camera == "closer":
            zoom *= 2.0**-along
        elif camera == "away":
            zoom *= 2.0**along
        elif camera == "turn":
            turned = np.sign(angle - np.pi) * 80 * along
        at = middle * _WORLD + _WORLD / 2
        matrix = cv2.getRotationMatrix2D(tuple(map(float, at)), turned, large / (zoom * _WORLD))
        matrix[:, 2] += large / 2 - at
        seen = cv2.warpAffine(picture, matrix, (large, large), borderMode=cv2.BORDER_REFLECT)
        seen = cv2.resize(seen, (scenes.SIZE, scenes.SIZE), interpolation=cv2.INTER_AREA)
        seen = (np.clip(seen, 0, 1) * 255).astype(np.uint8)
        shown.append(np.ascontiguousarray(seen[:, ::-1] if mirrored else seen))
    return shown
