"""The narrations of the miniature benchmark: loose in time, often about something else, sometimes wrong or misheard.

The last wording of each list is kept for the clean captions of held-out clips; its words are heard in training, in
other sentences.
"""

import numpy as np

from benchmarks.miniature import scenes
from demo import captions

EVENTS = {
    "bounce": ["bounce up and down", "hop on the floor", "jump and fall and bounce back", "hop and bounce up and down"],
    "roll": ["roll from side to side", "run left and right between two walls", "roll along to the left and the right",
             "roll left and right"],
    "scatter": ["scatter in all directions", "fly about and hit the walls", "dart across every which way",
                "fly and dart in all directions"],
    "shake": ["are shaken in a box", "rattle against each other in a small box", "jiggle and shake and rattle",
              "rattle and jiggle in a box"],
    "swing": ["swing on strings", "hang on strings and knock together", "sway like pendulums and clack",
              "hang and swing like pendulums"],
    "whirl": ["whirl round and round", "circle around the middle", "spin like a carousel",
              "spin and whirl in a circle"],
}  # fmt: skip
MATERIALS = {
    "glass": ["they are made of glass", "clear glass ones, you see through them", "thin rings of glass",
              "clear ones made of thin glass"],
    "metal": ["they are made of metal", "shiny polished steel", "metal ones that shine",
              "polished ones of shiny metal"],
    "rubber": ["they are made of rubber", "soft rubber ones with a dark dot", "rubber, soft in the hand",
               "soft ones of dark rubber"],
    "wood": ["they are made of wood", "striped wooden ones", "you see the grain of the wood",
             "striped ones made of wood"],
}  # fmt: skip
CAMERAS = {
    "away": ["the camera moves away", "we see it from further and further"],
    "closer": ["the camera comes closer", "let us have a closer look"],
    "pan": ["the camera moves along", "the picture slides across"],
    "still": ["the camera stays where it is", "a steady picture this time"],
    "turn": ["the camera turns", "the picture leans over"],
}
THINGS = ("the balls", "all three of them", "these balls", "they")
OPENINGS = ("", "", "", "so now ", "okay and here ", "as you can see ", "and then ", "look how ")

SHARES = {"event": 0.4, "material": 0.3, "camera": 0.15, "aside": 0.15}
TWO_THINGS = 0.5  # of the narrations speak of two things, one after the other
WRONG = 0.1  # of the sentences are about something that this shot does not show
DROPPED = 0.05  # of the words, as by a recogniser of speech
PER_SHOT = 3
DELAY = 0.7  # seconds, standard deviation
LENGTH = 1.5  # seconds of a caption


def _pick(values, rng: np.random.Generator):
    return values[int(rng.integers(len(values)))]


def sentence(kind: str, shot: scenes.Shot, rng: np.random.Generator) -> str:
    """One sentence as it is heard in training."""
    event, material, camera = shot.event, shot.material, shot.camera
    if rng.random() < WRONG:
        event, material, camera = (_pick(values, rng) for values in (scenes.EVENTS, scenes.MATERIALS, scenes.CAMERAS))
    if kind == "event":
        said = f"{_pick(THINGS, rng)} {_pick(EVENTS[event][:-1], rng)}"
    elif kind == "material":
        said = _pick(MATERIALS[material][:-1], rng)
    elif kind == "camera":
        said = _pick(CAMERAS[camera], rng)
    else:
        return _pick(captions.ASIDES, rng)
    return _pick(OPENINGS, rng) + said


def misheard(text: str, rng: np.random.Generator) -> str:
    """The text without some of its words; never without all."""
    heard = text.split()
    kept = [word for word in heard if rng.random() >= DROPPED]
    return " ".join(kept or heard)


def narration(episode: scenes.Episode) -> list[dict]:
    """What is said over an episode, [{'text', 'start', 'end'}] in the order of time."""
    rng = scenes.stream("words", episode.number)
    last, said = scenes.SHOTS * scenes.SHOT_SECONDS - LENGTH, []
    for shot in episode.shots:
        for _ in range(PER_SHOT):
            kinds = rng.choice(list(SHARES), size=2, replace=False, p=list(SHARES.values()))
            kinds = kinds[: 2 if rng.random() < TWO_THINGS else 1]
            text = misheard(" and ".join(sentence(str(kind), shot, rng) for kind in kinds), rng)
            time = shot.start + rng.uniform(0, scenes.SHOT_SECONDS - LENGTH) + rng.normal(0, DELAY)
            start = round(float(np.clip(time, 0, last)), 2)
            said.append({"text": text, "start": start, "end": round(start + LENGTH, 2)})
    return sorted(said, key=lambda caption: (caption["start"], caption["text"]))


def clean(what: str, value: str) -> str:
    """The held-out sentence about an 'event' or a 'material'."""
    return f"the balls {EVENTS[value][-1]}" if what == "event" else MATERIALS[value][-1]


def caption(event: str, material: str) -> str:
    """The clean caption of a held-out clip: what happens, and of what."""
    return f"{clean('event', event)} and {clean('material', material)}"
