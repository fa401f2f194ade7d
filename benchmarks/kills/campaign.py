"""One training, killed again and again, resumed each time, and let finish at last."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from .compare import differences
from .session import Session, SlowDisk
from .sight import Sight, is_complete, is_fresh, look, newest_valid, steps_since
from .trainings import Part

# Seconds after which a session is taken to hang.
LIMIT = 400.0
POLL = 0.001
UNFINISHED = "it did not finish"
# What a save writes, in its order; "" is the folder itself.
STAGES = (
    "",
    "*.safetensors",
    "tokenizer.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state*",
    "trainer_state.json",
    ".manifest.json*",
)
# What follows the last step, in its order, with the longest wait in seconds before the kill.
ENDINGS = {"model": 0.08, "evaluation": 0.2, "facts": 0.004, "pages": 0.06}
_ORDER = ("start", "step", "save", "rotation", *ENDINGS)


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a kill is meant to hit; where it did is seen afterwards.

    Args:
        part: The part's number.
        place: "step", "save", "rotation", one of ENDINGS, or "start": after a resume, before the first step.
        step: At or after which.
        stage: Of a save: the file that has to be there.
        wait: Seconds from when that is seen to the kill.
    """

    part: int
    place: str
    step: int
    stage: str = ""
    wait: float = 0.0

    @property
    def order(self) -> tuple[int, int, int]:
        return self.part, self.step, _ORDER.index(self.place)


@dataclass(slots=True)
class Kill:
    """A kill and the resume that followed it: a line of the table.

    Args:
        training: The recipe's name.
        aim: Where it was meant to hit.
        sight: Where it hit.
        trained: Steps that the killed session had logged.
        valid: The newest checkpoint that was whole then; 0 for none.
        said: The checkpoints that the next session said it goes on from.
        first: The first step that the next session logged; None where it came to none.
        left: Whether any step was left to train.
        repeated: Steps that had been trained and were trained again.
        faults: What the next session did wrong.
    """

    training: str
    aim: Aim
    sight: Sight
    trained: int
    valid: int
    said: list[int] = field(default_factory=list)
    first: int | None = None
    left: bool = True
    repeated: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """Kills before a session's first step are tried, and not counted."""
        return self.sight.inside != "start"


@dataclass(slots=True)
class Campaign:
    """What came of one training: its kills, and how the finished run differs from the uninterrupted one."""

    training: str
    kills: list[Kill]
    differences: list[str]

    @property
    def same_weights(self) -> bool:
        """Whether it finished, and every file of weights is the uninterrupted run's, bit for bit."""
        weights = [text for text in self.differences if "model/" in text and ".safetensors" in text]
        return not weights and not any(UNFINISHED in text for text in self.differences)


def draw_aims(chance: random.Random, parts: tuple[Part, ...], count: int) -> list[Aim]:
    """Places for `count` kills, in the order in which a training comes to them; about half of them are saves."""
    places = chance.choices(("save", "step", "rotation", "end", "start"), weights=(50, 17, 8, 20, 5), k=count)
    return sorted((_draw(chance, parts, place) for place in places), key=lambda aim: aim.order)


def _draw(chance: random.Random, parts: tuple[Part, ...], place: str) -> Aim:
    number = chance.randrange(len(parts))
    part = parts[number]
    saves = range(part.save_every, part.steps + 1, part.save_every)
    if place == "save":
        return Aim(number, place, chance.choice(saves), chance.choice(STAGES), chance.uniform(0, 0.02))
    if place == "rotation":
        return Aim(number, place, chance.choice(saves[2:]), wait=chance.uniform(0, 0.04))
    if place == "start":
        return Aim(number, place, chance.randint(part.save_every, part.steps), wait=chance.uniform(0, 0.3))
    if place == "step":
        return Aim(number, place, chance.randint(1, part.steps), wait=chance.uniform(0, 0.1))
    ending = chance.choice(list(ENDINGS))
    return Aim(number, ending, part.steps, wait=chance.uniform(0, ENDINGS[ending]))


