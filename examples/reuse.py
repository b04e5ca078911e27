"""Takes earlier results again where nothing changed, and says why each task ran or did not."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from handrail import CachePolicy, WorkspaceSpec, default_runtime, require_file, task, workflow


class Recipe(BaseModel):
    flour: str = "rye"
    loaves: int = 2


class Baked(BaseModel):
    grams: int


@task(cache=3600)
def price(flour: str) -> int:
    """Asks somebody who may say another price in an hour."""
    print("  asking for the price of", flour)
    return len(flour) * 10


@task(workspace=WorkspaceSpec(prefix="bread", post=[require_file("loaf-1")]), cache=True)
def bake(workspace: Path, params: Recipe) -> Baked:
    """Leaves files; they are published again without being made again."""
    print("  baking", params.loaves, "loaves")
    for old in workspace.iterdir():
        old.unlink()
    for number in range(1, params.loaves + 1):
        (workspace / f"loaf-{number}").write_text(params.flour)
    return Baked(grams=params.loaves * 750)


@task(cache=CachePolicy(version="2026", ignore=("cashier",)))
def bill(price: int, bake: Baked, cashier: str) -> str:
    """Who sits at the till makes no difference to the bill."""
    print("  adding up")
    return f"{bake.grams * price // 1000} crowns"


bakery = workflow("bakery", price >> bake >> bill, workspace="shelf")


def main() -> None:
    for inputs in (
        {"flour": "rye", "loaves": 2, "cashier": "Ada"},
        {"flour": "rye", "loaves": 2, "cashier": "Ada"},  # the bread of before is on the shelf
        {"flour": "rye", "loaves": 2, "cashier": "Ben"},
        {"flour": "rye", "loaves": 3, "cashier": "Ben"},
    ):
        print("bakery:", inputs)
        result, context = bakery.execute(inputs=inputs, ret_context=True)
        history = default_runtime().history(context.run_id)
        reused = [found.name for found in history.tasks if found.reused]
        print(f"  {result}; reused: {', '.join(reused) or 'nothing'}")


if __name__ == "__main__":
    main()
