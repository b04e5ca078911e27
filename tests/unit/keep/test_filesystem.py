from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail.app import Runtime
from handrail.errors import StoreReadOnlyError
from handrail.keep.ref import Ref
from handrail.keep.repository import Repository

fsspec = pytest.importorskip("fsspec")

TABLE = "city,degrees\nOslo,18\nBergen,21\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A home beside that of the settings."""
    return tmp_path / "elsewhere/.handrail"


@pytest.fixture
def songs(place: Path, tmp_path: Path) -> Iterator[Repository]:
    files = tmp_path / "files"
    (files / "raw/deep").mkdir(parents=True)
    (files / "raw/table.csv").write_text(TABLE)
    (files / "raw/deep/b.bin").write_bytes(bytes(range(256)))
    (files / "latest.csv").symlink_to("raw/table.csv")
    with Repository.open(place, "songs", create=True) as repository:
        repository.commit(files, "first")
        repository.tag("v1")
        repository.create_branch("team/may")
        yield repository


@pytest.fixture
def ref(songs: Repository) -> Ref:
    return songs.at("main")


@pytest.fixture
def files(place: Path, songs: Repository) -> Iterator[object]:
    found = fsspec.filesystem("handrail", home=str(place), skip_instance_cache=True)
    yield found
    for opened in found._opened.values():
        opened.close()


def test_folders_are_listed(files: Any, ref: Ref) -> None:
    assert files.ls("", detail=False) == ["songs@main", "songs@team%2Fmay", "songs@v1"]
    assert files.ls("handrail://songs", detail=False) == files.ls("", detail=False)
    assert files.ls("songs@main/raw", detail=False) == [
        "songs@main/raw/deep",
        "songs@main/raw/table.csv",
    ]
    assert files.ls("songs@team%2Fmay", detail=False) == [
        "songs@team%2Fmay/latest.csv",
        "songs@team%2Fmay/raw",
    ]
    assert files.find("songs@v1/raw") == ["songs@v1/raw/deep/b.bin", "songs@v1/raw/table.csv"]
    assert files.glob("handrail://songs@main/**/*.csv") == [
        "songs@main/latest.csv",
        "songs@main/raw/table.csv",
    ]


def test_files_are_described(files: Any, ref: Ref) -> None:
    found = files.info(f"handrail://songs@{ref.commit_id[:8]}/raw/table.csv")
    digest = ref.find("raw/table.csv")[1].digest
    assert (found["type"], found["size"], found["sha256"]) == ("file", len(TABLE), digest)
    assert found["commit"] == ref.commit_id
    assert files.ukey("songs@main/latest.csv") == digest
    assert files.checksum("songs@main/latest.csv") == files.checksum("songs@v1/raw/table.csv")
    assert files.modified("songs@main").timestamp() * 1000 == ref.commit.at
    assert files.isdir("songs@main/raw")
    assert files.isfile("songs@main/latest.csv")
    (link,) = [each for each in files.ls("songs@main") if each.get("islink")]
    assert (link["type"], link["size"]) == ("file", len(TABLE))


@pytest.mark.parametrize(
    "path",
    ["songs@main/nope", "songs@nope/raw", "nope@main", "songs/raw/table.csv", "songs@main/raw"],
)
def test_what_is_not_there_is_a_missing_file(files: Any, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.open(path)
    assert files.isfile(path) is False


def test_a_part_is_read_without_the_rest(files: Any) -> None:
    path = "songs@main/raw/deep/b.bin"
    assert files.cat_file(path, 3, 6) == b"\x03\x04\x05"
    assert files.cat_file(path, -2) == b"\xfe\xff"
    assert files.cat_file(path, 250, 999) == bytes(range(250, 256))
    assert files.cat_file(path, end=-254) == b"\x00\x01"
    assert files.cat_file(path, 9, 3) == b""
    assert files.cat_ranges([path, path], [0, 8], [1, 9]) == [b"\x00", b"\x08"]
    with files.open(path) as file:
        file.seek(100)
        assert file.read(2) == b"de"
    with files.open("songs@main/raw/table.csv", "r") as text:
        assert text.readline() == "city,degrees\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda files: files.open("songs@main/new.txt", "wb"),
        lambda files: files.open("songs@main/new.txt", "w"),
        lambda files: files.open("songs@main/raw/table.csv", "ab"),
        lambda files: files.pipe("songs@main/new.txt", b"x"),
        lambda files: files.rm("songs@main/raw", recursive=True),
        lambda files: files.mkdir("songs@main/new"),
        lambda files: files.makedirs("songs@main/new"),
        lambda files: files.touch("songs@main/new.txt"),
        lambda files: files.cp_file("songs@main/raw/table.csv", "songs@main/new.csv"),
        lambda files: files.mv("songs@main/raw/table.csv", "songs@main/new.csv"),
        lambda files: files.put_file(__file__, "songs@main/new.csv"),
    ],
)
def test_nothing_can_be_written(files: Any, write: object) -> None:
    assert callable(write)
    with pytest.raises(StoreReadOnlyError, match="a commit never changes"):
        write(files)