class Grounds:
    """Where one training is run, killed and compared. All its runs are written to the same path, so paths in files are equal.

    Args:
        folder: Holds the recipes.
        training: The recipe's name.
        parts: Its parts.
        disk: The slow disk that killed sessions write to.
    """

    def __init__(self, folder: Path, training: str, parts: tuple[Part, ...], disk: SlowDisk | None) -> None:
        self.folder, self.training, self.parts, self.disk = folder, training, parts, disk
        self.run = folder / "runs" / training
        self.reference = folder / "reference" / training
        self._number = 0

    def run_reference(self) -> float:
        """The uninterrupted run, at the disk's own speed.

        Returns:
            Seconds it took.
        """
        began = time.monotonic()
        session = self._start(slow=False)
        if session.finish(LIMIT) != 0:
            raise RuntimeError(f"{self.training} does not run: {session.tail()}")
        self.reference.parent.mkdir(exist_ok=True)
        self.run.rename(self.reference)
        return time.monotonic() - began

    def campaign(self, aims: list[Aim]) -> Campaign:
        """Runs the training from its beginning to its end with a kill at each aim; one that comes too late is left out.

        A resume that is refused is noted as a fault, and the training begun anew.
        """
        shutil.rmtree(self.run, ignore_errors=True)
        kills: list[Kill] = []
        session, before = self._start(), self._standing()
        for aim in aims:
            if aim.place == "start" and not kills:
                continue
            hit = self._strike(session, aim)
            if not hit and kills and not self._is_complete():
                kills[-1].faults.append(f"the resume was refused: {session.tail()}")
                session, before = self._start("--overwrite"), self._standing(anew=True)
                hit = self._strike(session, aim)
            if not hit:
                break
            self._account(session, before, kills, finished=False)
            kills.append(self._kill(session, aim))
            before = self._standing()
            session = self._start("--resume")
        status = session.finish(LIMIT)
        self._account(session, before, kills, finished=True)
        if status != 0 or not self._is_complete():
            return Campaign(self.training, kills, [f"{UNFINISHED} (status {status}): {session.tail()}"])
        return Campaign(self.training, kills, differences(self.reference, self.run, self.parts))

    def _start(self, *words: str, slow: bool = True) -> Session:
        self._number += 1
        command = ["-m", "hfrecipes", "run", f"{self.training}.yaml", "--runs-dir", str(self.run.parent), *words]
        log = self.folder / f"{self.training}-{self._number}.log"
        return Session(command, self.folder, log, self.disk if slow else None)

    def _strike(self, session: Session, aim: Aim) -> bool:
        """Waits until the session has come to the aim, and kills it; False where it ended before that."""
        deadline = time.monotonic() + LIMIT
        while session.runs:
            if time.monotonic() > deadline:
                session.kill()
                raise TimeoutError(f"{aim} was not reached in {LIMIT} seconds: {session.tail()}")
            if self._reached(session, aim):
                time.sleep(aim.wait)
                return session.kill()
            time.sleep(POLL)
        return False

    def _reached(self, session: Session, aim: Aim) -> bool:
        if aim.place == "start":
            return any(is_fresh(self.run / part.folder / "run.json", session.began) for part in self.parts)
        later = [self.run / part.folder for part in self.parts[aim.part + 1 :]]
        if any(steps_since(run, session.began) for run in later):
            return True
        part, began = self.parts[aim.part], session.began
        run = self.run / part.folder
        model, facts = run / "model", run / "run.json"
        if aim.place in ENDINGS:
            if not is_fresh(model, began):
                return False
            if aim.place == "evaluation":
                return "measuring" in session.output()
            if aim.place == "facts":
                return is_complete(run) or any(run.glob(".run.json.*"))
            return aim.place == "model" or (is_complete(run) and is_fresh(facts, began))
        step = max(steps_since(run, began), default=0)
        if aim.place == "step" or step > aim.step or is_fresh(model, began):
            return step >= aim.step or is_fresh(model, began)
        folder = run / "checkpoints" / f"checkpoint-{aim.step}"
        file = "manifest.json" if aim.place == "rotation" else aim.stage
        return any(is_fresh(path, began) for path in (folder.glob(file) if file else [folder]))

    def _kill(self, session: Session, aim: Aim) -> Kill:
        sight = look(self.run, self.parts, self.reference, session.began)
        run = self.run / sight.part
        return Kill(self.training, aim, sight, len(steps_since(run, session.began)), newest_valid(run))

    # What a session may do: train from the newest checkpoint that was valid when it began.

    def _is_complete(self) -> bool:
        return all(is_complete(self.run / part.folder) for part in self.parts)

    def _standing(self, *, anew: bool = False) -> list[int]:
        """By part, the step of the newest valid checkpoint; all steps where the part is complete."""
        runs = [(part, self.run / part.folder) for part in self.parts]
        return [0 if anew else part.steps if is_complete(run) else newest_valid(run) for part, run in runs]

    def _account(self, session: Session, before: list[int], kills: list[Kill], *, finished: bool) -> None:
        """Writes into the last kill what the session after it did."""
        if not kills:
            return
        kill = kills[-1]
        kill.said = session.resumed_from()
        for part, valid in zip(self.parts, before, strict=True):
            first = min(steps_since(self.run / part.folder, session.began), default=None)
            right = part.first_logged(valid + 1) if valid < part.steps else None
            if part.folder == kill.sight.part:
                kill.first, kill.left = first, right is not None
                kill.repeated = max(kill.sight.step - valid, 0) if first else 0
            if first != right and (first is not None or finished):
                kill.faults.append(f"{part.folder} first trained step {first}, not {right}")
            if first and valid and valid not in kill.said:
                kill.faults.append(f"{part.folder} did not say that it went on from checkpoint-{valid}")
        if kill.repeated > self.parts[0].save_every:
            kill.faults.append(f"{kill.repeated} steps were repeated")
