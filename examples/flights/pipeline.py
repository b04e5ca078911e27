"""Flights from New York: which airlines, which destinations and which hours run late?

Every month a data office delivers a file. This pipeline takes in the months that are due,
cleans them, joins the weather, and writes a page with charts:

    ingest >> clean >> join_weather >> (by_carrier | by_airport | by_hour) >> report

Its files live in a *workspace*, a repository of versioned files. What to know of Handrail:

- **A task is a function** with a contract: `params` in, a result out, both pydantic models. With
  a workspace it also gets a folder, its private copy of the files, and simply writes there.
- **Arguments find their way by name.** `clean` takes the `Batch` that `ingest` returns. `report`
  has fields named after tasks and gets their results. The rest are inputs of the run.
- **Guardrails** say which files a task needs before and what it may leave behind. Lines that do
  not parse go to `quarantine/`; `clean` forbids files there, so a damaged month is refused.
- **A run publishes at its end, all or nothing.** In one step the branch moves to the new files
  and the *watermark* to `next_watermark`, from which the next run goes on. A run that fails or is
  killed moves neither, and `handrail resume` finishes it.

So a body never asks what happened before it: it does the months it is told and no others, and a
run for which nothing is due changes nothing and publishes nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from examples.flights.rows import read_flights
from examples.flights.tables import (
    Airports,
    Carriers,
    Hours,
    count_delays,
    read_months,
    write_table,
)
from handrail import WorkspaceSpec, forbid_glob, require_file, require_glob, task, workflow

OWNER = "flights@example.org"


class Due(BaseModel):
    """Asks for the months after `watermark`, up to `next_watermark`, such as `2013-06`."""

    feed: str
    next_watermark: str
    #: How far earlier runs came. Handrail knows and fills it in.
    watermark: str | None = None


class Batch(BaseModel):
    """The months of a run. The two counts are tracked as its row metrics."""

    months: list[str]
    inserts: int = 0
    total_rows: int = 0


@task(owner_email=OWNER, workspace=WorkspaceSpec())
def ingest(workspace: Path, params: Due) -> Batch:
    """Takes in the months that are due, just as they were delivered."""
    feed, raw = Path(params.feed), workspace / "raw"
    if not (feed / "flights" / f"{params.next_watermark}.csv").exists():
        raise FileNotFoundError(f"{feed} has no flights of {params.next_watermark}")
    months = sorted(file.stem for file in feed.glob("flights/*.csv"))
    due = [month for month in months if (params.watermark or "") < month <= params.next_watermark]
    files = [f"{kind}/{month}.csv" for month in due for kind in ("flights", "weather")]
    if due:
        files += ["airlines.csv", "airports.csv", "planes.csv"]
    for file in files:
        (raw / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(feed / file, raw / file)
    row_count = sum((raw / f"flights/{m}.csv").read_bytes().count(b"\n") - 1 for m in due)
    return Batch(months=due, inserts=row_count, total_rows=row_count)


@task(
    owner_email=OWNER,
    workspace=WorkspaceSpec(
        pre=[require_glob("raw/flights/*.csv"), require_file("raw/planes.csv")],
        post=[forbid_glob("quarantine/**"), require_glob("clean/*.csv")],
    ),
)
def clean(workspace: Path, params: Batch) -> Batch:
    """Keeps the lines that are flights and sets aside those that are not."""
    row_count = 0
    for month in params.months:
        flights, refused = read_flights(workspace / f"raw/flights/{month}.csv")
        write_table(workspace / f"clean/{month}.csv", flights)
        row_count += len(flights)
        if refused:
            print(f"{month}: {len(refused)} lines are no flights, such as line {refused[0]:.50}")
            write_table(workspace / f"quarantine/{month}.csv", pd.DataFrame({"line": refused}))
    return Batch(months=params.months, inserts=row_count, total_rows=row_count)


@task(owner_email=OWNER, workspace=WorkspaceSpec(pre=[require_glob("clean/*.csv")]))
def join_weather(workspace: Path, params: Batch) -> Batch:
    """Gives each flight the weather at its airport in its hour, and its aircraft's seats."""
    row_count = 0
    planes = pd.read_csv(workspace / "raw/planes.csv", usecols=["tailnum", "seats"], dtype=str)
    for month in params.months:
        flights = pd.read_csv(workspace / f"clean/{month}.csv", dtype=str)
        weather = pd.read_csv(workspace / f"raw/weather/{month}.csv")
        is_wet = (weather["precip"] > 0) | (weather["visib"] < 3)
        weather["sky"] = is_wet.map({True: "wet", False: "dry"})
        joined = flights.merge(
            weather[["origin", "time_hour", "sky"]], "left", ["origin", "time_hour"]
        ).merge(planes, "left", "tailnum")
        joined["sky"] = joined["sky"].fillna("unknown")
        columns = ["hour", "carrier", "origin", "dest", "dep_delay", "arr_delay", "sky", "seats"]
        write_table(workspace / f"joined/{month}.csv", joined[columns])
        row_count += len(joined)
    return Batch(months=params.months, inserts=row_count, total_rows=row_count)


