"""The smallest whole program: three tasks in a row, inputs, results by name.

Run it with `python basics.py`, then look at what it left: `handrail runs`.
"""

from __future__ import annotations

from handrail import task, workflow

with workflow("temperatures") as temperatures:

    @task
    def read(city: str, days: int = 3) -> list[float]:
        """Gets its arguments from the inputs of the run, or from their defaults."""
        return [14.0 + len(city) * 0.5 + day for day in range(days)]

    @task
    def to_fahrenheit(read: list[float]) -> list[float]:
        """Has a parameter named like the task before it, so it gets that task's result."""
        return [celsius * 9 / 5 + 32 for celsius in read]

    @task
    def report(city: str, read: list[float], to_fahrenheit: list[float]) -> str:
        """May ask for any result from before it, and for any input."""
        warmest = read.index(max(read))
        return f"{city}: {read[warmest]:.1f} C, that is {to_fahrenheit[warmest]:.1f} F"

    read >> to_fahrenheit >> report


def main() -> None:
    print(temperatures.draw())
    print(temperatures.execute(city="Oslo"))

    result, context = temperatures.execute(city="Bergen", days=5, ret_context=True)
    print(result)
    print("finished:", ", ".join(context.completed_tasks))
    print("read:", context.get_result("read"))


if __name__ == "__main__":
    main()
