"""Real audio-visual data for the demo: games with their own sound, rendered to .mp4 with .srt narration.

    python -m demo.games --output build/demo/videos

writes OUTPUT/{train,test}/GAME/EPISODE.mp4 and .srt, and beside OUTPUT the folder `fingerprints`, by which
demo/duplicates.py finds held-out clips that were as good as seen in training. Episodes are split, not clips.

Licence: the emulator comes from the package ale-py (GPL-2.0), installed at run time. Its wheel holds the games
(commercial titles of 1977-1990) and grants nothing for them, so nothing of what is rendered here is committed or
passed on: it stays in build/, made anew on each machine. The narration is our own.

A file is written under a temporary name and moved when whole, with the settings that made it in its metadata; so
a run that was interrupted goes on where it was, and changed settings render again. The same settings give the
same frames, sound and captions. Some games kill the process that loads them: each is rendered in a child.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from demo import captions, encode
from mmv_tf.common.files import PARTIAL, whole_file

GAMES = tuple(captions.WORDINGS)
EMULATOR_RATE = 60  # frames a second
VERSION = 1  # Part of the settings: raise it when the rendering changes.
SPLITS = ("train", "test")


def play(game: str, seed: int, seconds: float, fps: int):
    """Plays `game` with a player that repeats itself; yields (frame uint8 [H, W, 3], sound uint8 [S]), `fps` a second.

    A frame is the brighter of two successive screens, since these games draw half of their sprites in every other
    one; S = 512 * 60 / fps. The first seconds are skipped, a different number for each seed.
    """
    import ale_py
    from ale_py import roms

    # The emulator's only sources of chance are its seed and the player, whose choices come from `seed` too.
    rng = np.random.default_rng([seed, *game.encode()])
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed + 1)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setBool("sound_obs", True)
    ale.loadROM(roms.get_rom_path(game))
    actions = ale.getMinimalActionSet()
    skip = int(rng.integers(30, 360))
    step = EMULATOR_RATE // fps
    hold, action, screen, sound = 0, actions[0], None, []
    for index in range(-skip, int(seconds * fps) * step):
        if ale.game_over():
            ale.reset_game()
            hold = 0
        if hold == 0:
            # A quarter of the moves is the second action, which is FIRE where there is one: it starts a round.
            action = actions[1 if rng.random() < 0.25 else int(rng.integers(len(actions)))]
            hold = int(rng.integers(4, 25))
        hold -= 1
        ale.act(action)
        if index < 0:
            continue
        sound.append(ale.getAudio().copy())
        phase = index % step
        if phase == step - 2:
            screen = ale.getScreenRGB().copy()
        elif phase == step - 1:
            yield (
                np.maximum(ale.getScreenRGB(), screen) if screen is not None else ale.getScreenRGB(),
                np.concatenate(sound),
            )
            sound = []


def waveform(sound: np.ndarray) -> np.ndarray:
    """Sound chip levels uint8 [S] -> float32 [S] in [-1, 1] without the idle level, which differs between games."""
    levels = sound.astype(np.float64) / 128
    width = encode.SOUND_RATE // 20
    # A moving average over 50 ms by differences of the running sum: a high-pass at some 10 Hz, like a loudspeaker's.
    padded = np.pad(levels, (width // 2, width - width // 2), mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    average = (total[width:] - total[:-width])[: len(levels)] / width
    return np.clip(levels - average, -1, 1).astype(np.float32)


def render(game: str, split: str, seed: int, output: pathlib.Path, seconds: float, fps: int) -> bool:
    """Writes one episode unless it is there already with the same settings; True if it was written."""
    path = output / split / game / f"{seed:02d}.mp4"
    settings = f"mmv_tf demo {VERSION}: {game} {split} seed {seed}, {seconds:g} s, {fps} fps"
    fingerprint = output.parent / "fingerprints" / split / game / f"{seed:02d}.npz"
    if path.is_file() and fingerprint.is_file() and encode.read_comment(path) == settings:
        return False
    frames, sounds = zip(*play(game, seed, seconds, fps), strict=True)
    samples = waveform(np.concatenate(sounds))
    path.parent.mkdir(parents=True, exist_ok=True)
    fingerprint.parent.mkdir(parents=True, exist_ok=True)
    subtitle = captions.to_srt(captions.narration(game, split, seed, seconds))
    with whole_file(path.with_suffix(".srt")) as partial:
        partial.write_text(subtitle, encoding="utf-8")
    with whole_file(fingerprint) as partial:
        np.savez(partial, **encode.fingerprint(frames, samples, fps))
    # The video last: it is what says that the episode is complete.
    with whole_file(path) as partial:
        encode.write_mp4(partial, frames, samples, fps, comment=settings)
    return True


def episodes(train: int, test: int) -> list[tuple[str, int]]:
    """(split, seed) of each episode: seeds from 0 for training, the following ones held out."""
    return [("train", seed) for seed in range(train)] + [("test", train + seed) for seed in range(test)]


def prune(output: pathlib.Path, games, train: int, test: int) -> None:
    """Removes leftovers of a killed run, games that left the list, and other episodes of `games`."""
    for path in output.rglob(f"{PARTIAL}*"):
        path.unlink()
    wanted = {(split, f"{seed:02d}") for split, seed in episodes(train, test)}
    for split in SPLITS:
        for path in [*output.glob(f"{split}/*/*.*"), *output.parent.glob(f"fingerprints/{split}/*/*.npz")]:
            game = path.parent.name
            if game not in GAMES or (game in games and (split, path.stem) not in wanted):
                path.unlink()


def render_all(output: pathlib.Path, games, train: int, test: int, seconds: float, fps: int, jobs: int) -> None:
    """Renders every game in a child process, `jobs` at a time; a child that dies ends the run with the game's name."""

    def one(game: str) -> str:
        command = [sys.executable, "-m", "demo.games", "--output", str(output), "--child", game]
        command += ["--train_episodes", str(train), "--test_episodes", str(test)]
        command += ["--seconds", f"{seconds:g}", "--fps", str(fps)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise RuntimeError(f"game {game!r} could not be rendered: {reason}")
        return done.stdout.strip()

    prune(output, games, train, test)
    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(one, game): game for game in games}
        try:
            for number, future in enumerate(concurrent.futures.as_completed(waiting), 1):
                print(f"  {number}/{len(waiting)} {future.result()} ({time.time() - start:.0f} s)", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main(arguments: argparse.Namespace) -> None:
    output = pathlib.Path(arguments.output)
    if arguments.fps not in (10, 20, 30):
        raise SystemExit(f"--fps={arguments.fps}: one of 10, 20, 30, whole fractions of the emulator's {EMULATOR_RATE}")
    if arguments.child:
        written = [
            render(arguments.child, split, seed, output, arguments.seconds, arguments.fps)
            for split, seed in episodes(arguments.train_episodes, arguments.test_episodes)
        ]
        print(f"{arguments.child}: {sum(written)} episodes rendered, {len(written) - sum(written)} were there")
        return
    unknown = sorted(set(arguments.games) - set(GAMES))
    if unknown:
        raise SystemExit(f"--games: no captions for {', '.join(unknown)}; known: {', '.join(GAMES)}")
    try:
        render_all(
            output,
            arguments.games or GAMES,
            arguments.train_episodes,
            arguments.test_episodes,
            arguments.seconds,
            arguments.fps,
            arguments.jobs,
        )
    except RuntimeError as error:
        raise SystemExit(str(error)) from None


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="build/demo/videos")
    parser.add_argument("--games", nargs="*", default=[], metavar="GAME", help="default: all of them")
    parser.add_argument("--train_episodes", type=int, default=4)
    parser.add_argument("--test_episodes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of an episode")
    parser.add_argument("--fps", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="games rendered at the same time")
    parser.add_argument("--child", metavar="GAME", help=argparse.SUPPRESS)
    main(parser.parse_args())


if __name__ == "__main__":
    cli()
