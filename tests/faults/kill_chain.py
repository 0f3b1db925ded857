"""Runs that are killed with -9 at random moments and started again until they are done."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from commands_process import CommandServer


@dataclass
class Chain:
    """What became of one run: where it was killed, and how it ended."""

    code: int
    moments: list[str] = field(default_factory=list)
    output: str = ""


def run_with_kills(
    server: CommandServer,
    words: list[str],
    within: Path,
    kills: int,
    rng: random.Random,
    *,
    events: int = 90,
    seconds: float = 0.0,
) -> Chain:
    """Starts a command again and again, killing it the first `kills` times.

    Args:
        server: Starts processes.
        words: The command; the same each time.
        within: Folder whose files count as events.
        kills: How often to kill.
        rng: Chooses the moments.
        events: Kills come before one of this many file events (opening to write, renaming, removing) ...
        seconds: ... or, for about half of them, at a moment within this time; 0 is never.
    """
    chain = Chain(code=0)
    for _ in range(kills):
        by_time = seconds and rng.random() < 0.5
        if by_time:
            command, moment = server.start(*words), rng.uniform(0.2, seconds)
            time.sleep(moment)
            command.kill()
            ended = command.wait()
            what = f"after {moment:.1f} s"
        else:
            event = rng.randint(1, events)
            ended = server.run(*words, within=str(within), at_event=event)
            what = f"at file event {event}"
        if ended.code != -9:  # done, or failed, before its moment came
            chain.code, chain.output = ended.code, ended.output
            return chain
        lines = ended.output.strip().splitlines() or ["(before its first line)"]
        chain.moments.append(f"{what}: {lines[-1][:90]}")
    ended = server.run(*words)
    chain.code, chain.output = ended.code, ended.output
    return chain
