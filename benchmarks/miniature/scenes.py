"""What happens in the miniature benchmark: who plays what and how, and how the screen is filmed. All from seeds.

An episode is one run of a game, cut into shots. In a shot the player keeps to one action and the camera to one
movement; both are labels. They need time to be seen: one frame shows neither a rhythm nor a movement. Each shot has
its own framing and colours, so that which game it is cannot be read off the average picture either.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from demo import captions, games

VERSION = 1  # raise it when plans, play or filming change
SHOTS = 6  # an episode: each action once
SHOT_SECONDS = 5.0
CLIP_SECONDS = 4.0  # the middle of a shot; its first half second still shows what the last action led to
FPS = 10
SIZE = 96  # pixels, width and height of the video
ACTIONS = ("wait", "fire", "sway", "sway_fire", "rock", "rock_fire")
CAMERAS = ("still", "sweep", "zoom", "roll", "shake")
GAMES = tuple(sorted(captions.WORDINGS))
# Seen by no pretraining: for fine-tuning with few labels.
NEW_GAMES = ("air_raid", "defender", "galaxian", "krull", "kung_fu_master", "phoenix")
# Episodes of a game in each split, in the order of their seeds.
EPISODES = {"narrated": 6, "plain": 3, "val": 1, "test": 3}
NEW_EPISODES = {"new_train": 6, "new_test": 4}
_HALF_PERIOD = {"sway": 48, "rock": 12}  # emulator frames in one direction
_FIRE_PERIOD = 6  # emulator frames with and without the button
_CAMERA_SECONDS = 1.6  # of one swing


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot of an episode. `start` in seconds; `view` is the seed of framing and colours."""

    start: float
    action: str
    camera: str
    phase: int
    view: tuple[int, ...]

    @property
    def span(self) -> tuple[float, float]:
        """Of the clip that is cut from it, seconds."""
        margin = (SHOT_SECONDS - CLIP_SECONDS) / 2
        return self.start + margin, self.start + margin + CLIP_SECONDS


@dataclasses.dataclass(frozen=True)
class Episode:
    """`number` counts the episodes of a game over all splits, and is the seed; `path` is that of the video."""

    game: str
    split: str
    number: int

    @property
    def path(self) -> str:
        # Pretraining is one folder, against which demo.duplicates compares.
        folder = "train" if self.split in ("narrated", "plain", "new_train") else self.split
        return f"{folder}/{self.game}/{self.number:02d}.mp4"

    @property
    def shots(self) -> list[Shot]:
        rng = np.random.default_rng([VERSION, self.number, *self.game.encode()])
        order = rng.permutation(len(ACTIONS))
        return [
            Shot(
                index * SHOT_SECONDS,
                ACTIONS[order[index]],
                CAMERAS[int(rng.integers(len(CAMERAS)))],
                int(rng.integers(96)),
                (self.number, index, *self.game.encode()),
            )
            for index in range(SHOTS)
        ]


def episodes(game: str) -> list[Episode]:
    """The episodes of a game; each is in one split only."""
    splits = NEW_EPISODES if game in NEW_GAMES else EPISODES
    names = [split for split, count in splits.items() for _ in range(count)]
    return [Episode(game, split, number) for number, split in enumerate(names)]