def test_files_are_copied_out(files: Any, tmp_path: Path) -> None:
    files.get("songs@main/raw", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/table.csv").read_text() == TABLE
    assert (tmp_path / "out/deep/b.bin").read_bytes() == bytes(range(256))


def test_another_process_makes_its_own(files: Any) -> None:
    assert files.ls("songs@main/raw", detail=False)
    again = pickle.loads(pickle.dumps(files))
    assert again.cat_file("songs@main/raw/deep/b.bin", 0, 1) == b"\x00"
    for opened in again._opened.values():
        opened.close()


def test_without_a_home_the_settings_say_where(runtime: Runtime, songs: Repository) -> None:
    url = "handrail://songs@main/raw/table.csv"
    with pytest.raises(FileNotFoundError, match="No repository 'songs'"):
        fsspec.open(url).open()
    runtime.repository("songs").create()
    with pytest.raises(FileNotFoundError, match="Nothing at 'raw/table"):
        fsspec.open(url).open()
    with fsspec.open(url, home=songs.place) as file:
        assert file.read().decode() == TABLE


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The runtime that is asked when no home is said."""
    from handrail import plug

    runtime = Runtime()
    assert runtime.home.path.exists()
    before = plug.runtime.fill(lambda: runtime)
    yield runtime
    plug.runtime.fill(before)
    runtime.close()


# What reads through it


def test_pandas_reads_a_ref(songs: Repository, place: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(
        "handrail://songs@main/latest.csv", storage_options={"home": str(place)}
    )
    assert list(table.degrees) == [18, 21]


@pytest.fixture
def parquet(songs: Repository, tmp_path: Path) -> Ref:
    pyarrow = pytest.importorskip("pyarrow")
    written = importlib.import_module("pyarrow.parquet")
    folder = tmp_path / "tables"
    for year in (2025, 2026):
        (folder / f"year={year}").mkdir(parents=True)
        table = pyarrow.table({"degrees": [18, 21], "city": ["Oslo", "Bergen"]})
        written.write_table(table, folder / f"year={year}/a.parquet")
    return songs.commit(folder, "tables", path="tables")


def test_pyarrow_reads_a_folder_of_tables(parquet: Ref, files: Any) -> None:
    dataset = importlib.import_module("pyarrow.dataset")
    found = dataset.dataset(
        "songs@main/tables", filesystem=files, format="parquet", partitioning="hive"
    )
    assert found.to_table(filter=dataset.field("year") == 2026).num_rows == 2
    assert found.count_rows() == 4


def test_pandas_reads_a_folder_of_tables(parquet: Ref, place: Path) -> None:
    pandas = pytest.importorskip("pandas")
    url = f"{parquet.url('tables')}"
    table = pandas.read_parquet(url, storage_options={"home": str(place)}, columns=["degrees"])
    assert table.degrees.sum() == 78


def test_polars_reads_an_open_file(parquet: Ref) -> None:
    polars = pytest.importorskip("polars")
    with parquet["tables/year=2026/a.parquet"] as file:
        assert polars.read_parquet(file)["degrees"].sum() == 39


def test_duckdb_reads_through_it(parquet: Ref, files: Any) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        connection.register_filesystem(files)
        query = "SELECT sum(degrees) FROM 'handrail://songs@main/tables/*/*.parquet'"
        assert connection.sql(query).fetchall() == [(78,)]


def test_xarray_reads_a_zarr_folder(songs: Repository, place: Path, tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    pytest.importorskip("zarr", reason="zarr is not installed")
    xarray.Dataset({"degrees": ("day", [18, 21])}).to_zarr(
        tmp_path / "zarr/a.zarr", consolidated=False
    )
    songs.commit(tmp_path / "zarr", "zarr", path="zarr")
    found = xarray.open_zarr(
        "handrail://songs@main/zarr/a.zarr",
        storage_options={"home": str(place)},
        consolidated=False,
    )
    assert list(found.degrees.values) == [18, 21]


def test_without_fsspec_the_command_that_installs_it_is_told() -> None:
    program = "import sys; sys.modules['fsspec.spec'] = None; import handrail.keep.filesystem"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "pip install 'handrail[fsspec]'" in done.stderr
