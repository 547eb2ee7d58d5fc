"""The narrations of the miniature benchmark: loose in time, often about something else, sometimes wrong.

The last wording of each list is kept for the clean captions of held-out clips; its words are heard in training, in
other sentences.
"""

import numpy as np

from benchmarks.miniature import scenes
from demo import captions

ACTIONS = {
    "wait": ["waits and does nothing", "stays quiet and waits", "does nothing for a while", "is quiet and waits"],
    "fire": ["stays and fires all the time", "waits and fires", "fires without moving", "stays quiet and fires"],
    "sway": ["moves slowly to and fro", "goes slowly left and right", "takes long ways left and right",
             "moves slowly left and right"],
    "sway_fire": ["moves slowly to and fro and fires", "goes slowly left and right, firing",
                  "takes long ways and fires", "moves slowly left and right and fires"],
    "rock": ["jerks left and right", "rocks quickly to and fro", "takes quick little steps", "rocks and jerks quickly"],
    "rock_fire": ["jerks left and right and fires", "rocks quickly to and fro, firing",
                  "takes quick little steps and fires", "rocks and jerks quickly and fires"],
}  # fmt: skip
CAMERAS = {
    "still": ["the camera is steady", "a steady picture", "the camera rests", "the picture rests, steady"],
    "sweep": ["the camera sweeps across", "sweeping from side to side with the camera", "the picture slides across",
              "the picture sweeps from side to side"],
    "zoom": ["the camera zooms in and out", "zooming closer and away", "the picture grows and shrinks",
             "zooming, the picture grows and shrinks"],
    "roll": ["the camera tilts and rolls", "the picture leans over", "rolling and leaning with the camera",
             "the picture rolls and tilts"],
    "shake": ["the camera shakes", "a trembling hand holds the camera", "shaking and trembling all over",
              "shaking, the picture is trembling"],
}  # fmt: skip
SCORED = ["that gave some points", "a hit, more points for us", "points again"]
LOST = ["that cost a life", "oh, one life is gone", "we lost a life there"]

SHARES = {"game": 0.25, "action": 0.25, "camera": 0.35, "event": 0.05, "aside": 0.10}
TWO_THINGS = 0.5  # of the narrations speak of two things, one after the other
WRONG = 0.12  # of the sentences are about another game, action or camera
PER_SHOT = 2
DELAY = 1.0  # seconds, standard deviation


def sentence(kind: str, shot: scenes.Shot, game: str, event: str, rng: np.random.Generator) -> str:
    """One sentence heard in training. `event` is '', 'scored' or 'lost'."""

    def pick(sentences):
        return sentences[int(rng.integers(len(sentences)))]

    action, camera = shot.action, shot.camera
    if rng.random() < WRONG:
        game, action, camera = pick(scenes.GAMES), pick(scenes.ACTIONS), pick(scenes.CAMERAS)
    if kind == "action":
        return f"the player {pick(ACTIONS[action][:-1])}"
    if kind == "camera":
        return pick(CAMERAS[camera][:-1])
    if kind == "event" and event:
        return pick(SCORED if event == "scored" else LOST)
    if kind == "aside":
        return pick(captions.ASIDES)
    return pick(captions.wordings(game, "train"))


def narration(episode: scenes.Episode, events: list[str]) -> list[dict]:
    """What is said over an episode, [{'text', 'start', 'end'}] in order; `events` has one entry a shot."""
    rng = np.random.default_rng([scenes.VERSION, 1, episode.number, *episode.game.encode()])
    length, said = scenes.SHOTS * scenes.SHOT_SECONDS, []
    for shot, event in zip(episode.shots, events, strict=True):
        for _ in range(PER_SHOT):
            kinds = rng.choice(list(SHARES), size=2, replace=False, p=list(SHARES.values()))
            kinds = kinds[: 2 if rng.random() < TWO_THINGS else 1]
            text = ", ".join(sentence(str(kind), shot, episode.game, event, rng) for kind in kinds)
            time = shot.start + rng.uniform(0, scenes.SHOT_SECONDS - 2) + rng.normal(0, DELAY)
            start = round(float(np.clip(time, 0, length - 2)), 2)
            said.append({"text": text, "start": start, "end": start + 2})
    return sorted(said, key=lambda caption: (caption["start"], caption["text"]))


def clean(what: str, value: str) -> str:
    """The caption of a held-out clip about its 'action' or 'camera'."""
    return f"the player {ACTIONS[value][-1]}" if what == "action" else CAMERAS[value][-1]


def caption(shot: scenes.Shot, episode: scenes.Episode) -> str:
    """The clean caption of a held-out clip: one of the held-out sentences about its game, then camera and action."""
    about = ""
    if episode.game in captions.WORDINGS:
        held_out = captions.wordings(episode.game, "test")
        about = held_out[sum(shot.view) % len(held_out)] + ", "
    return about + f"{clean('camera', shot.camera)}, {clean('action', shot.action)}"
