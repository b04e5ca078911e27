"""In a row, side by side, nested, edge by edge; one task several times."""

from __future__ import annotations

from handrail import chain, parallel, task, workflow


@task
def fetch(source: str = "web") -> str:
    return f"raw {source}"


@task
def validate(fetch: str) -> str:
    return f"valid {fetch}"


@task
def enrich(fetch: str) -> str:
    return f"enriched {fetch}"


@task
def store(validate: str, enrich: str) -> str:
    return f"stored: {validate}, {enrich}"


@task
def scale(value: int, factor: int) -> int:
    return value * factor


@task
def add(double: int, triple: int) -> int:
    return double + triple


@task
def names(everything: dict[str, object]) -> str:
    return ", ".join(everything)


# An expression outside of a block can be handed to a workflow.
operators = workflow("operators", fetch >> (validate | enrich) >> store)

# The same with functions.
functions = workflow("functions", chain(fetch, parallel(validate, enrich), store))

# The same edge by edge: `store` joins both ways and runs once.
with workflow("edges") as edges:
    fetch >> validate >> store
    fetch >> enrich >> store

# One task under several names. The template itself is not run.
with workflow("instances") as instances:
    (scale(task_id="double", factor=2) | scale(task_id="triple", factor=3)) >> add

# Groups in groups, and a chain as a member: it is called after its last task.
with workflow("nested") as nested:
    inner = parallel(validate, enrich, name="checks")
    again = fetch(task_id="again") >> scale(task_id="ten", value=5, factor=2)
    fetch >> parallel(inner, again, name="everything") >> names


@workflow("factory")
def factory() -> object:
    """A workflow may be filled by a function."""
    return fetch >> validate


def main() -> None:
    for flow in (operators, functions, edges):
        print(f"{flow.name}: {flow.execute(source='sensor')}")
    print(f"instances: {instances.execute(value=10)}")
    print(f"nested: {nested.execute()}")
    print(f"factory: {factory.execute()}")
    print(f"from the middle: {edges.execute(start='enrich', fetch='old', validate='checked')}")
    print(operators.draw())


if __name__ == "__main__":
    main()
