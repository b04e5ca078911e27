"""A run that asks people: it is given back as waiting, and goes on with the answers.

`python waits.py` asks and ends. `python waits.py yes` answers what is asked and goes on to the next
question. The same on the command line: `handrail answer RUN yes`, then `handrail resume`.
"""

from __future__ import annotations

import sys

from handrail import RunWaiting, TaskExecutionContext, default_runtime, task, workflow

KEY = "release 2.0"

with workflow("release") as release:

    @task
    def build() -> str:
        print("building, which takes long and is done once")
        return "handsaw-2.0.tar.gz"

    @task(inject_context=True)
    def approve(context: TaskExecutionContext, build: str) -> bool:
        return context.request_approval(f"Publish {build}?")

    @task(inject_context=True)
    def announce(context: TaskExecutionContext, build: str, approve: bool) -> str:
        if not approve:
            context.terminate_workflow("not approved")
            return f"{build} stays here"
        where = context.request_selection("Announce where?", ["list", "blog", "nowhere"])
        return f"{build} published, announced: {where}"

    build >> approve >> announce


def main(answers: list[str]) -> None:
    runtime = default_runtime()
    waiting = runtime.journal.runs(workflow="release", state="waiting")
    for answer in answers if waiting else []:
        question = runtime.answer(waiting[0].run_id, answer, by="you")
        print(f"{question.prompt} {answer}")
    try:
        print(release.execute(key=KEY))
    except RunWaiting as asked:
        for wait in asked.waits:
            print(f"waiting: {wait.prompt} ({', '.join(wait.options) or 'yes or no'})")


if __name__ == "__main__":
    main(sys.argv[1:])
