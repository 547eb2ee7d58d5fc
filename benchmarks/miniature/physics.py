"""Three balls that move by the laws of mechanics: where they are, and when they hit something how hard. Uses pymunk.

The world is a square of side 1, y downwards. Walls, strings, boxes and pegs are there but are not drawn: one frame
shows three balls, whatever happens.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.miniature import scenes

STEP = 1 / 500  # seconds
PACE = {"slow": 0.6, "fast": 1.15}
_BALL, _THING = 1, 2  # collision types
_CENTRE = np.array([0.5, 0.5])


@dataclasses.dataclass(frozen=True)
class Motion:
    """What a simulation leaves.

    Attributes:
      places: float64 [T, 3, 2], of the balls, scenes.FPS times a second.
      radius: of the balls.
      impacts: [(second, impulse)] in the order of time.
      speed: float64 [N], mean speed of balls that roll, every STEP; 0 where nothing rolls.
    """

    places: np.ndarray
    radius: float
    impacts: list[tuple[float, float]]
    speed: np.ndarray


class World:
    """A space of pymunk with three balls to be."""

    def __init__(self, rng: np.random.Generator, radius: float | None = None):
        import pymunk

        self.pymunk, self.rng = pymunk, rng
        self.space = pymunk.Space()
        self.space.iterations = 10
        drawn = rng.uniform(0.065, 0.11)
        self.radius = drawn if radius is None else radius
        self.balls: list = []
        self.rolls = False

    def ball(self, place, velocity=(0.0, 0.0), elasticity=1.0):
        body = self.pymunk.Body(1.0, float("inf"))
        body.position, body.velocity = tuple(map(float, place)), tuple(map(float, velocity))
        shape = self.pymunk.Circle(body, self.radius)
        shape.elasticity, shape.friction, shape.collision_type = elasticity, 0.0, _BALL
        self.space.add(body, shape)
        self.balls.append(body)
        return body

    def wall(self, first, second, body=None):
        body = body or self.space.static_body
        shape = self.pymunk.Segment(body, tuple(map(float, first)), tuple(map(float, second)), 0.01)
        shape.elasticity, shape.collision_type = 1.0, _THING
        self.space.add(shape)

    def walls(self, corners, body=None):
        for first, second in zip(corners, [*corners[1:], corners[0]], strict=True):
            self.wall(first, second, body)

    def peg(self, place, radius=0.02, body=None):
        shape = self.pymunk.Circle(body or self.space.static_body, radius, (0, 0) if body else tuple(map(float, place)))
        shape.elasticity, shape.collision_type = 0.7, _THING
        self.space.add(shape)

    def mover(self, place):
        """A body that moves as it is told, whatever hits it."""
        body = self.pymunk.Body(body_type=self.pymunk.Body.KINEMATIC)
        body.position = tuple(map(float, place))
        self.space.add(body)
        return body

    def either(self) -> int:
        return int(self.rng.choice([-1, 1]))


def _direction(angle):
    return np.array([np.cos(angle), np.sin(angle)])


def _bounce(world: World):
    world.space.gravity = (0, 6.0)
    world.wall((-1, 0.95), (2, 0.95))
    for x in (0.2, 0.5, 0.8):
        height = world.rng.uniform(0.2, 0.55)
        world.ball((x + world.rng.uniform(-0.03, 0.03), 0.95 - world.radius - height))


def _roll(world: World):
    world.wall((0.02, -1), (0.02, 2))
    world.wall((0.98, -1), (0.98, 2))
    for y in world.rng.permutation([0.2, 0.5, 0.8]) + world.rng.uniform(-0.05, 0.05, 3):
        world.ball((world.rng.uniform(0.2, 0.8), y), (world.either() * world.rng.uniform(0.7, 1.2), 0))
    world.rolls = True


def _swing(world: World):
    world.space.gravity = (0, 11.0)
    length = world.rng.uniform(0.4, 0.6)
    for side in (-1, 0, 1):
        anchor = np.array([0.5 + 2.02 * world.radius * side, 0.25])
        angle = world.rng.uniform(0.7, 1.2) * (side or 0.1 * world.either())
        body = world.ball(anchor + length * _direction(np.pi / 2 - angle), elasticity=0.95)
        world.space.add(world.pymunk.PinJoint(world.space.static_body, body, tuple(anchor), (0, 0)))


def _scatter(world: World):
    world.walls([(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)])
    for place in world.rng.permutation([(0.25, 0.3), (0.7, 0.35), (0.45, 0.75)]):
        world.ball(place, world.rng.uniform(0.9, 1.4) * _direction(world.rng.uniform(0, 2 * np.pi)))


def _shake(world: World):
    box, half = world.mover(_CENTRE), 2.3 * world.radius + 0.03
    world.walls([(-half, -half), (half, -half), (half, half), (-half, half)], box)
    for place in ((-1.1, -1), (1.1, -1), (0, 1.1)):
        world.ball(_CENTRE + world.radius * np.array(place), elasticity=0.6)
    turns, way = 2 * np.pi * world.rng.uniform(2.5, 3.5), _direction(world.rng.uniform(0, 2 * np.pi))

    def drive(second):
        box.velocity = tuple(0.1 * turns * np.cos(turns * second) * way)

    return drive


def _whirl(world: World):
    """Driven round, past a clapper on a spring that each of them knocks aside."""
    start, turn = world.rng.uniform(0, 2 * np.pi), world.either() * world.rng.uniform(2.5, 4.5)
    arms = world.rng.uniform(0.28, 0.4, 3)
    for index, arm in enumerate(arms):
        world.ball(_CENTRE + arm * _direction(start + index * 2 * np.pi / 3))
    hung = np.array([0.5, 0.5 - arms.mean()])
    clapper = world.pymunk.Body(0.2, float("inf"))
    clapper.position = tuple(hung)
    world.space.add(clapper)
    world.peg(hung, body=clapper)
    world.space.add(world.pymunk.DampedSpring(world.space.static_body, clapper, tuple(hung), (0, 0), 0.0, 60.0, 2.0))

    def drive(second):
        for index, (body, arm) in enumerate(zip(world.balls, arms, strict=True)):
            out = _direction(start + index * 2 * np.pi / 3 + turn * second)
            body.position = tuple(_CENTRE + arm * out)
            body.velocity = (-arm * turn * out[1], arm * turn * out[0])

    world.rolls = True
    return drive


def _again(world: World, below: float, start: Callable):
    """A drive that puts balls that fell below `below` back to a place and velocity of `start`."""

    def drive(second):
        for index, body in enumerate(world.balls):
            if body.position.y > below:
                place, velocity = start(index)
                body.position, body.velocity = tuple(map(float, place)), tuple(map(float, velocity))

    return drive


def _rain(world: World):
    """Falling past pegs, again and again."""
    world.space.gravity = (0, 1.5)
    for x, y in ((0.1, 0.45), (0.4, 0.3), (0.7, 0.45), (0.9, 0.25), (0.25, 0.7), (0.55, 0.65), (0.85, 0.75)):
        world.peg((x, y))
    world.wall((0.0, -2), (0.0, 2))
    world.wall((1.0, -2), (1.0, 2))

    def start(index):
        place = ((0.2, 0.5, 0.8)[index] + world.rng.uniform(-0.06, 0.06), -0.15 - world.rng.uniform(0, 0.2))
        return place, (0, world.rng.uniform(0.2, 0.5))

    for index in range(3):
        world.ball(start(index)[0] + np.array([0, 0.3 * index]), elasticity=0.5)
    return _again(world, 1.15, start)


def _stairs(world: World):
    """Down four steps to the one side, and from the top again."""
    world.space.gravity = (0, 5.0)
    side, top, width, height = world.either(), 0.25, 0.26, 0.19
    for step in range(4):
        x, y = -0.02 + step * width, top + step * height
        ends = ((x, y), (x + width, y), (x + width, y + height))
        left, right, foot = ((0.5 + side * (px - 0.5), py) for px, py in ends)
        world.wall(left, right)
        world.wall(right, foot)

    def start(index):
        x = -0.1 + world.rng.uniform(-0.1, 0.1)
        return (0.5 + side * (x - 0.5), top - world.radius - 0.1), (side * world.rng.uniform(0.35, 0.5), 0)

    for index in range(3):
        x = 0.05 + 0.3 * index
        place = (0.5 + side * (x - 0.5), top - world.radius - 0.05 + 0.25 * index)
        world.ball(place, (side * world.rng.uniform(0.35, 0.5), 0), elasticity=0.8)
    return _again(world, 1.2, start)


def _tumble(world: World):
    """In a turning drum whose four paddles lift them."""
    world.space.gravity = (0, 5.0)
    drum, reach = world.mover(_CENTRE), 0.46
    world.walls([tuple(reach * _direction(angle)) for angle in np.linspace(0, 2 * np.pi, 17)[:-1]], drum)
    for angle in np.arange(4) * np.pi / 2:
        world.wall(reach * _direction(angle), 0.6 * reach * _direction(angle), drum)
    drum.angular_velocity = world.either() * world.rng.uniform(2.0, 3.2)
    for angle in world.rng.uniform(0, 2 * np.pi) + np.arange(3) * 2 * np.pi / 3:
        world.ball(_CENTRE + 0.22 * _direction(angle), elasticity=0.4)


def _pull(world: World):
    """Springs pull them together, they knock and fly apart."""
    start = world.rng.uniform(0, 2 * np.pi)
    for index in range(3):
        out = _direction(start + index * 2 * np.pi / 3)
        body = world.ball(_CENTRE + world.rng.uniform(0.36, 0.42) * out, elasticity=1.0)
        stiffness = 2.0 + world.rng.uniform(0, 1.5) if index else 2.5
        spring = world.pymunk.DampedSpring(
            world.space.static_body, body, tuple(_CENTRE), (0, 0), 0.0, 6 * stiffness, 0.0
        )
        world.space.add(spring)


def _drift(world: World):
    """All three go one way, to the right, and come in again where they came from. Their places tell nothing."""
    speed, low, high = world.rng.uniform(0.5, 0.9), -0.15, 1.15
    places: list[np.ndarray] = []
    while len(places) < 3:
        place = world.rng.uniform(low, high, 2)
        if all(np.hypot(*(place - other)) > 2.2 * world.radius for other in places):
            places.append(place)
    for place in places:
        world.ball(place)

    def drive(second):
        for body, (x, y) in zip(world.balls, places, strict=True):
            body.position = (low + (x - low + speed * second) % (high - low), y)
            body.velocity = (speed, 0)

    world.rolls = True
    return drive


_EVENTS = {"bounce": _bounce, "roll": _roll, "swing": _swing, "scatter": _scatter, "shake": _shake, "whirl": _whirl,
           "rain": _rain, "stairs": _stairs, "tumble": _tumble, "pull": _pull,
           scenes.DRIFT: _drift}  # fmt: skip
_FAINT = 0.05  # impulses below are not heard


def simulate(event: str, tempo: str, seconds: float, rng: np.random.Generator, radius: float | None = None) -> Motion:
    """Runs one event of scenes.EVENTS, NEW_EVENTS or DRIFT for so many seconds; without `radius` it is drawn."""
    world = World(rng, radius)
    pace = PACE[tempo] * rng.uniform(0.9, 1.1)
    drive = _EVENTS[event](world)
    second, impacts, places, speed = 0.0, [], [], []

    def hit(arbiter, space, data):
        if arbiter.is_first_contact and arbiter.total_impulse.length > _FAINT:
            impacts.append((second, arbiter.total_impulse.length))

    world.space.on_collision(_BALL, None, post_solve=hit)
    every = round(1 / scenes.FPS / STEP)
    for index in range(round(seconds / STEP)):
        second = index * STEP
        if drive:
            drive(second * pace)
        if index % every == 0:
            places.append([tuple(body.position) for body in world.balls])
        world.space.step(STEP * pace)
        speed.append(pace * np.mean([body.velocity.length for body in world.balls]) if world.rolls else 0.0)
    return Motion(np.array(places), world.radius, impacts, np.array(speed))


def turned(motion: Motion, direction: str) -> Motion:
    """What goes to the right goes in one of scenes.DIRECTIONS; y is downwards."""
    x, y = motion.places[..., 0], motion.places[..., 1]
    places = {"right": (x, y), "left": (1 - x, y), "down": (y, x), "up": (y, 1 - x)}[direction]
    return dataclasses.replace(motion, places=np.stack(places, axis=-1))


def one_then_another(events: tuple[str, str], tempo: str, seconds: float, shown: float, rng) -> Motion:
    """Half of the time one event, and half another, of the same balls.

    What the middle of it shows of each is the same part of its simulation: frames without their order tell which two
    events there are, and not which is first.

    Args:
      shown: seconds in the middle, half of them of each event.
    """
    half, lead, radius, halves = seconds / 2, int(rng.integers(scenes.FPS)) / scenes.FPS, None, []
    for event, start in zip(events, (lead, lead + half - shown / 2), strict=True):
        halves.append(_last(half, simulate(event, tempo, start + half, rng, radius)))
        radius = halves[0].radius
    first, second = halves
    return Motion(
        np.concatenate([first.places, second.places]),
        first.radius,
        first.impacts + [(half + when, impulse) for when, impulse in second.impacts],
        np.concatenate([first.speed, second.speed]),
    )


def _last(seconds: float, motion: Motion) -> Motion:
    """The end of a motion, as one that begins there."""
    start = len(motion.speed) * STEP - seconds
    return Motion(
        motion.places[-round(seconds * scenes.FPS) :],
        motion.radius,
        [(when - start, impulse) for when, impulse in motion.impacts if when >= start],
        motion.speed[-round(seconds / STEP) :],
    )
