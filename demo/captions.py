"""Narrations for the demo's games: short, loose, several wordings each, written for this demo.

The first `len(...) - HELD_OUT` sentences of a game are heard in training, the last HELD_OUT only in the held-out
episodes: a sentence that is found there was understood by its words, not learned by heart.
"""

import random

HELD_OUT = 3

WORDINGS = {
    "assault": [
        "the mother ship drops red bombers over the turret",
        "a little turret at the bottom shoots up at flying saucers",
        "careful, the cannon is getting too hot",
        "red machines come down from the mother ship",
        "we slide the turret along the bottom and shoot",
        "saucers left and right, the turret fires sideways",
        "that mother ship keeps sending more machines",
        "the turret shoots the red machines",
        "flying bombers and a hot cannon",
        "the mother ship sends saucers down at our turret",
    ],
    "asteroids": [
        "big rocks drift through empty space",
        "shoot the rock and it breaks into smaller rocks",
        "a small ship turns and fires at drifting boulders",
        "coloured rocks everywhere, turn the ship around",
        "the boulders break apart when we hit them",
        "we float in space between tumbling rocks",
        "so many pieces of rock drifting about",
        "drifting boulders break into pieces in space",
        "turn the ship and hit the tumbling rocks",
        "our ship floats between the coloured boulders",
    ],
    "bank_heist": [
        "robbing banks in a yellow maze town",
        "the getaway car drives through the maze",
        "police cars are after the robber",
        "we drop dynamite behind the car to stop the police",
        "around the corner, there is another bank to rob",
        "a robber drives from bank to bank",
        "dynamite goes off in the streets of the town",
        "the police chase the robber through the maze",
        "another bank robbed, now drive the getaway car",
        "dynamite behind the robber and police on the corner",
    ],
    "battle_zone": [
        "a green tank rolls over the wide plain",
        "turn the tank, the enemy is behind the hills",
        "the radar dish at the top sweeps around",
        "mountains on the horizon and a tank in the sights",
        "we fire a shell across the plain",
        "enemy tanks come over the green field",
        "the tank tracks rattle as we turn",
        "turn the green tank toward the mountains",
        "the enemy tank fires a shell over the field",
        "sweep the plain with the radar and fire",
    ],
    "beam_rider": [
        "blue beams rush toward us in perspective",
        "our yellow ship jumps from beam to beam",
        "white saucers slide down the blue grid",
        "torpedoes along the beams of the grid",
        "the grid of lines keeps rolling at us in this sector",
        "shoot the saucers on the glowing lines",
        "a new sector, the same rolling beams",
        "saucers slide along the blue beams of the sector",
        "the yellow ship on the rolling grid of lines",
        "jump to the next beam and fire torpedoes",
    ],
    "berzerk": [
        "robots in a room with blue walls",
        "do not touch the walls, they are electric",
        "the little man shoots robots and runs out of the room",
        "robots walk into the electric walls",
        "another room full of orange robots",
        "the robots fire back at the running man",
        "run to the exit before the robots come",
        "a man runs through a room of robots",
        "electric walls and orange robots that fire back",
        "shoot the robots and run to the exit",
    ],
    "carnival": [
        "a shooting gallery with ducks and rabbits",
        "music of the fair while we shoot the targets",
        "rows of ducks go by at the gallery",
        "pipes turn at the top, shoot them for bonus bullets",
        "white rabbits and owls in rows",
        "the fair gallery again, save some bullets",
        "the duck comes down and eats our bullets",
        "shoot the rows of rabbits at the fair",
        "gallery targets, ducks and a few bullets left",
        "owls and ducks go by in rows",
    ],
    "centipede": [
        "a long bug winds its way down through mushrooms",
        "shoot the segments of the crawling bug",
        "the spider bounces around at the bottom",
        "mushrooms everywhere, the bug turns at each of them",
        "one more segment is gone, the rest crawls on",
        "the flea drops a trail of mushrooms",
        "a spider crawls right into us",
        "the crawling bug winds through the mushrooms",
        "segments of a bug and a bouncing spider",
        "shoot mushrooms before the bug comes down",
    ],
    "chopper_command": [
        "a helicopter flies over the brown desert",
        "the chopper protects a convoy of trucks",
        "enemy jets come in low over the desert",
        "our helicopter turns around and fires at the jets",
        "trucks drive along the sand below the chopper",
        "check the radar, more planes near the convoy",
        "blades whirring over the sand",
        "the helicopter guards the trucks in the desert",
        "jets attack the convoy, the chopper fires",
        "flying the chopper low over the sand",
    ],
    "demon_attack": [
        "strange demons with wings hover above the moon",
        "the demon splits in two when it is hit",
        "a purple cannon shoots up at winged creatures",
        "birds or demons, they flap and drop lasers",
        "three creatures wobble above the blue ground",
        "more winged demons appear out of nowhere",
        "the demons flap faster in this wave",
        "winged creatures hover and drop lasers",
        "shoot the demons that flap above the ground",
        "the purple cannon and the wobbling demons",
    ],
    "donkey_kong": [
        "the ape rolls barrels down the ramps",
        "climb the ladder and jump over a barrel",
        "a big gorilla at the top holds the lady",
        "the carpenter runs up the purple girders",
        "barrels are rolling down, jump",
        "he climbs up to save the lady from the ape",
        "so many ladders and rolling barrels",
        "jump over the barrels that the gorilla rolls",
        "the carpenter climbs the ramps to the ape",
        "ladders, girders and an angry gorilla",
    ],
    "enduro": [
        "a car race on a winding road",
        "the engine roars while we overtake other cars",
        "driving past the mountains, the road bends left",
        "pass two hundred cars before the day is over",
        "racing all day, now it gets dark on the road",
        "the racing car bumps into the one in front",
        "full speed on the long road",
        "overtake the cars on the bending road",
        "the racing engine at full speed",
        "a long race past the mountains",
    ],
    "gopher": [
        "a farmer guards three carrots",
        "the gopher digs tunnels under the garden",
        "fill the hole with the shovel, quick",
        "that gopher wants to steal a carrot",
        "the farmer in the green hat bonks the gopher",
        "tunnels under the carrots again",
        "the animal digs up to the vegetables",
        "guard the carrots from the digging gopher",
        "the farmer with his shovel fills the tunnels",
        "a hole in the garden, he steals the vegetables",
    ],
    "ms_pacman": [
        "she eats the dots in the pink maze",
        "ghosts chase her around the maze",
        "eat the power pill and the ghosts turn blue",
        "munching dots along the corridors",
        "a cherry bounces through the pink maze",
        "caught by a ghost again",
        "only a few dots left in this maze",
        "munching through the maze with ghosts behind her",
        "she eats a pill and chases the blue ghosts",
        "dots and a cherry in the corridors",
    ],
    "riverraid": [
        "the jet flies up the river between green banks",
        "refuel over the tank or we crash",
        "bridges and ships on the river",
        "the fuel is low, fly over the next tank",
        "helicopters cross the blue water, shoot them",
        "the river gets narrow here, steer the jet",
        "we blow up the bridge and fly on",
        "steer the jet up the narrow river",
        "fly over the tank, the jet needs fuel",
        "green banks, blue water and another bridge",
    ],
    "road_runner": [
        "the bird runs down the desert highway",
        "coyote is right behind the bird",
        "pick up the seeds on the road",
        "a truck comes along the highway, beep beep",
        "the coyote nearly catches the bird",
        "running past the sign on the orange sand",
        "faster, bird, he is catching up",
        "the coyote chases a bird on the highway",
        "the bird picks up seeds on the desert road",
        "beep beep, running from the coyote",
    ],
    "seaquest": [
        "the yellow submarine dives among sharks",
        "pick up the divers before the oxygen runs out",
        "fish and enemy submarines in the deep blue sea",
        "come up for air, the oxygen is low",
        "the submarine shoots torpedoes at the sharks",
        "a diver swims by under the sea",
        "sharks from both sides in the deep water",
        "the submarine picks up divers in the deep",
        "sharks and fish under the waves, low on air",
        "dives for the swimmers with little oxygen",
    ],
    "space_invaders": [
        "rows of aliens march down the screen",
        "step by step the invaders come closer",
        "hide behind the orange shields and shoot",
        "thump, thump, the aliens march faster",
        "yellow aliens in six rows",
        "the invaders wipe out our shields",
        "one alien less in the bottom row",
        "aliens march closer in their rows",
        "shoot the invaders from behind the shields",
        "thump, step by step they come down",
    ],
    "time_pilot": [
        "a fighter plane circles among white clouds",
        "biplanes attack from all sides in the purple sky",
        "the pilot turns in the clouds and shoots",
        "dogfight in the sky, planes all around",
        "clouds drift by while we chase the biplanes",
        "the plane keeps turning in circles",
        "another squadron comes out of the clouds",
        "a pilot in a dogfight between the clouds",
        "biplanes all around our turning plane",
        "we chase the squadron in the purple sky",
    ],
    "turmoil": [
        "alien ships rush along the corridors from both sides",
        "seven lanes stacked up and a ship in the middle",
        "the ship moves up and down the lanes and shoots",
        "grab the prize at the end of the lane",
        "coloured bars between the lanes",
        "a tank pushes along the corridor toward us",
        "blast them left and right, lane after lane",
        "aliens rush along the lanes from both sides",
        "the ship in the middle shoots left and right",
        "up and down the corridors for a prize",
    ],
    "tutankham": [
        "exploring the tomb of a pharaoh",
        "snakes and bats guard the treasure in the tomb",
        "the explorer looks for a key in the passages",
        "orange walls of an egyptian tomb",
        "he shoots the cobra with his laser",
        "through the passages to the next treasure",
        "monsters come out of the nests in the tomb",
        "the explorer finds treasure in the egyptian passages",
        "snakes and monsters in the tomb of the pharaoh",
        "a cobra guards the key",
    ],
    "up_n_down": [
        "a little car jumps on zigzag roads up the hill",
        "collect the flags on the crossing roads",
        "the buggy hops over the other cars",
        "bouncy music while we drive up and down the hills",
        "roads cross like a zigzag on the green hill",
        "jump, and land on top of that truck",
        "one more flag at the crossing",
        "the buggy jumps up the zigzag roads",
        "drive up and down the hill and collect flags",
        "bouncy car on crossing roads",
    ],
    "yars_revenge": [
        "an insect nibbles at the red shield",
        "the fly spits at the shield from the left",
        "a colourful band hums in the middle of the screen",
        "the insect hides in the glittering zone",
        "behind the shield sits the enemy base",
        "watch out for the swirl, little fly",
        "buzzing back to the zone, nibble, nibble",
        "the fly nibbles the shield of the enemy base",
        "buzzing insect in the colourful glittering band",
        "a swirl comes out from behind the red shield",
    ],
    "zaxxon": [
        "flying a fighter into the space fortress",
        "over the wall of the fortress, watch the altitude",
        "shoot the fuel tanks inside the fortress",
        "the fighter climbs over the brick wall",
        "a robot waits at the end of the fortress",
        "in open space now, enemy fighters ahead",
        "missiles come up out of the ground",
        "the fighter flies over the fortress wall",
        "climb, the altitude is too low for the wall",
        "fuel tanks and missiles inside the space fortress",
    ],
}

