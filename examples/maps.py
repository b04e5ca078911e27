"""The same task for each of many things, some of it in other processes."""

from __future__ import annotations

from pydantic import BaseModel

from handrail import task, workflow

with workflow("books") as books:

    @task
    def find(shelf: int) -> list[str]:
        """How many there are is known when the run is under way."""
        return [f"book {number} of shelf {shelf}" for number in range(shelf)]

    @task(handler_type="process")
    def count_letters(book: str) -> int:
        return sum(letter.isalpha() for letter in book)

    @task
    def total(find: list[str], counts: list[int]) -> str:
        return f"{len(find)} books, {sum(counts)} letters, the first has {counts[0]}"

    count_letters.map(find, task_id="counts") >> total


class Point(BaseModel):
    x: int
    y: int = 0


class Distance(BaseModel):
    steps: int


with workflow("points") as points:

    @task
    def distance(params: Point) -> Distance:
        """For a typed task an item is its whole params."""
        return Distance(steps=abs(params.x) + abs(params.y))

    distance.map([Point(x=1, y=2), {"x": -4}], task_id="distances")

with workflow("powers") as powers:

    @task
    def power(number: int, exponent: int) -> int:
        return int(number**exponent)

    @task
    def both(squares: list[int], cubes: list[int]) -> str:
        return f"{squares} {cubes}"

    # Bind before mapping; maps may be members of a group.
    squares = power(task_id="square", exponent=2).map(range(1, 5), task_id="squares")
    cubes = power(task_id="cube", exponent=3).map(range(1, 5), task_id="cubes")
    (squares | cubes) >> both

with workflow("many") as many:

    @task
    def half(number: int) -> int:
        return number // 2

    half.map(range(2_000))


def main() -> None:
    print(books.execute(shelf=4))
    print([found.steps for found in points.execute()])
    print(powers.execute())
    print(f"{sum(many.execute(journal='memory'))} in two thousand halves")


if __name__ == "__main__":
    main()