def buttons(action: str, frame: int) -> str:
    """What is held down in the given emulator frame of a shot: '', 'LEFT', 'RIGHTFIRE' ..."""
    movement = action.removesuffix("_fire")
    fires = action == "fire" or action.endswith("_fire")
    side = ("LEFT", "RIGHT")[frame // _HALF_PERIOD[movement] % 2] if movement in _HALF_PERIOD else ""
    return side + ("FIRE" if fires and frame // _FIRE_PERIOD % 2 else "")


def play(episode: Episode) -> Iterator[tuple[np.ndarray, np.ndarray, bool, bool]]:
    """Plays an episode, FPS times a second: (screen uint8 [H, W, 3], sound uint8 [S], scored, lost a life)."""
    import ale_py
    from ale_py import roms

    rng = np.random.default_rng([episode.number, *episode.game.encode()])
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", episode.number + 1)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setBool("sound_obs", True)
    ale.loadROM(roms.get_rom_path(episode.game))
    button = {"": ale_py.Action.NOOP} | {
        name: getattr(ale_py.Action, name) for name in ("LEFT", "RIGHT", "FIRE", "LEFTFIRE", "RIGHTFIRE")
    }
    # A random player leads into the game; a quarter of its moves start a round, as in demo.games.
    moves = ale.getMinimalActionSet()
    for _ in range(int(rng.integers(120, 420))):
        if ale.game_over():
            ale.reset_game()
        ale.act(moves[1] if rng.random() < 0.25 else moves[int(rng.integers(len(moves)))])
    step = games.EMULATOR_RATE // FPS
    for shot in episode.shots:
        sound, scored, lives, screen = [], False, ale.lives(), None
        for frame in range(int(SHOT_SECONDS * games.EMULATOR_RATE)):
            over = ale.game_over()
            if over:
                ale.reset_game()
            scored |= ale.act(button[buttons(shot.action, frame + shot.phase)]) > 0
            sound.append(ale.getAudio().copy())
            if frame % step == step - 2:
                screen = ale.getScreenRGB().copy()
            elif frame % step == step - 1:
                lost = over or ale.lives() < lives
                # The brighter of two screens: half of the sprites are drawn in every other one.
                yield np.maximum(ale.getScreenRGB(), screen), np.concatenate(sound), scored, lost
                sound, scored, lives = [], False, ale.lives()


def film(screens: list[np.ndarray], shot: Shot) -> list[np.ndarray]:
    """Screens uint8 [H, W, 3] of one shot, as its camera shows them: uint8 [SIZE, SIZE, 3]."""
    import cv2

    rng = np.random.default_rng(shot.view)
    share, aspect, mirrored = rng.uniform(0.65, 0.95), rng.uniform(0.9, 1.1), rng.random() < 0.5
    centre, colours, gain = rng.uniform(0.38, 0.62, 2), rng.permutation(3), rng.uniform(0.6, 1.0, 3)
    phase = rng.uniform(0, 2 * np.pi)
    frames = []
    for index, screen in enumerate(screens):
        swing = np.sin(2 * np.pi * index / FPS / _CAMERA_SECONDS + phase)
        x, y = centre
        zoom, angle = share, 0.0
        if shot.camera == "sweep":
            x += 0.15 * swing
        elif shot.camera == "zoom":
            zoom *= 1.3**swing
        elif shot.camera == "roll":
            angle = 12.0 * swing
        elif shot.camera == "shake":
            x, y = centre + rng.uniform(-0.05, 0.05, 2)
        height, width = screen.shape[:2]
        turn = cv2.getRotationMatrix2D((0.0, 0.0), angle, 1.0)[:, :2]
        scale = np.diag([SIZE / (zoom * aspect * width), SIZE / (zoom / aspect * height)])
        matrix = np.zeros((2, 3))
        matrix[:, :2] = turn @ scale
        matrix[:, 2] = SIZE / 2 - matrix[:, :2] @ [x * width, y * height]
        frame = cv2.warpAffine(screen, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        frame = (frame[..., colours] * gain).astype(np.uint8)
        frames.append(np.ascontiguousarray(frame[:, ::-1] if mirrored else frame))
    return frames


def recorded(samples: np.ndarray, episode: Episode) -> np.ndarray:
    """Samples float32 [S] as another microphone hears them: level, tone and hiss differ from shot to shot."""
    rng = np.random.default_rng([VERSION, 2, episode.number, *episode.game.encode()])
    heard = []
    for piece in np.array_split(samples, SHOTS):
        piece = piece * 10 ** rng.uniform(-0.8, 0)
        piece[1:] += rng.uniform(-0.6, 0.6) * piece[:-1]
        heard.append(piece + rng.normal(0, 10 ** rng.uniform(-3.5, -2.5), len(piece)))
    return np.clip(np.concatenate(heard), -1, 1).astype(np.float32)