# Said over any game, as narrators do: a caption that fits nothing in particular.
ASIDES = [
    "all right, here we go",
    "let me try that again",
    "hold on a second",
    "nice, that went well",
    "oh no, not like that",
    "I have not played this for years",
    "let us see what happens next",
    "anyway, thanks for watching",
]
ASIDE_SHARE = 0.12


def wordings(game: str, split: str) -> list[str]:
    """The sentences about `game` that may be said in 'train' or in 'test' episodes."""
    sentences = WORDINGS[game]
    return sentences[:-HELD_OUT] if split == "train" else sentences[-HELD_OUT:]


def narration(game: str, split: str, seed: int, seconds: float) -> list[tuple[float, float, str]]:
    """Captions (start, end, text) over `seconds` of play: one every two to four seconds, now and then an aside."""
    rng = random.Random(f"{game}/{split}/{seed}")
    cues, time, last = [], rng.uniform(0, 1), None
    while time < seconds - 1:
        length = min(rng.uniform(1.5, 3.0), seconds - time)
        pool = ASIDES if rng.random() < ASIDE_SHARE else wordings(game, split)
        text = rng.choice([sentence for sentence in pool if sentence != last])
        cues.append((time, time + length, text))
        time, last = time + length + rng.uniform(0.2, 1.2), text
    return cues


def _clock(seconds: float) -> str:
    millis = round(seconds * 1000)
    return f"{millis // 3600000:02d}:{millis // 60000 % 60:02d}:{millis // 1000 % 60:02d},{millis % 1000:03d}"


def to_srt(cues: list[tuple[float, float, str]]) -> str:
    """SubRip text of captions (start, end, text); times in seconds."""
    return "".join(
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{text}\n\n" for number, (start, end, text) in enumerate(cues, 1)
    )