class Lateness(BaseModel):
    """A flight is late from so many minutes on; the US Department of Transportation says 15."""

    late_minutes: int = 15


# The next three only read, so they may run side by side. The last one sees only the folder it
# needs, and runs in a process of its own.


@task(owner_email=OWNER, workspace=WorkspaceSpec(read_only=True))
def by_carrier(workspace: Path, params: Lateness) -> Carriers:
    """Counts the departures of each airline."""
    flights = read_months(workspace / "joined")
    table = count_delays(flights, ["carrier"], "dep_delay", params.late_minutes)
    seats = flights.groupby("carrier")["seats"]
    is_known = seats.count() > seats.size() / 2  # some airlines report no tail numbers
    seats = seats.median().where(is_known, 0).astype(int)
    names = pd.read_csv(workspace / "raw/airlines.csv")
    table = table.merge(seats, on="carrier").merge(names, on="carrier")
    return Carriers(rows=table.to_dict("records"))


@task(owner_email=OWNER, workspace=WorkspaceSpec(read_only=True))
def by_airport(workspace: Path, params: Lateness) -> Airports:
    """Counts the arrivals at each destination."""
    flights = read_months(workspace / "joined")
    table = count_delays(flights, ["dest"], "arr_delay", params.late_minutes)
    places = pd.read_csv(workspace / "raw/airports.csv").rename(columns={"faa": "dest"})
    table = table.merge(places[["dest", "name", "lat", "lon"]], "left", "dest")
    table["name"] = table["name"].fillna(table["dest"])
    return Airports(rows=table.astype(object).where(table.notna(), None).to_dict("records"))


@task(
    owner_email=OWNER,
    workspace=WorkspaceSpec(prefix="joined", pre=[require_glob("*.csv")], read_only=True),
    handler_type="process",
)
def by_hour(workspace: Path, params: Lateness) -> Hours:
    """Counts the departures of each hour of the day, in each month and kind of weather."""
    flights = read_months(workspace)
    table = count_delays(flights, ["month", "hour", "sky"], "dep_delay", params.late_minutes)
    return Hours(rows=table.to_dict("records"))


class Findings(BaseModel):
    """What the report tells. Each field is the result of the task with its name."""

    join_weather: Batch
    by_carrier: Carriers
    by_airport: Airports
    by_hour: Hours


class Report(BaseModel):
    """Files that were written; none if there was nothing to add."""

    files: list[str]


@task(
    owner_email=OWNER,
    workspace=WorkspaceSpec(prefix="report", post=[require_file("index.html")]),
)
def report(workspace: Path, params: Findings) -> Report:
    """Draws the charts and writes the page, if months were added."""
    if not params.join_weather.months:
        return Report(files=[])
    from examples.flights.report import write_report  # matplotlib, which no other task needs

    files = write_report(workspace, params.by_carrier, params.by_airport, params.by_hour)
    return Report(files=files)


flights = workflow(
    "flights",
    ingest >> clean >> join_weather >> (by_carrier | by_airport | by_hour) >> report,
    workspace="flights",
)
