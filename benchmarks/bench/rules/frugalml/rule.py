"""Read FrugalML's published curve at the least budget that suffices on its other seeds."""

from bench.task import Choice, File, Task, reference_alone

from cascadelib import ScoreTable

TITLE = "FrugalML"
LEAGUE = "all models"
ABOUT = "FrugalML's published curve: five seeds, half of the file labelled, no guarantee"
OWN_LABELS = True


def fits(file: File) -> bool:
    return file.curve is not None


def seed_of(task: Task) -> int:
    seeds = sorted(task.file.curve["seed"].unique())
    return int(seeds[task.draw % len(seeds)])


unit = seed_of  # draws with the same seed have one result


def choose(task: Task) -> Choice:
    curve = task.file.curve
    own = seed_of(task)
    task.bought.update(range(len(task.file.table) // 2))
    best = task.file.table.models["top1"][task.file.reference]
    others = curve[curve["seed"] != own].groupby("cost")["accuracy"].mean()
    enough = others.index[others >= best - task.epsilon]
    if not len(enough):
        return task.nothing()
    there = curve[(curve["seed"] == own) & (curve["cost"] == enough[0])]
    loss = best - there["accuracy"].item()
    alone = reference_alone(task.file)

    def choice(table: ScoreTable) -> tuple[float, float]:
        accuracy, cost = alone(table)
        return accuracy - loss, cost * enough[0]

    return choice
