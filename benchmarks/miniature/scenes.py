"""The plan of the miniature benchmark: which shot shows what, in which split it is. All from seeds.

An episode is one video, cut into shots. In a shot three balls of one material do one thing, before a camera that moves
in one way; each shot is another place with other colours, another room and another microphone. What the balls do is
decided by a simulation (physics.py), which moves them and makes their sound.
"""

import dataclasses

import numpy as np

VERSION = 4  # raise it when plans, physics, film or sound change
# What is drawn from one stream says nothing about what is drawn from another one: what a shot shows, what is said, how
# it moves, looks and sounds. All seeds are of one length, as NumPy takes [3, 7] and [3, 7, 0] for the same.
STREAMS = ("plan", "words", "motion", "film", "sound")
SHOTS = 4  # an episode
SHOT_SECONDS = 4.0
CLIP_SECONDS = 3.0  # the middle of a shot
SEEN_SECONDS = 1.6  # of a clip, in its middle, that a network is shown when it is measured
FPS = 10
SIZE = 96  # pixels, width and height of the video
SAMPLE_RATE = 16_000
EVENTS = ("bounce", "roll", "scatter", "shake", "swing", "whirl")
# Seen by no pretraining: for fine-tuning with few labels.
NEW_EVENTS = ("pull", "rain", "stairs", "tumble")
MATERIALS = ("glass", "metal", "rubber", "wood")
# Seen and heard by no pretraining: what is known of an event there has not been learned with its material.
NEW_MATERIALS = ("plastic", "stone")
DRIFT = "drift"
# Which way all three balls go. No single frame tells it.
DIRECTIONS = ("down", "left", "right", "up")
CAMERAS = ("away", "closer", "pan", "still", "turn")
TEMPI = ("fast", "slow")
SIDES = ("heads", "tails")  # a coin, which nothing shows: whoever finds it by more than chance has found a leak
LABELS = ("event", "material", "camera", "tempo", "coin")  # of a shot
FURTHER_LABELS = ("direction", "then")  # of the shots of some splits
# Episodes of each split, in the order of their seeds. From `new_train` on they are for probes alone: new events, known
# events of new materials, the direction of what drifts, and two events one after the other.
EPISODES = {
    "narrated": 500, "plain": 250, "val": 100, "test": 200, "new_train": 60, "new_test": 100,
    "unseen": 100, "direction_train": 60, "direction_test": 100, "order_train": 60, "order_test": 100,
}  # fmt: skip


def stream(purpose: str, episode: int, shot: int = 0) -> np.random.Generator:
    """Random numbers for one of STREAMS of an episode or of one of its shots."""
    return np.random.default_rng([VERSION, episode, shot, 1 + STREAMS.index(purpose)])


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot of an episode. `start` in seconds.

    Attributes:
      seed: numbers of the episode and of the shot in it.
      then: the event of its second half, where that is another one.
      direction: of DIRECTIONS, as it is seen, where the event is DRIFT.
    """

    start: float
    event: str
    material: str
    camera: str
    tempo: str
    coin: str
    seed: tuple[int, int]
    then: str | None = None
    direction: str | None = None

    def stream(self, purpose: str) -> np.random.Generator:
        return stream(purpose, *self.seed)

    @property
    def labels(self) -> dict[str, str]:
        """Those of LABELS, and of FURTHER_LABELS that it has."""
        further = {name: getattr(self, name) for name in FURTHER_LABELS if getattr(self, name)}
        return {name: getattr(self, name) for name in LABELS} | further

    @property
    def span(self) -> tuple[float, float]:
        """Of the clip that is cut from it, seconds."""
        margin = (SHOT_SECONDS - CLIP_SECONDS) / 2
        return self.start + margin, self.start + margin + CLIP_SECONDS


@dataclasses.dataclass(frozen=True)
class Episode:
    """`number` counts the episodes over all splits, and is the seed; `path` is that of the video."""

    split: str
    number: int

    @property
    def path(self) -> str:
        return f"{self.split}/{self.number:04d}.mp4"

    @property
    def shots(self) -> list[Shot]:
        rng = stream("plan", self.number)
        kind = self.split.split("_")[0]
        events = {"new": NEW_EVENTS, "direction": (DRIFT,)}.get(kind, EVENTS)
        materials = NEW_MATERIALS if kind == "unseen" else MATERIALS

        def pick(values):
            return values[int(rng.integers(len(values)))]

        made = []
        for index in range(SHOTS):
            event, material, camera, tempo, coin = map(pick, (events, materials, CAMERAS, TEMPI, SIDES))
            then = pick([one for one in events if one != event]) if kind == "order" else None
            direction = pick(DIRECTIONS) if kind == "direction" else None
            seed = (self.number, index)
            made.append(Shot(index * SHOT_SECONDS, event, material, camera, tempo, coin, seed, then, direction))
        return made


def episodes(share: float = 1.0) -> list[Episode]:
    """All episodes; with a `share` below 1 only the first of each split (at least one), the same as in the whole.

    Raises:
      ValueError: a share beyond 1: episodes would be in two splits.
    """
    if not 0 < share <= 1:
        raise ValueError(f"--share is {share}; it must be above 0 and at most 1")
    found, first = [], 0
    for split, count in EPISODES.items():
        found += [Episode(split, first + index) for index in range(max(1, round(count * share)))]
        first += count
    return found
