"""Deciding on the way: loops, branches, jumps to recovery, new tasks, early ends."""

from __future__ import annotations

from handrail import CycleLimitExceeded, RunCancelled, TaskExecutionContext, task, workflow

# A loop: the task runs again with new data until it is content; then what follows runs.

with workflow("training") as training:

    @task(inject_context=True, max_cycles=20)
    def train(context: TaskExecutionContext, loss: float = 1.0) -> float:
        if loss > 0.1:
            context.next_iteration(loss / 2)
        return loss

    @task
    def save(train: float) -> str:
        return f"saved a model with loss {train:.4f}"

    train >> save

# A branch, joined again: only the chosen side runs.

with workflow("review") as review:

    @task(inject_context=True)
    def judge(context: TaskExecutionContext, amount: int) -> int:
        context.next_task(inspect if amount > 100 else approve)
        return amount

    @task
    def inspect(judge: int) -> str:
        return f"{judge} inspected by hand"

    @task
    def approve(judge: int) -> str:
        return f"{judge} approved at once"

    @task
    def archive(inspect: str | None = None, approve: str | None = None) -> str:
        return f"archived: {inspect or approve}"

    judge >> (inspect | approve) >> archive

# A jump back: repair, then go on from where it broke.

with workflow("recovery") as recovery:

    @task(inject_context=True, max_cycles=3)
    def load(context: TaskExecutionContext) -> str:
        return "broken file" if context.cycle_count == 1 else "whole file"

    @task(inject_context=True)
    def check(context: TaskExecutionContext, load: str) -> str:
        if load.startswith("broken"):
            context.get_channel().append("repairs", load)
            context.next_task("load")
        return load

    @task
    def publish(check: str, repairs: list[str]) -> str:
        return f"published a {check} after {len(repairs)} repair"

    load >> check >> publish


# New tasks, as many as there is work.


@task
def process(name: str) -> str:
    return name.upper()


with workflow("inbox") as inbox:

    @task(inject_context=True)
    def open_inbox(context: TaskExecutionContext, names: list[str]) -> str:
        if not names:
            context.terminate_workflow("the inbox is empty")
            return "nothing to do"
        if "virus" in names:
            context.cancel_workflow("an unsafe file")
        for name in names:
            context.next_task(process(task_id=f"process_{name}", name=name))
        return f"{len(names)} files"

    @task
    def confirm(open_inbox: str) -> str:
        return f"taken in: {open_inbox}"

    open_inbox >> confirm


# Whoever loops for ever is told so.

with workflow("endless") as endless:

    @task(inject_context=True)
    def again(context: TaskExecutionContext, number: int = 0) -> int:
        context.next_iteration(number + 1)
        return number


def main() -> None:
    print(training.execute())
    print(review.execute(amount=20))
    print(review.execute(amount=2000))
    print(recovery.execute())

    result, context = inbox.execute(names=["a", "b"], ret_context=True)
    print(result, "->", context.get_result("process_a"), context.get_result("process_b"))
    print(inbox.execute(names=[]))
    try:
        inbox.execute(names=["a", "virus"])
    except RunCancelled as cancelled:
        print("cancelled:", cancelled.reason)
    try:
        endless.execute()
    except CycleLimitExceeded as error:
        print(error)


if __name__ == "__main__":
    main()
