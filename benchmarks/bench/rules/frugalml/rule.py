"""FrugalML's published curve at the least budget that was sufficient on its other seeds."""

from bench.task import File, Judge, Task, reference_alone

from cascadelib import ScoreTable

TITLE = "FrugalML"
LEAGUE = "all models"
ABOUT = "FrugalML's published curve: five seeds, half of the file labelled, no guarantee"
OWN_LABELS = True


def fits(file: File) -> bool:
    return file.curve is not None


def choose(task: Task) -> Judge:
    curve = task.file.curve
    seeds = sorted(curve["seed"].unique())
    own = seeds[task.draw % len(seeds)]
    task.bought.update(range(len(task.file.table) // 2))
    whole = task.file.table.models["top1"][task.file.reference]
    others = curve[curve["seed"] != own].groupby("cost")["accuracy"].mean()
    enough = others.index[others >= whole - task.epsilon]
    if not len(enough):
        return task.nothing()
    there = curve[(curve["seed"] == own) & (curve["cost"] == enough[0])]
    loss = whole - there["accuracy"].item()
    alone = reference_alone(task.file)

    def judge(table: ScoreTable) -> tuple[float, float]:
        accuracy, cost = alone(table)
        return accuracy - loss, cost * enough[0]

    return judge
